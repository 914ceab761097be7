"""The real operator process against a real (embedded) API server; Deployments are made ready by hand."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kaos_operator.install import install_objects

from kaos_ext.cluster.apiserver.identity import AUTHENTICATED, MASTERS, UserInfo
from kaos_ext.cluster.apiserver.server import ApiServer, ApiServerConfig
from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.pki import ensure_pki
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    DEPLOYMENTS,
    EVENTS,
    SECRETS,
    SERVICES,
    ApiError,
    Object,
    PatchType,
    Resource,
    is_not_found,
)

pytestmark = pytest.mark.process

MODELAPIS = Resource("kaos.tools", "v1alpha1", "modelapis", "ModelAPI")
MCPSERVERS = Resource("kaos.tools", "v1alpha1", "mcpservers", "MCPServer")
AGENTS = Resource("kaos.tools", "v1alpha1", "agents", "Agent")
ECHO = "def echo(message: str) -> str:\n return message"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bench:
    """An API server with KAOS installed, a client, and operators that can come and go."""

    def __init__(self, root: Path) -> None:
        self.config = ClusterConfig(root, "bench", free_port(), 99)
        self.pki = ensure_pki(self.config)
        self.kubeconfig = root / "kubeconfig"
        authority = base64.b64encode(self.pki.ca_pem.encode()).decode()
        document = {
            "current-context": "bench",
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "demo"}}],
            "clusters": [
                {"name": "bench", "cluster": {"server": self.config.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "bench", "user": {"token": self.pki.admin_token}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(document))
        self.kubeconfig.chmod(0o600)

    async def start_server(self) -> None:
        self.server = ApiServer(
            ApiServerConfig(
                database=self.config.database,
                certificate=self.pki.api_certificate,
                key=self.pki.api_key,
                service_account_key=self.pki.service_account_key,
                service_network=self.config.service_network,
                port=self.config.port,
                tokens={self.pki.admin_token: UserInfo("admin", groups=(MASTERS, AUTHENTICATED))},
            )
        )
        await self.server.start()

    async def connect(self) -> None:
        self.kube = await KubeClient.connect(kubeconfig=str(self.kubeconfig))
        for object_ in install_objects():
            if object_["kind"] != "Deployment":
                await self.kube.apply(object_)
        await self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})

    @asynccontextmanager
    async def operator(self, stderr: int | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
        environ = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(self.kubeconfig),
            "HOST": "127.0.0.1",
            "HEALTH_PORT": str(free_port()),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kaos_operator", env=environ, stderr=stderr
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def apply(self, kind: str, name: str, **spec: Any) -> Object:
        metadata = {"name": name, "namespace": "demo"}
        return await self.kube.apply(
            {"apiVersion": "kaos.tools/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        )

    async def modelapi(self, **proxy: Any) -> None:
        await self.apply("ModelAPI", "auto-api", mode="Proxy", proxyConfig={"models": ["*"], **proxy})

    async def make_ready(self, name: str) -> None:
        await self.until(DEPLOYMENTS, name, lambda _: True)
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1)
        await self.kube.patch(DEPLOYMENTS, name, {"status": counts}, "demo", subresource="status")

    async def until(self, resource: Resource, name: str, holds: Callable[[Object], Any]) -> Object:
        found = await self.kube.wait(resource, name, "demo", lambda o: bool(o is not None and holds(o)), 20)
        assert found is not None
        return found

    async def until_told(self, name: str, reasons: set[str]) -> None:
        """Until Kubernetes events of these reasons were recorded for an object."""
        missing = set(reasons)
        async with asyncio.timeout(20), aclosing(self.kube.follow(EVENTS, "demo")) as events:
            async for event in events:
                if event.object["involvedObject"]["name"] == name:
                    missing.discard(event.object["reason"])
                if not missing:
                    return

    async def versions(self) -> dict[str, str]:
        seen = {}
        for resource in (MODELAPIS, MCPSERVERS, AGENTS, DEPLOYMENTS, SERVICES, CONFIGMAPS):
            for item in (await self.kube.list(resource, "demo")).items:
                seen[f"{resource.kind} {item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
        return seen


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.start_server()
    try:
        await bench.connect()
        yield bench
        await bench.kube.close()
    finally:
        await bench.server.stop()


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda o: bool((o.get("status") or {}).get("phase") == wanted)


async def test_the_autonomous_example_becomes_ready_and_nothing_of_kopf_is_left_on_it(bench: Bench) -> None:
    async with bench.operator():
        autonomous = {"goal": "watch", "intervalSeconds": 1}
        await bench.modelapi()
        await bench.apply("MCPServer", "auto-echo", runtime="python-string", params=ECHO)
        await bench.apply(
            "Agent",
            "auto-agent",
            modelAPI="auto-api",
            model="gpt-4o",
            mcpServers=["auto-echo"],
            config={"autonomous": autonomous},
        )
        waiting = await bench.until(AGENTS, "auto-agent", phase("Waiting"))
        assert waiting["status"]["message"] == "ModelAPI is not ready"
        await bench.make_ready("modelapi-auto-api")
        await bench.make_ready("mcpserver-auto-echo")
        await bench.make_ready("agent-auto-agent")
        ready = await bench.until(AGENTS, "auto-agent", phase("Ready"))
        assert ready["status"]["endpoint"] == "http://agent-auto-agent.demo.svc.cluster.local:8000"
        assert "finalizers" not in ready["metadata"]
        assert not ready["metadata"].get("annotations")
        owners = (await bench.kube.get(DEPLOYMENTS, "agent-auto-agent", "demo"))["metadata"]["ownerReferences"]
        assert owners[0]["uid"] == ready["metadata"]["uid"]
        await bench.until_told("auto-agent", {"Waiting", "Pending", "Ready"})


async def test_wrong_source_and_unknown_runtimes_fail_and_the_agent_says_what_it_waits_for(bench: Bench) -> None:
    async with bench.operator():
        await bench.modelapi()
        await bench.apply("MCPServer", "broken", runtime="python-string", params="x = 1\ndef broken(:\n")
        failed = await bench.until(MCPSERVERS, "broken", phase("Failed"))
        assert "line 2" in failed["status"]["message"]
        await bench.make_ready("modelapi-auto-api")
        await bench.apply("Agent", "a", modelAPI="auto-api", model="m", mcpServers=["broken"])
        waiting = await bench.until(AGENTS, "a", lambda o: "broken" in (o.get("status") or {}).get("message", ""))
        assert "line 2" in waiting["status"]["message"]

        await bench.apply("MCPServer", "mine", runtime="home-made")
        await bench.until(MCPSERVERS, "mine", phase("Failed"))
        registry = {"data": {"runtimes.yaml": "runtimes: {home-made: {image: 'home/made:1'}}"}}
        await bench.kube.patch(CONFIGMAPS, "kaos-mcp-runtimes", registry, "kaos-system", type=PatchType.MERGE)
        await bench.until(MCPSERVERS, "mine", phase("Pending"))


async def test_a_new_key_in_a_secret_replaces_the_pods_that_read_it(bench: Bench) -> None:
    def secret(value: str) -> Object:
        metadata = {"name": "keys", "namespace": "demo"}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"k": value}}

    def template(deployment: Object) -> str:
        return str(deployment["spec"]["template"]["metadata"]["annotations"].get("kaos.tools/config-hash"))

    async with bench.operator():
        await bench.kube.create(SECRETS, secret("one"), "demo")
        await bench.modelapi(apiKey={"valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}})
        before = template(await bench.until(DEPLOYMENTS, "modelapi-auto-api", lambda _: True))
        await bench.kube.patch(SECRETS, "keys", {"stringData": {"k": "two"}}, "demo", type=PatchType.MERGE)
        await bench.until(DEPLOYMENTS, "modelapi-auto-api", lambda o: template(o) != before)


async def test_an_operator_that_starts_again_writes_nothing_and_goes_on(bench: Bench) -> None:
    async with bench.operator() as first:
        await bench.modelapi()
        await bench.make_ready("modelapi-auto-api")
        await bench.apply("Agent", "a", modelAPI="auto-api", model="m")
        await bench.make_ready("agent-a")
        await bench.until(AGENTS, "a", phase("Ready"))
        first.send_signal(signal.SIGKILL)
        await first.wait()
    before = await bench.versions()
    async with bench.operator() as second:
        await bench.apply("Agent", "b", modelAPI="auto-api", model="m")
        await bench.until(DEPLOYMENTS, "agent-b", lambda _: True)
        after = await bench.versions()
        assert {name: after[name] for name in before} == before
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), 3) == 0


async def test_an_operator_that_is_dead_holds_up_no_delete(bench: Bench) -> None:
    async with bench.operator() as operator:
        await bench.modelapi()
        await bench.until(MODELAPIS, "auto-api", phase("Pending"))
        operator.kill()
        await operator.wait()
    await bench.kube.delete(MODELAPIS, "auto-api", "demo")
    with pytest.raises(ApiError) as refused:
        await bench.kube.get(MODELAPIS, "auto-api", "demo")
    assert is_not_found(refused.value)


async def test_the_operator_outlives_a_restart_of_the_api_server(bench: Bench) -> None:
    async with bench.operator() as operator:
        await bench.modelapi()
        await bench.until(MODELAPIS, "auto-api", phase("Pending"))
        await bench.server.stop()
        await bench.start_server()
        await bench.apply("Agent", "a", modelAPI="auto-api", model="m")
        await bench.until(AGENTS, "a", phase("Waiting"))
        await bench.make_ready("modelapi-auto-api")
        await bench.until(DEPLOYMENTS, "agent-a", lambda _: True)
        assert operator.returncode is None


@pytest.mark.parametrize("met_it", [True, False], ids=["it ran", "it never came up"])
async def test_an_operator_whose_api_server_is_away_ends_when_it_is_asked_to(bench: Bench, met_it: bool) -> None:
    if not met_it:
        await bench.server.stop()
    async with bench.operator(stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        if met_it:
            await bench.modelapi()
            await bench.until(DEPLOYMENTS, "modelapi-auto-api", lambda _: True)
            await bench.server.stop()
        async with asyncio.timeout(20):
            while b"retry" not in await process.stderr.readline():
                pass
            process.terminate()
            asked = time.monotonic()
            assert await process.wait() == 0
        assert time.monotonic() - asked < 4


async def test_suspending_rewrites_the_control_file_and_leaves_the_pod(bench: Bench) -> None:
    def autonomous(suspend: bool) -> Awaitable[Object]:
        loop = {"goal": "g", "suspend": suspend}
        return bench.apply("Agent", "a", modelAPI="auto-api", model="m", config={"autonomous": loop})

    async with bench.operator():
        await bench.modelapi()
        await bench.make_ready("modelapi-auto-api")
        await autonomous(False)
        before = await bench.until(DEPLOYMENTS, "agent-a", lambda _: True)
        await autonomous(True)
        await bench.until(CONFIGMAPS, "agent-a-control", lambda o: o["data"]["control.json"] == '{"suspend": true}')
        await bench.until(AGENTS, "a", lambda o: o["status"].get("observedGeneration") == 2)
        after = await bench.kube.get(DEPLOYMENTS, "agent-a", "demo")
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
