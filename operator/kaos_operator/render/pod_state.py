"""Why a pod does not serve, in a few words."""

from __future__ import annotations

from collections.abc import Iterable

from kaos_ext.kube.objects import Object

_PATIENCE = frozenset({"ContainerCreating", "PodInitializing", ""})


def trouble(pods: Iterable[Object]) -> str:
    """The first container that cannot start or fell over; empty when nothing is wrong (yet)."""
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            if not container.get("ready") and (text := _reason(container)):
                return f"container {container['name']}: {text}"
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return str(condition.get("message") or condition.get("reason") or "not scheduled")
    return ""


def _reason(container: Object) -> str:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    end = f"exit code {ended['exitCode']}" if ended.get("exitCode") else ""
    if waiting.get("reason", "") not in _PATIENCE:
        said = str(waiting.get("message") or "")
        return ", ".join(part for part in (str(waiting["reason"]), end) if part) + (f" ({said})" if said else "")
    if state.get("terminated") and end:
        return end
    return ""
