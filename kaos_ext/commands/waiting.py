"""Waiting until an object of ours is ready, saying what it waits for: its message, its pods' trouble, their events.

`verdict` and `trouble` are pure; `until_ready` follows the object and its pods and reports whenever something changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from enum import StrEnum

from kaos_ext.commands.kinds import Spoken
from kaos_ext.commands.session import Session
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import EVENTS, PODS, ApiError, Object, WatchType
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.views import Step, Steps, StepState

TICK_SECONDS = 1.0
NOT_READY = "started, not ready yet"
STARTING = ("Pending", "ContainerCreating", "PodInitializing")
"""What every pod says for a moment."""
UNSEEN_SECONDS = 3.0
"""An operator that works has written a status by then."""


class Verdict(StrEnum):
    WAITING = "waiting"
    READY = "ready"
    FAILED = "failed"


def verdict(item: Object | None, generation: int = 0) -> Verdict:
    """Where an object stands; a status of an older generation says nothing yet."""
    status = (item or {}).get("status") or {}
    if not _observed(status, generation):
        return Verdict.WAITING
    if status.get("phase") == "Failed":
        return Verdict.FAILED
    return Verdict.READY if status.get("ready") is True and not _rolling(status) else Verdict.WAITING


def _rolling(status: Object) -> bool:
    """Pods of the newest settings are still on their way; what is ready is the ones before."""
    conditions = status.get("conditions") or ()
    return any(condition.get("type") == "Progressing" and condition.get("status") == "True" for condition in conditions)


def _observed(status: Object, generation: int) -> bool:
    return bool(status) and status.get("observedGeneration", generation) >= generation


def trouble(pod: Object) -> str:
    """Why a pod does not run yet, in a few words; nothing when it does."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state = container.get("state") or {}
        waiting, last = state.get("waiting"), (container.get("lastState") or {}).get("terminated") or {}
        if waiting:
            ended = f"exit code {last['exitCode']}" if "exitCode" in last else ""
            why = str(waiting.get("message") or last.get("message") or ended)
            return ": ".join(part for part in (str(waiting.get("reason") or "starting"), why) if part)
        if "running" in state and not container.get("ready"):
            return NOT_READY
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    return "" if status.get("phase") == "Running" else str(status.get("phase") or "")


@dataclass(slots=True)
class _Seen:
    """What was last seen of the object and its pods."""

    generation: int = 0
    item: Object | None = None
    pods: dict[str, Object] = field(default_factory=dict)

    def detail(self, waited: float = 0) -> str:
        """The one reason that matters now: what the operator waits for, a pod's trouble, or how far it is."""
        status = (self.item or {}).get("status") or {}
        if not _observed(status, self.generation):
            return "the operator has not looked at it: kaos system status" if waited > UNSEEN_SECONDS else "starting"
        if status.get("phase") in ("Waiting", "Failed"):
            return str(status.get("message") or status["phase"])
        whys = {
            name: trouble(pod)
            for name, pod in sorted(self.pods.items())
            if not (pod.get("metadata") or {}).get("deletionTimestamp")
        }
        for name, why in whys.items():
            if why and why != NOT_READY and not why.startswith(STARTING):
                return f"pod {name}: {why}"
        if NOT_READY in whys.values():
            return "its process runs and is not ready yet"
        return "its process starts" if whys else "starting"


async def until_ready(session: Session, spoken: Spoken, name: str, patience: float, generation: int = 0) -> Object:
    """The object once it is ready; NotReadyError with the reasons when it failed or the time is over."""
    kube = await session.kube()
    seen, began = _Seen(generation), time.monotonic()

    def tell(state: StepState) -> None:
        took = time.monotonic() - began
        step = Step(f"{spoken.word} {name}", state, "" if state is StepState.DONE else seen.detail(took), took)
        session.report(Steps("waiting for", f"{spoken.word}/{name}", (step,), took))

    pods = asyncio.create_task(_follow_pods(kube, spoken, name, seen, lambda: tell(StepState.WAITING)))
    ticks = asyncio.create_task(_tick(lambda: tell(StepState.WAITING)))
    try:
        found = await _settled(kube, spoken, name, patience, generation, seen, lambda: tell(StepState.WAITING))
    finally:
        for task in (pods, ticks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if found is Verdict.READY and seen.item is not None:
        tell(StepState.DONE)
        return seen.item
    tell(StepState.FAILED)
    raise await _not_ready(kube, spoken, name, seen, found, patience)


async def _settled(
    kube: KubeClient,
    spoken: Spoken,
    name: str,
    patience: float,
    generation: int,
    seen: _Seen,
    changed: Callable[[], None],
) -> Verdict:
    def settled(item: Object | None) -> bool:
        return verdict(item, generation) is not Verdict.WAITING

    def note(item: Object | None) -> None:
        seen.item = item
        if not settled(item):
            changed()

    try:
        item = await kube.wait(spoken.resource, name, kube.namespace, settled, patience, on_change=note)
    except NotReadyError:
        return Verdict.WAITING
    return verdict(item, generation)


async def _follow_pods(kube: KubeClient, spoken: Spoken, name: str, seen: _Seen, changed: Callable[[], None]) -> None:
    """Pods only explain; who may not see them still waits for the object itself."""
    try:
        async with aclosing(kube.follow(PODS, kube.namespace, labels=spoken.selector(name))) as changes:
            async for change in changes:
                pod = change.object["metadata"]["name"]
                if change.type is WatchType.DELETED:
                    seen.pods.pop(pod, None)
                else:
                    seen.pods[pod] = change.object
                changed()
    except KaosError as error:
        seen.pods["?"] = {"metadata": {}, "status": {"phase": f"not visible ({error.message})"}}


async def _tick(tell: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        tell()


async def _not_ready(
    kube: KubeClient,
    spoken: Spoken,
    name: str,
    seen: _Seen,
    found: Verdict,
    patience: float,
) -> NotReadyError:
    kind = spoken.kind.value
    details = [f"pod {pod}: {why}" for pod, item in sorted(seen.pods.items()) if (why := trouble(item))]
    message = str(((seen.item or {}).get("status") or {}).get("message") or seen.detail())
    details += [said for said in await warnings(kube, [name, *seen.pods]) if message not in said]
    if found is Verdict.FAILED:
        return NotReadyError(
            f"{kind} {name} failed: {message}", hint=f"kaos {spoken.word} get {name}", details=tuple(details)
        )
    hint = f"kaos {spoken.word} logs {name}" if seen.pods else f"kaos {spoken.word} get {name}"
    return NotReadyError(
        f"{kind} {name} is not ready after {patience:g} s: {message}", hint=hint, details=tuple(details)
    )


async def warnings(kube: KubeClient, about: list[str]) -> list[str]:
    """The newest warning events about these objects, oldest first; none when we may not see events."""
    try:
        events = (await kube.list(EVENTS, kube.namespace, fields="type=Warning")).items
    except ApiError:
        return []
    ours = [event for event in events if (event.get("involvedObject") or {}).get("name") in about]
    ours.sort(key=lambda event: str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or ""))
    return [f"{event.get('reason')}: {event.get('message')}" for event in ours[-5:]]
