"""A running container's probes and hooks: asked, judged, and what follows from the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from typing import Any, Protocol

from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.images import Image
from kaos_ext.cluster.node.pod_setup import Launch, PodSetup
from kaos_ext.cluster.node.pod_status import ContainerState
from kaos_ext.cluster.node.probes import (
    Answer,
    ProbeKind,
    ProbeState,
    ProbeTiming,
    answered,
    ask,
    next_delay,
)
from kaos_ext.cluster.node.processes import MARK, mark, signal_group
from kaos_ext.cluster.node.protocol import ProcessRecord
from kaos_ext.kube.objects import Object


class ProbedPod(Protocol):
    node: NodeContext
    pod: Object
    address: str
    setup: PodSetup


class ProbedContainer(Protocol):
    """What probes need of their container, and may tell it."""

    name: str
    spec: dict[str, Any]
    state: ContainerState
    record: ProcessRecord | None
    launch: Launch | None
    started: asyncio.Event

    @property
    def pod(self) -> ProbedPod: ...

    def set(self, **changes: Any) -> None: ...

    def condemn(self, why: str) -> None: ...


class Prober:
    def __init__(self, container: ProbedContainer) -> None:
        self._container = container

    def _warn(self, reason: str, message: str) -> None:
        pod = self._container.pod
        pod.node.recorder.warning(pod.pod, reason, message, self._container.name)

    async def run(self) -> None:
        born = time.monotonic()
        hook = (self._container.spec.get("lifecycle") or {}).get("postStart")
        if hook and not self._container.state.started:
            answer = await self.ask(hook, 30.0)
            if not answer.success:
                self._warn("FailedPostStartHook", answer.message)
                self._container.condemn("FailedPostStartHook")
                return
        startup = self._container.spec.get("startupProbe")
        if startup and not self._container.state.started and not await self._probe(ProbeKind.STARTUP, startup, born):
            return
        self._container.started.set()
        readiness, liveness = self._container.spec.get("readinessProbe"), self._container.spec.get("livenessProbe")
        self._container.set(started=True, **({} if readiness else {"ready": True}))
        async with asyncio.TaskGroup() as group:
            for kind, probe in ((ProbeKind.READINESS, readiness), (ProbeKind.LIVENESS, liveness)):
                if probe:
                    group.create_task(self._probe(kind, probe, time.monotonic()))

    async def _probe(self, kind: ProbeKind, probe: Mapping[str, Any], born: float) -> bool:
        """Ask for as long as it matters; False when the container was condemned."""
        timing = ProbeTiming.of(kind, probe)
        state = ProbeState(verdict=True if kind is ProbeKind.READINESS and self._container.state.ready else None)
        while True:
            await asyncio.sleep(next_delay(state, timing, time.monotonic() - born))
            answer = await self.ask(probe, timing.timeout)
            before, state = state, answered(state, timing, answer.success, time.monotonic() - born)
            if not answer.success and state.failures > before.failures:
                text = f"{kind} probe failed: {answer.message}"
                self._warn("Unhealthy", text)
            if kind is ProbeKind.READINESS:
                if state.verdict is not None and state.verdict != self._container.state.ready:
                    self._container.set(ready=state.verdict)
            elif state.verdict is False:
                self._container.condemn(f"failed {kind.lower()} probe")
                return False
            elif kind is ProbeKind.STARTUP and state.verdict:
                return True

    async def ask(self, action: Mapping[str, Any], seconds: float) -> Answer:
        return await ask(action, self._container.spec, self._container.pod.address, seconds, self.execute)

    async def execute(self, argv: list[str], limit: float) -> tuple[int, str]:
        """Run a command in the container's surroundings (exec probes and hooks)."""
        container = self._container
        launch = container.launch
        if launch is None:
            launch = container.launch = await container.pod.setup.launch(container.spec, Image())
        record = container.record
        env = launch.env | ({MARK: mark(container.pod.node.config.root, record.id)} if record else {})
        try:
            process = await asyncio.create_subprocess_exec(
                *[launch.rewrite(part) for part in argv],
                env=env,
                cwd=launch.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return 126, f"cannot run {argv[:1]}: {error}"
        try:
            async with asyncio.timeout(limit):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                signal_group(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace")
