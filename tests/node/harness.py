"""A node with real processes over the fake API, and what tests ask of its pods."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster.node.agent import NodeAgent
from kaos_ext.cluster.node.config import Backoff, KubeletServer, NodeConfig
from kaos_ext.cluster.node.images import ImageTable
from kaos_ext.cluster.node.processes import marked, roomy_mark
from kaos_ext.cluster.node.protocol import CLAIM_PORT
from kaos_ext.kube.objects import PODS, Object

from .fake_client import FakeClient

PROGRAMS = Path(__file__).parent / "programs"
IMAGES = {"images": {"test/python": {"command": ["{python}", "-u", "-c"]},
        "test/bare": {"command": ["{python}", "-I", "-S", "-c"]}, "test/server": {"command": [
    "{python}", str(PROGRAMS / "server.py")], "env": {"FROM_IMAGE": "yes"}}}}  # fmt: skip
CODE = "tests.node.programs.code"
FORKED = {"images": {
    "test/python": {"command": ["{python}", "-m", CODE], "template": ["json"]},
    "test/bare": {"command": ["{python}", "-m", CODE], "template": ["json"]},
    "test/server": {"command": ["{python}", "-m", "tests.node.programs.server"], "env": {"FROM_IMAGE": "yes"},
                    "template": ["http.server"]}}}  # fmt: skip
"""The same images, started as forks of templates."""
BOTH_WAYS = pytest.mark.parametrize("node", ["exec", "fork"], indirect=True)


def free_octet() -> int:
    """A loopback network that no cluster holds at this moment."""
    while True:
        octet = random.randrange(64, 192)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((f"127.{octet}.255.254", CLAIM_PORT))
            except OSError:
                continue
            return octet


def templates(root: Path) -> list[int]:
    """Pids of templates, by their marks."""
    return list(marked(root, roomy_mark(root).rpartition(":")[2]))


class Node:
    """A node whose agent can be stopped and started again, as a daemon's."""

    def __init__(self, home: Path, client: FakeClient, images: Object = IMAGES) -> None:
        self.client = client
        octet = free_octet()
        self.config = NodeConfig(
            name="node-1",
            root=home / "node",
            volumes=home / "volumes",
            images=ImageTable.from_json(images),
            pod_network=IPv4Network(f"127.{octet}.128.0/17"),
            service_network=IPv4Network(f"127.{octet}.0.0/17"),
            api_server="https://127.0.0.1:6443",
            kubelet=KubeletServer(token="node-token"),
            backoff=Backoff(initial=0.05, maximum=0.2, reset=60),
        )
        self.agent = NodeAgent(client, self.config)

    async def restart_agent(self) -> None:
        await self.agent.stop()
        self.agent = NodeAgent(self.client, self.config)
        await self.agent.start()

    async def run(self, name: str, code: str = "", **spec: Any) -> Object:
        container: Object = {"name": "main", "image": "test/python"}
        if code:
            container["args"] = [code]
        container |= spec.pop("container", {})
        spec = {"nodeName": "node-1", "containers": [container], **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        return await self.client.create(PODS, pod, "default")

    async def pod(self, name: str, until: Any, seconds: float = 10) -> Object:
        return await self.client.wait(PODS, name, "default", lambda pod: pod is not None and until(pod), seconds)

    async def gone(self, name: str, seconds: float = 10) -> None:
        await self.client.wait(PODS, name, "default", lambda pod: pod is None, seconds)

    def processes(self) -> list[int]:
        """Pids of pods' processes (not the forwarder's, nor a template's)."""
        found = []
        for pid in marked(self.config.root):
            with contextlib.suppress(OSError):  # ended between two looks
                line = Path(f"/proc/{pid}/cmdline").read_text()
                if "forwarder" not in line and pid not in templates(self.config.root):
                    found.append(pid)
        return found

    async def no_processes(self) -> None:
        """Wait until every pod's process has ended."""
        await until(lambda: not self.processes())

    async def idle(self) -> None:
        """Wait until no pod has a worker."""
        async with asyncio.timeout(5):
            await asyncio.gather(*self.agent.worker_tasks, return_exceptions=True)

    async def logs(self, name: str, container: str = "main", **query: str) -> tuple[int, str]:
        import aiohttp

        url = f"http://127.0.0.1:{self.agent.kubelet.port}/containerLogs/default/{name}/{container}"
        headers = {"Authorization": "Bearer node-token"}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url, params=query) as answer:
            return answer.status, await answer.text()


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what only the operating system knows."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def status(pod: Object) -> Object:
    return dict(pod.get("status") or {})


def condition(pod: Object, type_: str) -> str:
    return next((each["status"] for each in status(pod).get("conditions") or [] if each["type"] == type_), "")


def ready(pod: Object) -> bool:
    return condition(pod, "Ready") == "True"


def phase(*phases: str) -> Any:
    return lambda pod: status(pod).get("phase") in phases


def state(pod: Object, container: str = "main") -> Object:
    everyone = [*(status(pod).get("containerStatuses") or []), *(status(pod).get("initContainerStatuses") or [])]
    return next((each for each in everyone if each["name"] == container), {})
