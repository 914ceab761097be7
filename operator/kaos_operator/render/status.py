"""The status of a resource: what was rendered, what its Deployment says, and when each condition last turned.

The operator owns these fields by server-side apply; `status.loop` belongs to the agent itself and is never written
here.
"""

from __future__ import annotations

from typing import Any

from kaos_ext.kube.objects import Object
from kaos_ext.model.names import Kind
from kaos_operator.render.context import Rendered, Verdict

_COPIED = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")


def desired_status(
    resource: Object,
    rendered: Rendered,
    deployment: Object | None,
    *,
    now: str,
    tools: list[str] | None = None,
    trouble: str = "",
) -> Object:
    """The whole status the operator stands for."""
    generation = resource["metadata"].get("generation")
    before = resource.get("status") or {}
    state = _State(rendered, deployment, trouble)
    status: dict[str, Any] = {"phase": state.phase, "ready": state.ready, "message": state.message}
    if generation is not None:
        status["observedGeneration"] = generation
    if endpoint := rendered.endpoint or (before.get("endpoint") if rendered.children is None else None):
        status["endpoint"] = endpoint
    if rendered.linked:
        status["linkedResources"] = dict(rendered.linked)
    if resource["kind"] == Kind.MCPSERVER.value:
        listed = before.get("availableTools") if tools is None else tools
        if listed is not None:
            status["availableTools"] = listed
    if deployment is not None:
        seen = deployment.get("status") or {}
        status["deployment"] = {key: seen[key] for key in _COPIED if key in seen}
        if seen.get("conditions"):
            status["deployment"]["conditions"] = seen["conditions"]
    status["conditions"] = _conditions(state, rendered, before.get("conditions") or [], generation, now)
    return status


class _State:
    """Phase, readiness and message of one moment."""

    def __init__(self, rendered: Rendered, deployment: Object | None, trouble: str) -> None:
        seen = (deployment or {}).get("status") or {}
        wanted = ((deployment or {}).get("spec") or {}).get("replicas", 1)
        self.ready = int(seen.get("readyReplicas") or 0) > 0
        self.progressing = next((c for c in seen.get("conditions") or [] if c.get("type") == "Progressing"), None)
        self.current = deployment is not None and rolled_out(deployment)
        if rendered.phase is not None:
            self.phase, self.message = rendered.phase, rendered.message
        elif self._stuck() and not self.ready:
            self.phase = "Failed"
            self.message = str((self.progressing or {}).get("message") or "the Deployment makes no progress")
        else:
            self.phase = "Ready" if self.ready else "Pending"
            self.message = f"Deployment ready replicas: {int(seen.get('readyReplicas') or 0)}/{wanted}"
        if trouble and self.phase != "Ready":
            self.message += f"; {trouble}"

    def _stuck(self) -> bool:
        return (self.progressing or {}).get("reason") == "ProgressDeadlineExceeded"

    def ready_verdict(self, rendered: Rendered) -> Verdict:
        if self.ready:
            return Verdict("Ready", True, "PodReady", "a pod is ready")
        return Verdict("Ready", False, rendered.phase or "PodNotReady", self.message)

    def progressing_verdict(self, rendered: Rendered, deployed: bool) -> Verdict:
        if rendered.phase == "Failed" or self._stuck():
            return Verdict("Progressing", False, "Failed", self.message)
        if not deployed:
            return Verdict("Progressing", True, rendered.phase or "Creating", self.message)
        if self.ready and self.current:
            return Verdict("Progressing", False, "Complete", "the newest pods run")
        return Verdict("Progressing", True, "RollingOut", "the newest pods start")


def rolled_out(deployment: Object) -> bool:
    """Whether only pods of the newest template run, and are ready."""
    seen = deployment.get("status") or {}
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    return bool(
        seen.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and seen.get("updatedReplicas", 0) >= wanted
        and seen.get("readyReplicas", 0) >= wanted
        and seen.get("replicas", 0) <= wanted
    )


def _conditions(
    state: _State, rendered: Rendered, before: list[Object], generation: int | None, now: str
) -> list[Object]:
    """In a fixed order; a condition keeps its time for as long as its status stays."""
    deployed = rendered.children is not None or state.current
    verdicts = [state.ready_verdict(rendered), state.progressing_verdict(rendered, deployed), *rendered.verdicts]
    if all(verdict.type != "Accepted" for verdict in verdicts):
        verdicts.append(Verdict("Accepted", True, "Valid", "the spec can be acted on"))
    known = {condition["type"]: condition for condition in before}
    result = []
    for verdict in verdicts:
        status = "True" if verdict.status else "False"
        old = known.get(verdict.type)
        condition: Object = {
            "type": verdict.type,
            "status": status,
            "reason": verdict.reason,
            "message": verdict.message[:32768],
            "lastTransitionTime": old["lastTransitionTime"] if old and old.get("status") == status else now,
        }
        if generation is not None:
            condition["observedGeneration"] = generation
        result.append(condition)
    return result


def covers(live: Any, wanted: Any) -> bool:
    """Whether everything wanted is there already: maps may hold more, and leave out what is empty."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            covers(live[key], value) if key in live else not value for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list) or len(live) != len(wanted):
            return False
        return all(covers(one, other) for one, other in zip(live, wanted, strict=True))
    return bool(live == wanted)


_OURS = frozenset({"Ready", "Progressing", "Accepted", "DependenciesReady", "Durable", "PeersResolved", "Unsupported"})


AGENTS_OWN = frozenset({"BudgetExhausted", "ApprovalRequired", "Paused", "IterationsFailing"})
"""Conditions that an agent reports of itself."""


def own_conditions(resource: Object) -> dict[str, Object]:
    """What an agent says of itself, by type."""
    listed = (resource.get("status") or {}).get("conditions") or []
    return {condition["type"]: condition for condition in listed if condition["type"] in AGENTS_OWN}


def status_differs(before: Object, after: Object) -> bool:
    """Whether a write is due; what others keep in the status does not count."""
    keys = ("phase", "ready", "message", "observedGeneration", "endpoint", "linkedResources", "deployment")
    if any(before.get(key) != after.get(key) for key in (*keys, "availableTools")):
        return True
    known = {c["type"]: c for c in before.get("conditions") or [] if c["type"] in _OURS}
    return known != {condition["type"]: condition for condition in after["conditions"]}


def transitions(before: Object, after: Object) -> list[tuple[str, str, str]]:
    """Kubernetes events a change of status is worth: type, reason, message."""
    events: list[tuple[str, str, str]] = []
    if before.get("phase") != after["phase"]:
        kind = "Warning" if after["phase"] == "Failed" else "Normal"
        events.append((kind, after["phase"], after["message"]))
    elif after["phase"] in ("Failed", "Waiting") and before.get("message") != after["message"]:
        events.append(("Warning" if after["phase"] == "Failed" else "Normal", after["phase"], after["message"]))
    known = {condition["type"]: condition["status"] for condition in before.get("conditions") or []}
    for condition in after["conditions"]:
        if condition["type"] in ("Durable", "PeersResolved") and condition["status"] == "False":
            if known.get(condition["type"]) != "False":
                events.append(("Warning", condition["reason"], condition["message"]))
        elif condition["type"] == "Unsupported" and known.get("Unsupported") != "True":
            events.append(("Warning", condition["reason"], condition["message"]))
    return events
