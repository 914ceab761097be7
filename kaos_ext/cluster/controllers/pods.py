"""What controllers read in a Pod. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from kaos_ext.cluster.controllers.events import parse_time
from kaos_ext.kube.objects import Object


def condition(object: Object, type: str) -> dict[str, Any] | None:
    for item in (object.get("status") or {}).get("conditions") or ():
        if item["type"] == type:
            return dict(item)
    return None


def is_ready(pod: Object) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def is_finished(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_terminating(object: Object) -> bool:
    return bool(object["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Counts for its ReplicaSet: neither finished nor being deleted."""
    return not is_finished(pod) and not is_terminating(pod)


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def ready_since(pod: Object) -> dt.datetime | None:
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True" or not found.get("lastTransitionTime"):
        return None
    return parse_time(found["lastTransitionTime"])


def available_in(pod: Object, min_ready_seconds: int, now: dt.datetime) -> float | None:
    """Seconds until the pod counts as available: 0 when it does, None when it is not ready."""
    if not is_ready(pod):
        return None
    since = ready_since(pod)
    if not min_ready_seconds or since is None:
        return 0.0
    return max(0.0, (since + dt.timedelta(seconds=min_ready_seconds) - now).total_seconds())


def restarts(pod: Object) -> int:
    return max((c.get("restartCount", 0) for c in (pod.get("status") or {}).get("containerStatuses") or ()), default=0)


def deletion_order(pods: Iterable[Object], now: dt.datetime) -> list[Object]:
    """Which pods to delete first when there are too many: those that do least, then the youngest."""
    pods = list(pods)
    per_node: dict[str, int] = {}
    for pod in pods:
        node = pod["spec"].get("nodeName") or ""
        per_node[node] = per_node.get(node, 0) + 1

    def rank(pod: Object) -> tuple[Any, ...]:
        node = pod["spec"].get("nodeName") or ""
        since = ready_since(pod)
        cost = int((pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost") or 0)
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
            is_ready(pod),
            cost,
            -per_node[node],
            -since.timestamp() if since else 0.0,
            -restarts(pod),
            -parse_time(pod["metadata"]["creationTimestamp"]).timestamp(),
            pod["metadata"]["name"],
        )

    return sorted(pods, key=rank)
