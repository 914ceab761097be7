"""The reconciler against a small API server in memory that behaves like one where it matters here."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kaos_operator import reconcile
from kaos_operator.reconcile import Reconciler
from kaos_operator.settings import Settings
from kaos_operator.world import Key, World

from kaos_ext.kube.objects import ApiError, Object, PatchType, Propagation, Resource
from kaos_ext.model.names import Kind

AGENT = Key(Kind.AGENT, "demo", "auto-agent")
LOOP = {"autonomous": {"goal": "watch"}}


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body
        self.headers: dict[str, str] = {}

    async def read(self) -> bytes:
        return self._body


class Cluster:
    """Objects by kind, namespace and name; every write is counted, and seen by the operator at once."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.events: list[tuple[str, str, str]] = []
        self.refuse: dict[str, ApiError] = {}
        self.tools = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo"}]}}'
        self.calls = 0
        self.wrote = asyncio.Event()
        world = World(Settings(), Resources(self), Children(self), {}, {}, {True: ["local"]})
        self.reconciler = Reconciler(self, world, now=lambda: "2026-01-01T00:00:00Z")

    def add(self, *resources: Object) -> None:
        for resource in resources:
            self.objects[(resource["kind"], "demo", resource["metadata"]["name"])] = resource
            if resource["kind"] in list(Kind):
                self.reconciler.resource_changed(Key(Kind(resource["kind"]), "demo", resource["metadata"]["name"]))

    def get(self, kind: str, name: str) -> Object:
        return self.objects[(kind, "demo", name)]

    def names(self) -> set[str]:
        return {f"{kind} {name}" for kind, _, name in self.objects if kind not in list(Kind)}

    async def until_written(self, kind: str, times: int) -> None:
        async with asyncio.timeout(5):
            while sum(1 for write in self.writes if write[0] == kind) < times:
                self.wrote.clear()
                await self.wrote.wait()

    async def settle(self) -> None:
        async with asyncio.timeout(5):
            await self.reconciler.idle()

    async def pods_become_ready(self, kind: Kind, name: str, ready: int = 1) -> None:
        deployment = self.get("Deployment", f"{kind.app}-{name}")
        deployment["status"] = {"replicas": 1, "readyReplicas": ready, "updatedReplicas": 1, "availableReplicas": ready}
        self.reconciler.touch(Key(kind, "demo", name))
        await self.settle()

    async def create(self, resource: Resource, object: Object, namespace: str | None = None) -> Object:
        assert resource.kind == "Event"
        self.events.append((object["involvedObject"]["kind"], object["reason"], object["message"]))
        return object

    async def patch(
        self, resource: Resource, name: str, patch: Any, namespace: str | None = None, **options: Any
    ) -> Object:
        key = (resource.kind, namespace or "", name)
        self.writes.append((resource.kind, name, options.get("subresource") or options["type"].name))
        self.wrote.set()
        if resource.kind in self.refuse:
            raise self.refuse[resource.kind]
        if options["type"] is PatchType.JSON:
            self.objects[key]["spec"]["strategy"] = patch[0]["value"]
            return self.objects[key]
        assert options["field_manager"] == "kaos-operator"
        if options.get("subresource") == "status":
            live = self.objects[key]
            live["status"] = {**({"loop": live["status"]["loop"]} if "loop" in live.get("status", {}) else {})}
            live["status"].update(copy.deepcopy(patch["status"]))
            self.reconciler.resource_changed(Key(Kind(resource.kind), "demo", name))
            return live
        new: Object = copy.deepcopy(patch)
        old = self.objects.get(key)
        new["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{resource.kind}-{name}"
        if old and "status" in old:
            new["status"] = old["status"]
        self.objects[key] = new
        return new

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation | None = None,
        uid: str | None = None,
    ) -> Object:
        assert self.objects[(resource.kind, namespace or "", name)]["metadata"]["uid"] == uid
        return self.objects.pop((resource.kind, namespace or "", name))

    async def service_request(self, method: str, service: str, port: Any, path: str = "/", **options: Any) -> Answer:
        self.calls += 1
        return Answer(200, self.tools)


class Resources(Mapping[Any, Any]):
    """Index of our resources, alive."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getitem__(self, key: Key) -> list[Object]:
        return [copy.deepcopy(self._cluster.objects[(key.kind.value, key.namespace, key.name)])]

    def __contains__(self, key: object) -> bool:
        assert isinstance(key, Key)
        return (key.kind.value, key.namespace, key.name) in self._cluster.objects

    def __iter__(self) -> Iterator[Key]:
        return iter([Key(Kind(k), ns, n) for k, ns, n in self._cluster.objects if k in list(Kind)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Children(Mapping[Any, Any]):
    """Index of owned objects, alive."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __getitem__(self, key: Any) -> list[Object]:
        if isinstance(key, tuple):
            return [copy.deepcopy(self._cluster.objects[key])]
        return [
            copy.deepcopy(o)
            for o in self._cluster.objects.values()
            if any(r["uid"] == key for r in o["metadata"].get("ownerReferences", []))
        ]

    def __contains__(self, key: object) -> bool:
        return not isinstance(key, tuple) or key in self._cluster.objects

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(reconcile, "FIRST_RETRY", 0.001)
    return Cluster()


def bare(resource: Object) -> Object:
    resource.pop("status", None)
    return resource


async def test_an_agent_starts_the_moment_its_dependencies_are_ready(
    cluster: Any, agent: Any, modelapi: Any, mcpserver: Any
) -> None:
    cluster.add(agent(mcpServers=["auto-echo"]))
    await cluster.settle()
    assert cluster.get("Agent", "auto-agent")["status"]["message"] == "ModelAPI auto-api not found"
    cluster.add(bare(modelapi()), bare(mcpserver()))
    await cluster.settle()
    assert cluster.get("Agent", "auto-agent")["status"]["message"] == "ModelAPI is not ready"
    assert "Deployment agent-auto-agent" not in cluster.names()
    await cluster.pods_become_ready(Kind.MODELAPI, "auto-api")
    assert cluster.get("Agent", "auto-agent")["status"]["message"] == "MCPServer auto-echo is not ready"
    await cluster.pods_become_ready(Kind.MCPSERVER, "auto-echo")
    assert cluster.get("Agent", "auto-agent")["status"]["phase"] == "Pending"
    assert "Deployment agent-auto-agent" in cluster.names()
    await cluster.pods_become_ready(Kind.AGENT, "auto-agent")
    status = cluster.get("Agent", "auto-agent")["status"]
    assert (status["phase"], status["ready"], status["message"]) == ("Ready", True, "Deployment ready replicas: 1/1")
    assert status["endpoint"] == "http://agent-auto-agent.demo.svc.cluster.local:8000"
    assert status["linkedResources"] == {"modelapi": "auto-api"}
    assert status["deployment"]["readyReplicas"] == 1
    assert status["observedGeneration"] == 1
    told = [reason for kind, reason, _ in cluster.events if kind == "Agent"]
    assert told == ["Waiting", "Waiting", "Waiting", "Pending", "Ready"]


async def test_a_resource_that_is_as_it_should_be_is_not_written_again(cluster: Any, agent: Any, modelapi: Any) -> None:
    cluster.add(modelapi(), agent(config=LOOP))
    await cluster.settle()
    await cluster.pods_become_ready(Kind.MODELAPI, "auto-api")
    await cluster.pods_become_ready(Kind.AGENT, "auto-agent")
    cluster.writes.clear()
    again = Reconciler(cluster, cluster.reconciler._world, now=lambda: "2027-01-01T00:00:00Z")
    for key in (AGENT, Key(Kind.MODELAPI, "demo", "auto-api")):
        again.touch(key)
    await again.idle()
    assert cluster.writes == []


async def test_what_somebody_changed_or_deleted_comes_back(cluster: Any, agent: Any, modelapi: Any) -> None:
    cluster.add(modelapi(), agent())
    await cluster.settle()
    await cluster.pods_become_ready(Kind.MODELAPI, "auto-api")
    cluster.get("Deployment", "agent-auto-agent")["spec"]["replicas"] = 3
    gone = cluster.objects.pop(("Service", "demo", "agent-auto-agent"))
    cluster.reconciler.child_deleted(gone)
    cluster.reconciler.touch(AGENT)
    await cluster.settle()
    assert cluster.get("Deployment", "agent-auto-agent")["spec"]["replicas"] == 1
    assert "Service agent-auto-agent" in cluster.names()


async def test_children_that_are_not_wanted_any_more_go_but_a_claim_stays(
    cluster: Any, agent: Any, modelapi: Any
) -> None:
    cluster.add(modelapi(), agent(config=LOOP))
    await cluster.settle()
    await cluster.pods_become_ready(Kind.MODELAPI, "auto-api")
    assert {"ConfigMap agent-auto-agent-control", "Service agent-auto-agent"} <= cluster.names()
    cluster.add(agent(agentNetwork={"expose": False}))
    await cluster.settle()
    assert {"ConfigMap agent-auto-agent-control", "Service agent-auto-agent"}.isdisjoint(cluster.names())
    assert "PersistentVolumeClaim agent-auto-agent-state" in cluster.names()
    assert cluster.get("Deployment", "agent-auto-agent")["spec"]["strategy"]["type"] == "RollingUpdate"
    assert ("Deployment", "agent-auto-agent", "JSON") in cluster.writes


async def test_a_child_the_server_refuses_fails_the_resource_with_the_reason_and_is_tried_again(
    cluster: Any, modelapi: Any
) -> None:
    cluster.refuse["Deployment"] = ApiError({"code": 422, "reason": "Invalid", "message": "cpu: too much"})
    cluster.add(bare(modelapi()))
    await cluster.until_written("Deployment", 3)
    status = cluster.get("ModelAPI", "auto-api")["status"]
    assert (status["phase"], "cpu: too much" in status["message"]) == ("Failed", True)
    cluster.refuse.clear()
    await cluster.settle()
    assert cluster.get("ModelAPI", "auto-api")["status"]["phase"] == "Pending"


async def test_a_server_that_is_away_for_a_moment_changes_no_status(cluster: Any, modelapi: Any) -> None:
    cluster.refuse["ConfigMap"] = ApiError({"code": 503, "message": "starting"})
    cluster.add(bare(modelapi()))
    await cluster.until_written("ConfigMap", 3)
    assert "status" not in cluster.get("ModelAPI", "auto-api")
    cluster.refuse.clear()
    await cluster.settle()
    assert "Deployment modelapi-auto-api" in cluster.names()


async def test_what_the_agent_reports_of_its_loop_is_left_alone(cluster: Any, agent: Any) -> None:
    resource = agent()
    resource["status"] = {"loop": {"iteration": 7}}
    cluster.add(resource)
    await cluster.settle()
    assert cluster.get("Agent", "auto-agent")["status"]["loop"] == {"iteration": 7}
    assert cluster.get("Agent", "auto-agent")["status"]["phase"] == "Waiting"


async def test_the_tools_of_a_ready_server_are_asked_for_once(cluster: Any, mcpserver: Any) -> None:
    cluster.add(bare(mcpserver()))
    await cluster.settle()
    await cluster.pods_become_ready(Kind.MCPSERVER, "auto-echo")
    assert cluster.get("MCPServer", "auto-echo")["status"]["availableTools"] == ["echo"]
    cluster.reconciler.touch(Key(Kind.MCPSERVER, "demo", "auto-echo"))
    await cluster.settle()
    assert cluster.calls == 1


async def test_tools_are_asked_of_the_newest_pods_only(cluster: Any, mcpserver: Any) -> None:
    cluster.add(bare(mcpserver()))
    await cluster.settle()
    await cluster.pods_become_ready(Kind.MCPSERVER, "auto-echo")
    cluster.add(
        mcpserver(params="def more() -> str:\n return ''", status=cluster.get("MCPServer", "auto-echo")["status"])
    )
    cluster.get("Deployment", "mcpserver-auto-echo")["status"]["updatedReplicas"] = 0
    await cluster.settle()
    assert cluster.calls == 1
    cluster.tools = b'data: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"more"}]}}'
    await cluster.pods_become_ready(Kind.MCPSERVER, "auto-echo")
    assert cluster.get("MCPServer", "auto-echo")["status"]["availableTools"] == ["more"]


async def test_a_resource_on_its_way_out_is_left_to_the_garbage_collector(cluster: Any, modelapi: Any) -> None:
    resource = bare(modelapi())
    resource["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.add(resource)
    await cluster.settle()
    assert cluster.writes == []


async def test_why_a_pod_does_not_start_stands_in_the_message(cluster: Any, modelapi: Any) -> None:
    cluster.add(bare(modelapi()))
    waiting = {"reason": "ImagePullBackOff", "message": "not in the allow-list"}
    cluster.reconciler._world.pods["1"] = {
        "metadata": {"namespace": "demo", "labels": {"app": "modelapi", "modelapi": "auto-api"}},
        "status": {"containerStatuses": [{"name": "model-api", "ready": False, "state": {"waiting": waiting}}]},
    }
    await cluster.settle()
    message = cluster.get("ModelAPI", "auto-api")["status"]["message"]
    assert message == "Deployment ready replicas: 0/1; container model-api: ImagePullBackOff (not in the allow-list)"


async def test_a_condition_keeps_its_time_until_it_turns(cluster: Any, modelapi: Any) -> None:
    resource = bare(modelapi())
    old = "2020-01-01T00:00:00Z"
    ready = {"type": "Ready", "status": "False", "reason": "x", "message": "", "lastTransitionTime": old}
    resource["status"] = {"conditions": [ready]}
    cluster.add(resource)
    await cluster.settle()

    def time() -> str:
        conditions = cluster.get("ModelAPI", "auto-api")["status"]["conditions"]
        return str(next(c["lastTransitionTime"] for c in conditions if c["type"] == "Ready"))

    assert time() == old
    await cluster.pods_become_ready(Kind.MODELAPI, "auto-api")
    assert time() == "2026-01-01T00:00:00Z"


async def test_a_resource_that_waits_to_be_tried_again_is_looked_at_when_it_changes(
    cluster: Any, modelapi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "FIRST_RETRY", 3600.0)
    cluster.refuse["Deployment"] = ApiError({"code": 422, "message": "no such field"})
    cluster.add(bare(modelapi()))
    await cluster.until_written("Deployment", 2)
    cluster.refuse.clear()
    cluster.add(bare(modelapi(models=["a"])))
    await cluster.settle()
    assert cluster.get("ModelAPI", "auto-api")["status"]["phase"] == "Pending"


async def test_an_error_of_our_own_stops_one_resource_and_not_the_others(
    cluster: Any, modelapi: Any, caplog: pytest.LogCaptureFixture
) -> None:
    odd = bare(modelapi("odd"))
    odd["spec"] = {"mode": "Proxy", "proxyConfig": {"models": 7}}
    cluster.add(odd, bare(modelapi()))
    await cluster.until_written("Deployment", 1)
    await cluster.reconciler.stop()
    assert "ModelAPI demo/odd" in caplog.text


async def test_a_resource_made_anew_waits_until_the_children_of_the_former_are_gone(
    cluster: Any, modelapi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add(bare(modelapi()))
    await cluster.settle()
    monkeypatch.setattr(reconcile, "FIRST_RETRY", 3600.0)
    anew = bare(modelapi())
    anew["metadata"]["uid"] = "another"
    cluster.writes.clear()
    cluster.add(anew)
    for name in ("litellm-config-auto-api", "modelapi-auto-api"):
        for kind in ("ConfigMap", "Deployment", "Service"):
            if gone := cluster.objects.pop((kind, "demo", name), None):
                cluster.reconciler.child_deleted(gone)
                cluster.reconciler.touch(Key(Kind.MODELAPI, "demo", "auto-api"))
    await cluster.settle()
    owners = cluster.get("Deployment", "modelapi-auto-api")["metadata"]["ownerReferences"]
    assert [reference["uid"] for reference in owners] == ["another"]
    assert cluster.get("ModelAPI", "auto-api")["status"]["phase"] == "Pending"
