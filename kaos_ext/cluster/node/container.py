"""One container of a pod: start, watch over, judge by its probes, restart with back-off, stop.

    run():  [start → running → ended]*      until the restart policy says that it need not run any more

A runner that is cancelled leaves its process alone: that belongs to the supervisor, and the next daemon's runner
adopts it by its record.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.env import ContainerConfigError
from kaos_ext.cluster.node.images import Image
from kaos_ext.cluster.node.logs import LogOptions, LogReader
from kaos_ext.cluster.node.pod_setup import Launch, PodSetup
from kaos_ext.cluster.node.pod_status import ID_SCHEME, ContainerState, Role, Running, Terminated, Waiting, from_json
from kaos_ext.cluster.node.prober import Prober
from kaos_ext.cluster.node.protocol import LOST_EXIT, ProcessRecord, ProcessSpec
from kaos_ext.cluster.node.recorder import timestamp
from kaos_ext.cluster.node.supervisor_client import StartError
from kaos_ext.cluster.node.volumes import MountError
from kaos_ext.kube.objects import Object

LABEL_POD, LABEL_CONTAINER, LABEL_ATTEMPT, LABEL_ADDRESS = "pod", "container", "attempt", "address"


class PodOfContainer(Protocol):
    """What a runner needs of its pod."""

    node: NodeContext
    pod: Object
    address: str
    setup: PodSetup
    hurry: asyncio.Event
    references_changed: asyncio.Event

    def changed(self) -> None: ...


def seconds(moment: str) -> str:
    """A record's time as metav1.Time writes it."""
    return moment[:19] + "Z" if moment else timestamp()


class ContainerRunner:
    def __init__(
        self,
        pod: PodOfContainer,
        spec: dict[str, Any],
        role: Role,
        before: Mapping[str, Any],
        records: list[ProcessRecord],
    ) -> None:
        self.pod = pod
        self._node = pod.node
        self.spec = spec
        self.name: str = spec["name"]
        self._failures = 0
        self._kill: asyncio.Task[ProcessRecord] | None = None
        self._prober = Prober(self)
        self.launch: Launch | None = None
        self._starting: asyncio.Task[ProcessRecord] | None = None
        waits = role is Role.APP and bool(pod.pod["spec"].get("initContainers"))
        self.state = ContainerState(
            self.name,
            role,
            spec.get("image", ""),
            before.get("imageID") or "",
            state=Waiting("PodInitializing" if waits else "ContainerCreating"),
        )
        self.record: ProcessRecord | None = None
        self.started = asyncio.Event()
        self.ended_attempt: int | None = None
        """The attempt that ended last, whose log is the previous container's while the next has not begun."""
        self._remember(before, records)

    # -- what was before this daemon -----------------------------------------------------------------------------

    def _remember(self, before: Mapping[str, Any], records: list[ProcessRecord]) -> None:
        """Take over from the API's status and the supervisor's records; those are newer."""
        last = from_json(before.get("lastState") or {})
        was = before.get("state") or {}
        restarts = int(before.get("restartCount") or 0)
        record = max(records, key=lambda each: int(each.labels.get(LABEL_ATTEMPT, 0)), default=None)
        self.state = replace(self.state, last=last, restarts=restarts)
        told = from_json(was)
        if record is not None and told is not None and told.container_id == ID_SCHEME + record.id:
            record = None  # its end is known to everybody
        if record is not None:
            self.record = record
            attempt = int(record.labels.get(LABEL_ATTEMPT, 0))
            same = before.get("containerID") == ID_SCHEME + record.id
            self.state = replace(
                self.state,
                restarts=max(restarts, attempt),
                container_id=ID_SCHEME + record.id,
                state=Running(seconds(record.started_at)),
                ready=bool(same and before.get("ready")),
                started=bool(same and before.get("started")),
            )
        elif told is not None:
            self.state = replace(self.state, state=told, container_id=before.get("containerID") or "")
            self.ended_attempt = restarts
        elif "running" in was:
            # The machine went down: nobody knows how it ended.
            ended = Terminated(
                LOST_EXIT,
                "ContainerStatusUnknown",
                was["running"].get("startedAt") or "",
                timestamp(),
                message="The container could not be located when the node came back",
                container_id=before.get("containerID") or "",
            )
            self.state = replace(self.state, last=ended, restarts=restarts + 1)

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the container needs to run no more."""
        if isinstance(self.state.state, Terminated) and self.record is None:
            if not self._again(self.state.state):
                return
            await self._back_off(self.state.state)
        while True:
            record = self.record
            ended = await (self._watch_over(record) if record is not None else self._start())
            if ended is None:
                continue
            if not self._again(ended):
                return
            await self._back_off(ended)

    def _again(self, ended: Terminated) -> bool:
        policy = self.pod.pod["spec"].get("restartPolicy", "Always")
        if self.state.role is Role.SIDECAR:
            return True
        if self.state.role is Role.INIT:
            return ended.exit_code != 0 and policy != "Never"
        return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)

    def set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.pod.changed()

    async def _start(self) -> Terminated | None:
        """Start the process; a terminated state when it could not be started at all."""
        image = await self._image()
        launch = await self._prepare(image)
        self.launch = launch
        attempt = self.state.restarts
        metadata = self.pod.pod["metadata"]
        logs = self._node.log_folder(self.pod.pod) / self.name
        spec = ProcessSpec(
            id=uuid.uuid4().hex,
            argv=launch.argv,
            env=launch.env,
            cwd=launch.cwd,
            log=str(logs / f"{attempt}.log"),
            labels={
                LABEL_POD: metadata["uid"],
                LABEL_CONTAINER: self.name,
                LABEL_ATTEMPT: str(attempt),
                LABEL_ADDRESS: self.pod.address,
            },
            template=launch.template,
        )
        previous = self.state.container_id.removeprefix(ID_SCHEME)
        try:
            # Not given up when the pod is deleted at this moment: stop() must know of the process.
            self._starting = asyncio.create_task(self._node.supervisor.start(spec), name=f"start of {self.name}")
            record = await asyncio.shield(self._starting)
            self._starting = None
        except StartError as error:
            self._starting = None
            text = f"failed to start container process: {error.message}"
            self._node.recorder.warning(self.pod.pod, "Failed", f"Error: {text}", self.name)
            self._failures += 1
            ended = Terminated(128, "StartError", timestamp(), timestamp(), message=text)
            self.set(state=ended, ready=False, started=False)
            return ended
        self.record = record
        self.set(state=Running(seconds(record.started_at)), container_id=ID_SCHEME + record.id)
        message = f'Container image "{self.state.image}" already present on machine and can be accessed by the pod'
        self._node.recorder.normal(self.pod.pod, "Pulled", message, self.name)
        self._node.recorder.normal(self.pod.pod, "Created", "Container created", self.name)
        self._node.recorder.normal(self.pod.pod, "Started", "Container started", self.name)
        if previous:
            await self._node.supervisor.forget(previous)
        if attempt >= 2:
            for stale in logs.glob(f"{attempt - 2}.log*"):
                stale.unlink(missing_ok=True)
        return None

    async def _image(self) -> Image:
        """The image's entry in the node's table; waits, as for a pull, until it has one."""
        name, delay = self.state.image, self._node.config.backoff.initial
        told = False
        while True:
            image = self._node.config.images.find(name)
            if image is not None:
                self.set(image_id=f"local://{name}")
                return image
            pod, recorder = self.pod.pod, self._node.recorder
            if not told:
                known = ", ".join(self._node.config.images.names) or "none"
                why = f"this node has no program for it, only for: {known}"
                text = f'Failed to pull image "{name}": {why}'
                recorder.normal(pod, "Pulling", f'Pulling image "{name}"', self.name)
                recorder.warning(pod, "Failed", text, self.name)
                recorder.warning(pod, "Failed", "Error: ErrImagePull", self.name)
                self.set(state=Waiting("ErrImagePull", text))
                told = True
            await asyncio.sleep(delay)
            if self._node.config.images.find(name) is None:
                delay = min(delay * 2, self._node.config.backoff.maximum)
                recorder.normal(pod, "BackOff", f'Back-off pulling image "{name}"', self.name)
                self.set(state=Waiting("ImagePullBackOff", f'Back-off pulling image "{name}": {why}'))

    async def _prepare(self, image: Image) -> Launch:
        delay = 0.1
        while True:
            self.pod.references_changed.clear()
            try:
                return await self.pod.setup.launch(self.spec, image)
            except (ContainerConfigError, MountError) as error:
                reason = "CreateContainerConfigError"
                self._node.recorder.warning(self.pod.pod, "Failed", f"Error: {error.message}", self.name)
                self.set(state=Waiting(reason, error.message))
            try:
                async with asyncio.timeout(delay):
                    await self.pod.references_changed.wait()
            except TimeoutError:
                delay = min(delay * 2, 10.0)

    async def _watch_over(self, record: ProcessRecord) -> Terminated:
        watching = asyncio.create_task(self._prober.run(), name=f"probes of {self.name}")
        try:
            return self._ended(await self._node.supervisor.exit_of(record))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _ended(self, record: ProcessRecord) -> Terminated:
        code = record.exit_code if record.exit_code is not None else LOST_EXIT
        ended = Terminated(
            code,
            record.reason or ("Completed" if code == 0 else "Error"),
            seconds(record.started_at),
            seconds(record.finished_at),
            record.signal,
            self._last_words() if code else "",
            ID_SCHEME + record.id,
        )
        ran = _moment(record.finished_at) - _moment(record.started_at)
        self._failures = 1 if ran >= self._node.config.backoff.reset else self._failures + 1
        self.record = None
        self.ended_attempt = self.state.restarts
        self.started.clear()
        self.set(state=ended, ready=False, started=False)
        return ended

    def _last_words(self) -> str:
        """The end of the log, where the container asks for it as its termination message."""
        if self.spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return ""
        path = self._node.log_folder(self.pod.pod) / self.name / f"{self.state.restarts}.log"
        return LogReader(path, LogOptions(tail_lines=80)).read()[-2048:].decode(errors="replace")

    async def _back_off(self, ended: Terminated) -> None:
        delay = self._node.config.backoff.delay(self._failures)
        self.state = replace(self.state, last=ended)
        if delay:
            metadata = self.pod.pod["metadata"]
            who = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            text = f"Back-off restarting failed container {self.name} in pod {who}"
            self._node.recorder.warning(self.pod.pod, "BackOff", text, self.name)
            text = f"back-off {delay:g}s restarting failed container={self.name} pod={who}"
            self.set(state=Waiting("CrashLoopBackOff", text))
            await asyncio.sleep(delay)
        self.set(restarts=self.state.restarts + 1)

    def condemn(self, why: str) -> None:
        text = f"Container {self.name} {why}, will be restarted"
        self._node.recorder.normal(self.pod.pod, "Killing", text, self.name)
        record = self.record
        if record is not None:
            grace = float(self.pod.pod["spec"].get("terminationGracePeriodSeconds") or 30)
            self._kill = asyncio.create_task(self._end(record, grace), name=f"killing {self.name}")

    # -- the end -------------------------------------------------------------------------------------------------

    async def stop(self, grace: float) -> None:
        """Stop it for good: preStop, SIGTERM, SIGKILL when the grace is over or the pod is in a hurry."""
        if self._starting is not None:
            with contextlib.suppress(StartError):
                self.record = await self._starting
            self._starting = None
        record = self.record
        if record is None:
            if isinstance(self.state.state, Waiting):
                ended = self.state.last or Terminated(0, "Completed", timestamp(), timestamp())
                self.set(state=ended if self.state.last else self.state.state, ready=False, started=False)
            return
        self._node.recorder.normal(self.pod.pod, "Killing", f"Stopping container {self.name}", self.name)
        self.set(ready=False)
        began = time.monotonic()
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0 and record.running:
            answer = await self._prober.ask(hook, grace)
            if not answer.success:
                self._node.recorder.warning(self.pod.pod, "FailedPreStopHook", answer.message, self.name)
        self._ended(await self._end(record, max(0.0, grace - (time.monotonic() - began))))

    async def _end(self, record: ProcessRecord, grace: float) -> ProcessRecord:
        supervisor = self._node.supervisor
        exit_ = asyncio.ensure_future(supervisor.exit_of(record))
        hurry = asyncio.create_task(self.pod.hurry.wait())
        try:
            if grace > 0:
                await supervisor.signal(record.id, signal.SIGTERM)
                await asyncio.wait({exit_, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            if not exit_.done():
                await supervisor.signal(record.id, signal.SIGKILL)
            return await exit_
        finally:
            hurry.cancel()


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=UTC).timestamp() if text else 0.0
