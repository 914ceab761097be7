"""A small cluster without an API server or a node: the fake client, all controllers, and pods that obey at once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster.controllers import Controllers, ControllerSettings, start_controllers
from kaos_ext.kube import objects as kube
from kaos_ext.kube.objects import NAMESPACES, NODES, PODS, Object, Resource, WatchType
from tests.controllers.fake_client import FakeClient

WIDGETS = Resource("example.org", "v1", "widgets", "Widget")
BUILT_IN = [value for value in vars(kube).values() if isinstance(value, Resource)]


class Cluster:
    """The fake API server with helpers that wait for conditions."""

    def __init__(self, client: FakeClient) -> None:
        self.client = client
        self.resources = [*BUILT_IN, WIDGETS]
        self.controllers: Controllers | None = None
        self.obey = True

    async def until(self, condition: Callable[[], Any], what: str = "condition") -> Any:
        """Wait until it holds; looks after each change, so it costs no time."""
        deadline = asyncio.get_running_loop().time() + 5
        while not (value := condition()):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise AssertionError(f"{what} did not become true")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.client.changed(), min(left, 0.05))
        return value

    async def settle(self) -> None:
        """Wait until the controllers have nothing to do and nothing changes any more."""
        quiet = 0
        while quiet < 20:
            before = self.client.revision
            await asyncio.sleep(0)
            quiet = quiet + 1 if before == self.client.revision and self.controllers.idle else 0

    async def node(self) -> None:
        """Play the node: pods that are bound become ready, pods that are deleted go."""
        async for event in self.client.watch(PODS, resource_version="0"):
            pod = event.object
            if event.type is WatchType.DELETED or not pod["spec"].get("nodeName") or not self.obey:
                continue
            key = (PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
            live = self.client.objects.get(key)
            if live is None or live["metadata"]["uid"] != pod["metadata"]["uid"]:
                continue
            if live["metadata"].get("deletionTimestamp"):
                self.client.remove(PODS, live)
            elif live["status"].get("phase") == "Pending":
                await self.make_ready(live)

    async def make_ready(self, pod: Object, ready: bool = True) -> None:
        metadata = pod["metadata"]
        number = int(metadata["uid"].split("-")[1])
        status = {
            "phase": "Running",
            "podIP": f"127.70.128.{number}",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            ],
        }
        await self.client.patch(PODS, metadata["name"], {"status": status}, metadata["namespace"], subresource="status")

    def active(self, namespace: str = "default") -> list[Object]:
        return [pod for pod in self.client.all(PODS, namespace) if not pod["metadata"].get("deletionTimestamp")]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    client = FakeClient()
    cluster = Cluster(client)
    client.put(NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    client.put(NODES, {"metadata": {"name": "n1"}, "spec": {}, "status": ready})
    settings = ControllerSettings(discover=lambda: cluster.resources, root_ca="the CA", volumes=tmp_path / "volumes")
    cluster.controllers = await start_controllers(client, settings)
    node = asyncio.create_task(cluster.node())
    yield cluster
    node.cancel()
    await asyncio.gather(node, return_exceptions=True)
    await cluster.controllers.stop()


def template(version: str = "1", **labels: str) -> Object:
    return {
        "metadata": {"labels": {"app": "web", **labels}},
        "spec": {
            "containers": [{"name": "c", "image": f"web:{version}", "ports": [{"name": "http", "containerPort": 8000}]}]
        },
    }


def deployment(replicas: int = 1, version: str = "1", **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(version),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


@pytest.fixture
def make_deployment() -> Iterator[Callable[..., Object]]:
    yield deployment


@pytest.fixture
def widgets() -> Resource:
    return WIDGETS
