"""Faults that come while a notebook waits, each once, as they come in life; the notebook has to be green all the same.

    agent_crash   the process of every agent is killed
    mcp_crash     the process of every tool server is killed
    daemon_kill   the cluster's daemon is killed; `kaos up` follows
    api_slow      the API server stops for moments, for 4 s
    model_500     every model proxy is led to a server that answers 500, for 2 s, then back

Where: before the cell that is tagged `fault`, or the first one that waits after an agent is there. A fault that found
nothing to hit is a red run of its own: it proved nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil

from kaos_ext.commands.kinds import AGENT, MCPSERVER, MODELAPI, Spoken
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import PODS, Object
from kaos_ext.model.errors import KaosError
from kaos_ext.testing import clusters

SLOW_SECONDS, STOPPED_SECONDS, RUNS_SECONDS = 4.0, 0.3, 0.1
FAILING_SECONDS = 2.0
_WAITS = re.compile(r"\.wait\(|\bagent wait\b|\bsleep\(|kubectl\W+wait")


class Fault(StrEnum):
    AGENT_CRASH = "agent_crash"
    MCP_CRASH = "mcp_crash"
    API_SLOW = "api_slow"
    DAEMON_KILL = "daemon_kill"
    MODEL_500 = "model_500"


@dataclass
class Injector:
    """Called before each cell; injects once. `hit` says what was hit."""

    fault: Fault
    home: Path
    kubeconfig: str
    hit: list[str] = field(default_factory=list)
    _task: asyncio.Task[list[str]] | None = None

    async def __call__(self, index: int, cell: Any) -> None:
        if self._task is not None or not ("fault" in cell.metadata.get("tags", ()) or _WAITS.search(cell.source)):
            return
        with contextlib.suppress(KaosError):  # no cluster yet: nothing to hit
            if await self._agents():
                self._task = asyncio.create_task(_ACTS[self.fault](self))

    async def end(self) -> str:
        """Wait until the fault is over; why it proved nothing, if so."""
        if self._task is None:
            return "no cell waits while an agent is there: tag one `fault`"
        try:
            self.hit = await self._task
        except (KaosError, OSError, psutil.Error) as error:
            return f"it could not be injected: {error}"
        return "" if self.hit else "there was nothing to hit"

    async def _agents(self) -> list[Object]:
        kube = await KubeClient.connect(kubeconfig=self.kubeconfig)
        try:
            return (await kube.list(AGENT.resource)).items
        finally:
            await kube.close()

    async def kill_pods(self, spoken: Spoken) -> list[str]:
        kube = await KubeClient.connect(kubeconfig=self.kubeconfig)
        hit = []
        try:
            for item in (await kube.list(spoken.resource)).items:
                name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
                for pod in (await kube.list(PODS, namespace, labels=spoken.selector(name))).items:
                    if self._kill(pod["metadata"]["uid"]):
                        hit.append(pod["metadata"]["name"])
                    elif not self.home_runs:
                        await kube.delete(PODS, pod["metadata"]["name"], namespace, grace_seconds=0)
                        hit.append(pod["metadata"]["name"])
        finally:
            await kube.close()
        return hit

    @property
    def home_runs(self) -> bool:
        """Whether the cluster is one of ours, with its processes on this machine."""
        return any((self.home / "clusters").glob("*/daemon.pid"))

    def _kill(self, uid: str) -> bool:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                if uid in process.cwd() and str(self.home) in process.cwd():
                    process.kill()
                    return True
        return False

    def daemon(self) -> psutil.Process:
        for file in (self.home / "clusters").glob("*/daemon.pid"):
            return psutil.Process(int(file.read_text().split()[0]))
        raise KaosError("the cluster has no daemon on this machine")


async def _agent_crash(injector: Injector) -> list[str]:
    return await injector.kill_pods(AGENT)


async def _mcp_crash(injector: Injector) -> list[str]:
    return await injector.kill_pods(MCPSERVER)


async def _daemon_kill(injector: Injector) -> list[str]:
    daemon = injector.daemon()
    daemon.kill()
    await clusters.start(injector.home)
    return [f"daemon {daemon.pid}"]


async def _api_slow(injector: Injector) -> list[str]:
    daemon = injector.daemon()
    loop = asyncio.get_running_loop()
    until = loop.time() + SLOW_SECONDS
    try:
        while loop.time() < until:
            daemon.send_signal(signal.SIGSTOP)
            await asyncio.sleep(STOPPED_SECONDS)
            daemon.send_signal(signal.SIGCONT)
            await asyncio.sleep(RUNS_SECONDS)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon.send_signal(signal.SIGCONT)
    return [f"daemon {daemon.pid}"]


async def _model_500(injector: Injector) -> list[str]:
    """Each ModelAPI in proxy mode asks a server of ours for a moment."""
    server = await asyncio.start_server(_answer_500, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    kube = await KubeClient.connect(kubeconfig=injector.kubeconfig)
    led: list[Object] = []
    try:
        for item in (await kube.list(MODELAPI.resource)).items:
            if (item["spec"].get("mode") or "Proxy") == "Proxy":
                led.append(item)
                await _lead(kube, item, f"http://127.0.0.1:{port}/v1")
        await asyncio.sleep(FAILING_SECONDS if led else 0)
        return [item["metadata"]["name"] for item in led]
    finally:
        for item in led:
            await _lead(kube, item, (item["spec"].get("proxyConfig") or {}).get("apiBase"))
        await kube.close()
        server.close()
        await server.wait_closed()


async def _lead(kube: KubeClient, item: Object, address: str | None) -> None:
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    patch = {"spec": {"proxyConfig": {"apiBase": address}}}
    await kube.patch(MODELAPI.resource, name, patch, namespace)


async def _answer_500(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"error": {"message": "fault model_500", "type": "server_error"}}'
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


_ACTS: dict[Fault, Callable[[Injector], Coroutine[Any, Any, list[str]]]] = {
    Fault.AGENT_CRASH: _agent_crash,
    Fault.MCP_CRASH: _mcp_crash,
    Fault.API_SLOW: _api_slow,
    Fault.DAEMON_KILL: _daemon_kill,
    Fault.MODEL_500: _model_500,
}
