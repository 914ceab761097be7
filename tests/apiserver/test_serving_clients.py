"""The clients people have: kubectl, the official Python client, lightkube, kopf."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver.conftest import WIDGET_PATH, WIDGETS, Running, next_of, serve_widgets

pytestmark = pytest.mark.process

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "first", ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


class Kubectl:
    """The real kubectl, with a home and a kubeconfig of its own."""

    def __init__(self, running: Running, home: Path) -> None:
        found = shutil.which("kubectl")
        assert found, "kubectl must be on PATH"
        self.program = found
        self.home = home
        self.kubeconfig = running.write_kubeconfig(home / "kubeconfig")

    async def start(self, *words: str, stdin: str | None = None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self.program,
            *words,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)},
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def fails(self, *words: str, stdin: str | None = None) -> str:
        process = await self.start(*words, stdin=stdin)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode() if stdin else None), 30)
        assert process.returncode != 0, out.decode()
        return err.decode()

    async def __call__(self, *words: str, stdin: str | None = None) -> str:
        process = await self.start(*words, stdin=stdin)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode() if stdin else None), 30)
        assert process.returncode == 0, f"kubectl {' '.join(words)}: {err.decode()}"
        return out.decode()


@pytest.fixture
def kubectl(running: Running, tmp_path: Path) -> Kubectl:
    return Kubectl(running, tmp_path)


async def test_kubectl_creates_applies_changes_and_deletes(kubectl: Kubectl) -> None:
    assert "1.3" in (await kubectl("version", "-o", "json"))
    await kubectl("create", "namespace", "shop")
    assert "created" in await kubectl("apply", "-f", "-", stdin=APP)
    assert (await kubectl("apply", "-f", "-", stdin=APP)).count("unchanged") == 2
    changed = await kubectl("apply", "-f", "-", stdin=APP.replace("first", "second"))
    assert "deployment.apps/web configured" in changed
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert await kubectl("get", "deployment", "web", "-n", "shop", "-o", image) == "second"
    assert "serverside-applied" in await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=APP)
    await kubectl("scale", "deployment/web", "-n", "shop", "--replicas=3")
    await kubectl("set", "image", "deployment/web", "c=third", "-n", "shop")
    assert "web" in await kubectl("get", "all", "-n", "shop")
    await kubectl("label", "service", "web", "-n", "shop", "tier=front")
    assert "web" in await kubectl("get", "service", "-n", "shop", "-l", "tier=front")
    await kubectl(
        "patch", "service", "web", "-n", "shop", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/tier"}]'
    )
    assert "rollingUpdate" in await kubectl("explain", "deployment.spec.strategy")
    assert "Replicas:" in await kubectl("describe", "deployment", "web", "-n", "shop")
    assert (await kubectl("delete", "-f", "-", stdin=APP)).count("deleted") == 2


async def test_kubectl_speaks_protobuf_to_typed_commands(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "c", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "serviceaccount", "u")
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "rolebinding", "rb", "--role=r", "--serviceaccount=default:u")
    await kubectl("create", "deployment", "d", "--image=x", "--replicas=2")
    assert "u" in await kubectl("get", "rolebinding", "rb", "-o", "yaml")
    assert (await kubectl("create", "token", "u")).count(".") == 2
    assert (await kubectl("auth", "can-i", "create", "pods")).strip() == "yes"
    assert "kubernetes-admin" in await kubectl("auth", "whoami")


async def test_kubectl_refusals_say_what_is_wrong(kubectl: Kubectl) -> None:
    assert 'namespaces "nope" not found' in await kubectl.fails("create", "configmap", "c", "-n", "nope")
    wrong = APP.replace("containers:", "container:").replace("namespace: shop", "namespace: default")
    assert "unknown field" in await kubectl.fails("apply", "-f", "-", stdin=wrong)
    assert 'pods "nope" not found' in await kubectl.fails("logs", "nope")


async def test_kubectl_works_with_a_definition_made_a_moment_ago(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=json.dumps(WIDGETS))
    await kubectl("wait", "--for=condition=Established", "crd/widgets.example.dev", "--timeout=10s")
    widget = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}}
    assert "created" in await kubectl("apply", "-f", "-", stdin=json.dumps(widget))
    widget["spec"] = {"size": 3}
    assert "configured" in await kubectl("apply", "-f", "-", stdin=json.dumps(widget))
    table = (await kubectl("get", "wd")).split()
    assert table == ["NAME", "SIZE", "w", "3"]
    widget["spec"] = {"size": 30}
    assert "should be less than or equal to 10" in await kubectl.fails("apply", "-f", "-", stdin=json.dumps(widget))


def agents(group: str) -> dict[str, Any]:
    """Two groups may have a kind of the same name."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "agents", "kind": "Agent"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**kind, "metadata": {"name": f"agents.{group}"}, "spec": spec}


async def test_a_short_name_of_two_groups_means_the_one_that_an_apiservice_ranks_higher(kubectl: Kubectl) -> None:
    first = {"group": "kaos.tools", "version": "v1alpha1", "groupPriorityMinimum": 1100, "versionPriority": 100}
    service = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    await kubectl(
        "create", "-f", "-", stdin=json.dumps({**service, "metadata": {"name": "v1alpha1.kaos.tools"}, "spec": first})
    )
    for group in ("core.orka.ai", "kaos.tools"):
        await kubectl("create", "-f", "-", stdin=json.dumps(agents(group)))
        await kubectl("wait", "--for=condition=Established", f"crd/agents.{group}", "--timeout=10s")
        agent = {"apiVersion": f"{group}/v1alpha1", "kind": "Agent", "metadata": {"name": group.replace(".", "-")}}
        await kubectl("create", "-f", "-", stdin=json.dumps(agent))
    assert await kubectl("get", "agents", "-o", "name") == "agent.kaos.tools/kaos-tools\n"
    assert await kubectl("get", "agents.core.orka.ai", "-o", "name") == "agent.core.orka.ai/core-orka-ai\n"


async def test_kubectl_watches(kubectl: Kubectl, running: Running) -> None:
    process = await kubectl.start("get", "configmaps", "--watch", "-o", "name")
    assert process.stdout is not None
    try:
        await running.http.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "seen"}})
        line = await asyncio.wait_for(process.stdout.readline(), 15)
        assert line.decode().strip() == "configmap/seen"
    finally:
        process.terminate()
        await process.wait()


PYTHON_CLIENT = """
from kubernetes import client, config, watch, dynamic

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
made = core.create_namespaced_config_map("default", client.V1ConfigMap(metadata={"name": "a"}, data={"x": "1"}))
assert made.metadata.uid
core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
assert core.read_namespaced_config_map("a", "default").data == {"x": "1", "y": "2"}
container = client.V1Container(name="c", image="x")
template = client.V1PodTemplateSpec(metadata={"labels": {"a": "b"}}, spec=client.V1PodSpec(containers=[container]))
spec = client.V1DeploymentSpec(selector={"matchLabels": {"a": "b"}}, template=template)
deployment = apps.create_namespaced_deployment("default", client.V1Deployment(metadata={"name": "d"}, spec=spec))
assert deployment.spec.replicas == 1
assert apps.read_namespaced_deployment_scale("d", "default").spec.replicas == 1
applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"z": "1"}}
apply = "application/apply-patch+yaml"
core.patch_namespaced_config_map("b", "default", applied, field_manager="me", _content_type=apply)
assert core.read_namespaced_config_map("b", "default").metadata.managed_fields[0].operation == "Apply"
names = []
for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1):
    names.append((event["type"], event["object"].metadata.name))
assert ("ADDED", "a") in names, names
try:
    core.read_namespaced_config_map("nope", "default")
except client.ApiException as error:
    assert error.status == 404
else:
    raise AssertionError("found what is not there")
core.delete_namespaced_config_map("a", "default")
print("done")
"""

LIGHTKUBE = """
from lightkube import Client, ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

client = Client(field_manager="lk")
client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default"), data={"x": "1"}))
client.apply(ConfigMap(metadata=ObjectMeta(name="b", namespace="default"), data={"x": "1"}))
assert sorted(one.metadata.name for one in client.list(ConfigMap, namespace="default")) == ["a", "b"]
client.patch(ConfigMap, "a", {"data": {"y": "2"}}, namespace="default")
assert client.get(ConfigMap, "a", namespace="default").data == {"x": "1", "y": "2"}
try:
    client.get(ConfigMap, "nope", namespace="default")
except ApiError as error:
    assert error.status.code == 404
seen = []
for kind, one in client.watch(ConfigMap, namespace="default", server_timeout=1):
    seen.append((kind, one.metadata.name))
    if len(seen) == 2:
        break
assert sorted(seen) == [("ADDED", "a"), ("ADDED", "b")], seen
client.delete(ConfigMap, "a", namespace="default")
print("done")
"""

ASYNC_CLIENT = """
import asyncio
from kubernetes.aio import client, config, watch

async def main():
    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        made = await core.create_namespaced_config_map(
            "default", client.V1ConfigMap(metadata={"name": "a"}, data={"x": "1"})
        )
        assert made.metadata.uid
        await core.patch_namespaced_config_map("a", "default", {"data": {"y": "2"}})
        assert (await core.read_namespaced_config_map("a", "default")).data == {"x": "1", "y": "2"}
        applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"z": "1"}}
        apply = "application/apply-patch+yaml"
        await core.patch_namespaced_config_map("b", "default", applied, field_manager="me", _content_type=apply)
        seen = []
        async with watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=5) as events:
            async for event in events:
                seen.append((event["type"], event["object"].metadata.name))
                if event["type"] == "DELETED":
                    break
                if len(seen) == 2:
                    await core.delete_namespaced_config_map("a", "default")
        assert sorted(seen) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")], seen
        try:
            await core.read_namespaced_config_map("a", "default")
        except client.ApiException as error:
            assert error.status == 404
        else:
            raise AssertionError("found what was deleted")

asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize(
    "program", [PYTHON_CLIENT, ASYNC_CLIENT, LIGHTKUBE], ids=["kubernetes", "kubernetes.aio", "lightkube"]
)
async def test_python_clients_work_unchanged(running: Running, tmp_path: Path, program: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment["KUBECONFIG"] = str(running.write_kubeconfig(tmp_path / "kubeconfig"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert out.decode().strip().endswith("done"), out.decode()


OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.persistence.finalizer = "example.dev/kopf"

@kopf.on.create("example.dev", "v1", "widgets")
@kopf.on.update("example.dev", "v1", "widgets", field="spec")
def react(spec, patch, **_):
    patch.status["seen"] = spec["size"]

@kopf.on.delete("example.dev", "v1", "widgets")
def leave(**_):
    pass
"""


async def test_a_kopf_operator_reacts_and_lets_go(running: Running, tmp_path: Path) -> None:
    http = running.http
    await serve_widgets(http)
    operator = tmp_path / "operator.py"
    operator.write_text(textwrap.dedent(OPERATOR))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment["KUBECONFIG"] = str(running.write_kubeconfig(tmp_path / "kubeconfig"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kopf", "run", "--standalone", "-n", "default", str(operator), env=environment,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        events = http.watch(f"{WIDGET_PATH}?watch=1")
        widget: dict[str, Any] = {
            "apiVersion": "example.dev/v1",
            "kind": "Widget",
            "metadata": {"name": "w"},
            "spec": {"size": 1},
        }
        await http.post(WIDGET_PATH, widget)
        await _seen(events, 1)
        await http.merge(f"{WIDGET_PATH}/w", {"spec": {"size": 2}})
        await _seen(events, 2)
        assert (await http("DELETE", f"{WIDGET_PATH}/w")).body["metadata"]["finalizers"] == ["example.dev/kopf"]
        while (await next_of(events, 20))["type"] != "DELETED":
            continue
        await events.aclose()
    finally:
        process.terminate()
        await process.wait()


async def _seen(events: Any, size: int) -> None:
    while True:
        event = await next_of(events, 20)
        if (event["object"].get("status") or {}).get("seen") == size:
            return
