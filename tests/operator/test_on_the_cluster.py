"""The whole way on an embedded cluster: the operator as a pod, the runtimes as pods, the agent's loop as a client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from kaos_operator.install import install_objects

from kaos_ext.cluster.lifecycle import start_cluster, stop_cluster
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import (
    DEPLOYMENTS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    SERVICES,
    ApiError,
    Object,
    Resource,
    WatchType,
)
from kaos_ext.model.errors import KaosError
from kaos_ext.model.images import node_images

pytestmark = pytest.mark.process

MCPSERVERS = Resource("kaos.tools", "v1alpha1", "mcpservers", "MCPServer")
AGENTS = Resource("kaos.tools", "v1alpha1", "agents", "Agent")
ECHO = 'def echo(message: str) -> str:\n """Say it back."""\n return f"Echo: {message}"'
MOCKS = json.dumps(['{"tool_calls":[{"id":"1","name":"echo","arguments":{"message":"hi"}}]}', "done"])
PATIENCE = 30.0


class Demo:
    """A cluster with the operator in it and a namespace to work in."""

    def __init__(self, kube: KubeClient) -> None:
        self.kube = kube

    async def install(self) -> None:
        for object_ in install_objects():
            await self.kube.apply(object_)
        await self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})

    async def apply(self, kind: str, name: str, **spec: Any) -> None:
        metadata = {"name": name, "namespace": "demo"}
        await self.kube.apply({"apiVersion": "kaos.tools/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})

    async def servers(self) -> None:
        await self.apply("ModelAPI", "api", mode="Proxy", proxyConfig={"models": ["*"]})
        await self.apply("MCPServer", "echo", runtime="python-string", params=ECHO)

    async def agent(self, instructions: str = "", **autonomous: Any) -> None:
        await self.apply(
            "Agent",
            "a",
            modelAPI="api",
            model="m",
            mcpServers=["echo"],
            config={"instructions": instructions, "autonomous": {"goal": "g", "intervalSeconds": 0, **autonomous}},
            container={"env": [{"name": "DEBUG_MOCK_RESPONSES", "value": MOCKS}]},
        )

    async def until(self, resource: Resource, name: str, holds: Callable[[Object], Any]) -> Object:
        found = await self.kube.wait(resource, name, "demo", lambda o: bool(o is not None and holds(o)), PATIENCE)
        assert found is not None
        return found

    async def until_gone(self, resource: Resource, name: str) -> None:
        listing = await self.kube.list(resource, "demo")
        if all(item["metadata"]["name"] != name for item in listing.items):
            return
        changes = self.kube.watch(resource, "demo", resource_version=listing.resource_version)
        async with asyncio.timeout(PATIENCE), aclosing(changes):
            async for change in changes:
                if change.type is WatchType.DELETED and change.object["metadata"]["name"] == name:
                    return

    async def loop(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The agent's own report, asked until it is so."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self.kube.service_request("GET", "agent-a", 8000, "/loop", namespace="demo")
                    state = json.loads(await answer.read())
                    if answer.status == 200 and holds(state):
                        return dict(state)
                except (KaosError, ValueError):
                    pass  # between two pods nobody answers
                await asyncio.sleep(0.02)

    async def pods(self, namespace: str = "demo", **labels: str) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return (await self.kube.list(PODS, namespace, labels=selector)).items


@pytest.fixture
async def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Demo]:
    monkeypatch.setenv("KAOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    handle = await start_cluster("operator", images=node_images(), ephemeral=True)
    try:
        kube = await KubeClient.connect(kubeconfig=str(handle.config.kubeconfig))
        demo = Demo(kube)
        await demo.install()
        yield demo
        await kube.close()
    finally:
        await stop_cluster("operator", delete_state=True)


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda o: bool((o.get("status") or {}).get("phase") == wanted)


async def test_an_agent_loops_parks_and_changes_its_mind_without_losing_count(demo: Demo) -> None:
    await demo.servers()
    await demo.agent()
    ready = await demo.until(AGENTS, "a", phase("Ready"))
    durable = [c["status"] for c in ready["status"]["conditions"] if c["type"] == "Durable"]
    assert durable == ["True"]
    await demo.until(MCPSERVERS, "echo", lambda o: o["status"].get("availableTools") == ["echo"])
    before = await demo.loop(lambda state: state["iteration"] >= 2)
    (pod,) = await demo.pods(agent="a")

    await demo.agent(suspend=True)
    parked = await demo.loop(lambda state: state["state"] == "paused")
    assert [p["metadata"]["uid"] for p in await demo.pods(agent="a")] == [pod["metadata"]["uid"]]
    await demo.agent("be brief", suspend=True)
    await demo.until(DEPLOYMENTS, "agent-a", lambda o: o["metadata"]["generation"] > 1)
    await demo.agent("be brief")
    after = await demo.loop(lambda state: state["state"] != "paused" and state["iteration"] > parked["iteration"])
    assert after["iteration"] > before["iteration"]
    assert [p["metadata"]["uid"] for p in await demo.pods(agent="a")] != [pod["metadata"]["uid"]]

    await demo.kube.delete(AGENTS, "a", "demo")
    for resource, name in ((SERVICES, "agent-a"), (PERSISTENTVOLUMECLAIMS, "agent-a-state")):
        await demo.until_gone(resource, name)


async def test_ten_prompts_in_a_row_leave_one_loop_that_counts_on(demo: Demo) -> None:
    await demo.servers()
    await demo.agent()
    await demo.loop(lambda state: state["iteration"] >= 1)
    for number in range(10):
        await demo.agent(f"prompt {number}")
    await demo.until(AGENTS, "a", lambda o: o["status"].get("observedGeneration") == 11)
    await demo.until(DEPLOYMENTS, "agent-a", rolled_out)
    (pod,) = [p for p in await demo.pods(agent="a") if not p["metadata"].get("deletionTimestamp")]
    environment = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert environment["AGENT_INSTRUCTIONS"] == "prompt 9"
    now = await demo.loop(lambda state: state["iteration"] > 1)
    await demo.loop(lambda state: state["iteration"] > now["iteration"])
    query = "/memory/events?type=iteration_started&limit=1000&order=asc"
    answer = await demo.kube.service_request("GET", "agent-a", 8000, query, namespace="demo")
    started = [event["metadata"]["iteration"] for event in json.loads(await answer.read())["events"]]
    assert started[-1] > now["iteration"]
    assert started == list(range(started[0], started[0] + len(started)))


def rolled_out(deployment: Object) -> bool:
    seen, generation = deployment.get("status") or {}, deployment["metadata"]["generation"]
    counts = [seen.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return seen.get("observedGeneration") == generation and counts == [1, 1, 1]


async def test_an_agent_made_anew_under_its_name_starts_from_nothing_and_never_fails(demo: Demo) -> None:
    await demo.servers()
    await demo.agent()
    old = await demo.until(AGENTS, "a", phase("Ready"))
    await demo.loop(lambda state: state["iteration"] >= 2)
    listing = await demo.kube.list(AGENTS, "demo")
    await demo.kube.delete(AGENTS, "a", "demo")
    await demo.agent(suspend=True)
    new = await demo.until(AGENTS, "a", phase("Ready"))
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    state = await demo.loop(lambda state: state["state"] == "paused")
    assert state["iteration"] == 0
    phases = []
    changes = demo.kube.watch(AGENTS, "demo", resource_version=listing.resource_version)
    async with asyncio.timeout(PATIENCE), aclosing(changes):
        async for change in changes:
            phases.append((change.object.get("status") or {}).get("phase"))
            if change.object["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
                break
    assert "Failed" not in phases


async def test_an_operator_that_is_killed_comes_back_and_goes_on(demo: Demo) -> None:
    await demo.kube.wait(
        DEPLOYMENTS,
        "kaos-operator",
        "kaos-system",
        lambda o: bool(o and (o.get("status") or {}).get("readyReplicas")),
        PATIENCE,
    )
    os.kill(operator_pid(), signal.SIGKILL)
    await demo.servers()
    await demo.until(MCPSERVERS, "echo", phase("Ready"))


async def test_a_server_whose_source_fails_when_it_runs_says_so(demo: Demo) -> None:
    await demo.apply("MCPServer", "late", runtime="python-string", params="raise RuntimeError('no')")
    seen = await demo.until(MCPSERVERS, "late", lambda o: "container" in (o.get("status") or {}).get("message", ""))
    assert "mcp-server" in seen["status"]["message"]
    with pytest.raises(ApiError, match="Proxy"):
        await demo.apply("ModelAPI", "wrong", mode="proxy")


def operator_pid() -> int:
    """The operator of this test's cluster: it works in its pod's folder."""
    home = os.environ["KAOS_HOME"]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, place = (folder / "cmdline").read_text(), str((folder / "cwd").readlink())
        except OSError:
            continue
        if title.startswith("kaos: operator") and place.startswith(home):
            return int(folder.name)
    raise AssertionError("no operator runs")
