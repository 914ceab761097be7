"""PodStatus as a pure fold of what is known of a pod's containers, by the kubelet's rules.

`fold(pod, containers, node facts, now)` gives the whole status to write; conditions keep their transition times while
they do not change, and conditions that others own are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kaos_ext.kube.objects import Object

ID_SCHEME = "process://"


class Role(StrEnum):
    INIT = "init"
    SIDECAR = "sidecar"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str = ""

    def to_json(self) -> Object:
        return {"waiting": _filled(reason=self.reason, message=self.message)}


@dataclass(frozen=True, slots=True)
class Running:
    started_at: str

    def to_json(self) -> Object:
        return {"running": {"startedAt": self.started_at}}


@dataclass(frozen=True, slots=True)
class Terminated:
    exit_code: int
    reason: str
    started_at: str
    finished_at: str
    signal: int = 0
    message: str = ""
    container_id: str = ""

    def to_json(self) -> Object:
        value = _filled(
            exitCode=self.exit_code,
            reason=self.reason,
            message=self.message,
            signal=self.signal,
            startedAt=self.started_at,
            finishedAt=self.finished_at,
            containerID=self.container_id,
        )
        return {"terminated": {"exitCode": 0, **value}}


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What is known of one container."""

    name: str
    role: Role
    image: str
    image_id: str = ""
    state: State = field(default_factory=lambda: Waiting("ContainerCreating"))
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    @property
    def done(self) -> bool:
        """An init container that need not run any more."""
        if self.role is Role.SIDECAR:
            return self.started
        return isinstance(self.state, Terminated) and self.state.exit_code == 0

    def to_json(self) -> Object:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "state": self.state.to_json(),
            "lastState": self.last.to_json() if self.last else {},
            "restartCount": self.restarts,
            "ready": self.done if self.role is Role.INIT else self.ready,
            "started": self.started,
            **({"containerID": self.container_id} if self.container_id else {}),
        }


def from_json(value: Mapping[str, Any]) -> Terminated | None:
    """The terminated state an API status remembers."""
    ended = value.get("terminated")
    if not ended:
        return None
    return Terminated(
        int(ended.get("exitCode", 0)),
        ended.get("reason", ""),
        ended.get("startedAt") or "",
        ended.get("finishedAt") or "",
        int(ended.get("signal", 0)),
        ended.get("message", ""),
        ended.get("containerID", ""),
    )


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the node adds to the containers' states."""

    host_ip: str
    pod_ip: str = ""
    start_time: str = ""
    reason: str = ""
    message: str = ""
    failed: bool = False
    """The pod was ended by the node itself (deadline, refusal) and never runs again."""
    stopping: bool = False


def fold(pod: Object, containers: Sequence[ContainerState], facts: PodFacts, now: str) -> Object:
    """The status of a pod, whole."""
    before = pod.get("status") or {}
    spec = pod["spec"]
    first = [each for each in containers if each.role is not Role.APP]
    apps = [each for each in containers if each.role is Role.APP]
    phase = _phase(before.get("phase"), spec.get("restartPolicy", "Always"), first, apps, facts)
    status: Object = {
        "observedGeneration": pod["metadata"].get("generation"),
        "phase": phase,
        "conditions": _conditions(pod, phase, first, apps, facts, now),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": before.get("startTime") or facts.start_time or now,
        "qosClass": before.get("qosClass") or qos_class(pod),
        "containerStatuses": [each.to_json() for each in apps],
        "reason": facts.reason or None,
        "message": facts.message or None,
    }
    if first:
        status["initContainerStatuses"] = [each.to_json() for each in first]
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    return {key: value for key, value in status.items() if value is not None or before.get(key) is not None}


def _phase(
    before: str | None, policy: str, first: Sequence[ContainerState], apps: Sequence[ContainerState], facts: PodFacts
) -> str:
    if before in ("Succeeded", "Failed"):
        return before
    if facts.failed:
        return "Failed"
    if policy == "Never" and any(isinstance(i.state, Terminated) and i.state.exit_code for i in first):
        return "Failed"
    if not all(each.done or each.role is Role.SIDECAR for each in first):
        return "Pending"
    if any(isinstance(each.state, Waiting) and each.last is None for each in apps):
        return "Pending"
    ended = [each.state for each in apps if isinstance(each.state, Terminated)]
    if len(ended) < len(apps):
        return "Running"
    failed = any(state.exit_code for state in ended)
    if facts.stopping or policy == "Never":
        return "Failed" if failed else "Succeeded"
    if policy == "OnFailure" and not failed:
        return "Succeeded"
    return "Running"


def _conditions(
    pod: Object,
    phase: str,
    first: Sequence[ContainerState],
    apps: Sequence[ContainerState],
    facts: PodFacts,
    now: str,
) -> list[Object]:
    before = {each["type"]: each for each in (pod.get("status") or {}).get("conditions") or []}
    over = phase in ("Succeeded", "Failed")
    unfinished = [each.name for each in first if not each.done]
    unready = [each.name for each in apps if not each.ready]
    unready += [each.name for each in first if each.role is Role.SIDECAR and not each.ready]
    conditions: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (bool(facts.pod_ip) and not over, "", ""),
    }
    if unfinished and not over:
        message = f"containers with incomplete status: [{' '.join(unfinished)}]"
        conditions["Initialized"] = (False, "ContainersNotInitialized", message)
    else:
        conditions["Initialized"] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if phase == "Succeeded":
        ready = (False, "PodCompleted", "")
    elif phase == "Failed":
        ready = (False, "PodFailed", "")
    elif unready:
        ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        ready = (True, "", "")
    conditions["ContainersReady"] = ready
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates") or []]
    closed = [gate for gate in gates if (before.get(gate) or {}).get("status") != "True"]
    if ready[0] and closed:
        ready = (False, "ReadinessGatesNotReady", f'corresponding condition of pod readiness gate "{closed[0]}" '
                 "does not exist." if closed[0] not in before else "the status of pod readiness gate "
                 f'"{closed[0]}" is not "True", but {before[closed[0]].get("status")}')  # fmt: skip
    conditions["Ready"] = ready
    if "PodScheduled" not in before:
        conditions["PodScheduled"] = (True, "", "")
    generation = pod["metadata"].get("generation")
    ours = [
        _condition(before.get(type_), type_, value, reason, message, generation, now)
        for type_, (value, reason, message) in conditions.items()
    ]
    return ours + [each for type_, each in before.items() if type_ not in conditions]


def _condition(
    before: Mapping[str, Any] | None, type_: str, value: bool, reason: str, message: str, generation: Any, now: str
) -> Object:
    status = "True" if value else "False"
    kept = before is not None and before.get("status") == status
    return {
        "type": type_,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": before["lastTransitionTime"] if kept and before else now,
        **_filled(observedGeneration=generation, reason=reason, message=message),
    }


def qos_class(pod: Object) -> str:
    """Guaranteed: every container's limits equal its requests for cpu and memory; BestEffort: none has any."""
    any_set, guaranteed = False, True
    for container in [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        for name in ("cpu", "memory"):
            any_set = any_set or name in limits or name in requests
            guaranteed = guaranteed and name in limits and requests.get(name) == limits[name]
    return "Guaranteed" if any_set and guaranteed else "Burstable" if any_set else "BestEffort"


def _filled(**values: Any) -> Object:
    return {key: value for key, value in values.items() if value not in ("", None, 0)}
