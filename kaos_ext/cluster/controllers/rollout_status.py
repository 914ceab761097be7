"""The status of a Deployment, as its ReplicaSets show it. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.controllers.events import now_text, parse_time
from kaos_ext.cluster.controllers.pods import condition
from kaos_ext.cluster.controllers.rollout import current_set, limits, replicas_of, status_count
from kaos_ext.kube.objects import Object

_COMPLETE, _LATE = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Observed:
    status: dict[str, Any]
    look_again: float | None = None
    """Seconds until the progress deadline could pass."""


def observe(
    deployment: Object, replicasets: Sequence[Object], now: dt.datetime, *, created: str = "", collisions: int = 0
) -> Observed:
    """`created`: the name of the ReplicaSet made in this step."""
    new = current_set(deployment, replicasets)
    total = sum(status_count(rs, "replicas") for rs in replicasets)
    available = sum(status_count(rs, "availableReplicas") for rs in replicasets)
    numbers = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": total,
        "updatedReplicas": status_count(new, "replicas") if new else 0,
        "readyReplicas": sum(status_count(rs, "readyReplicas") for rs in replicasets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(replicas_of, replicasets)) - available),
        "terminatingReplicas": sum(status_count(rs, "terminatingReplicas") for rs in replicasets),
        "collisionCount": collisions or None,
    }
    conditions = _Conditions(deployment, now)
    conditions.set(*_available(deployment, available))
    deadline = _progress(deployment, new, numbers, created, conditions, now)
    failure = next((found for rs in replicasets if (found := condition(rs, "ReplicaFailure"))), None)
    if failure:
        conditions.set("ReplicaFailure", failure["status"], failure["reason"], failure["message"])
    else:
        conditions.remove("ReplicaFailure")
    return Observed({**numbers, "conditions": conditions.items}, deadline)


def _available(deployment: Object, available: int) -> tuple[str, str, str, str]:
    _, unavailable = limits(deployment)
    if available >= replicas_of(deployment) - unavailable:
        return "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _progress(
    deployment: Object,
    new: Object | None,
    numbers: dict[str, Any],
    created: str,
    conditions: _Conditions,
    now: dt.datetime,
) -> float | None:
    deadline = deployment["spec"].get("progressDeadlineSeconds", 600)
    before = conditions.get("Progressing")
    name = new["metadata"]["name"] if new else ""
    if deployment["spec"].get("paused"):
        conditions.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        return None
    if before and before["reason"] == "DeploymentPaused":
        conditions.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", progress=True)
        before = conditions.get("Progressing")
    if created:
        conditions.set(
            "Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{created}"', progress=True
        )
    elif before is None and name:
        conditions.set("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{name}"', progress=True)
    elif before and before["reason"] == _COMPLETE and numbers["replicas"] == numbers["updatedReplicas"]:
        return None  # the rollout ended; that pods come and go since is no rollout
    if complete(deployment, numbers):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        conditions.set("Progressing", "True", _COMPLETE, message, progress=True)
        return None
    if not created and _moved(deployment, numbers):
        message = f'ReplicaSet "{name}" is progressing.'
        conditions.set("Progressing", "True", "ReplicaSetUpdated", message, progress=True)
    current = conditions.get("Progressing")
    if current is None or current["reason"] in (_COMPLETE, _LATE) or deadline >= 2**31 - 1:
        return None
    since = parse_time(current.get("lastUpdateTime") or current["lastTransitionTime"])
    left = (since - now).total_seconds() + deadline
    if left <= 0:
        message = f'ReplicaSet "{name}" has timed out progressing.'
        conditions.set("Progressing", "False", _LATE, message)
        return None
    return float(left + 1)


def complete(deployment: Object, numbers: dict[str, Any]) -> bool:
    wanted = replicas_of(deployment)
    return bool(
        numbers["updatedReplicas"] == wanted
        and numbers["replicas"] == wanted
        and numbers["availableReplicas"] == wanted
        and numbers["observedGeneration"] >= deployment["metadata"].get("generation", 0)
    )


def _moved(deployment: Object, numbers: dict[str, Any]) -> bool:
    """Whether the rollout got further since the last status."""
    old_before = status_count(deployment, "replicas") - status_count(deployment, "updatedReplicas")
    return bool(
        numbers["updatedReplicas"] > status_count(deployment, "updatedReplicas")
        or numbers["replicas"] - numbers["updatedReplicas"] < old_before
        or numbers["readyReplicas"] > status_count(deployment, "readyReplicas")
        or numbers["availableReplicas"] > status_count(deployment, "availableReplicas")
    )


class _Conditions:
    """The list of conditions; times change only when what they say changes."""

    def __init__(self, object: Object, now: dt.datetime) -> None:
        self.items = [dict(item) for item in (object.get("status") or {}).get("conditions") or ()]
        self._now = now_text(now)

    def get(self, type: str) -> dict[str, Any] | None:
        return next((item for item in self.items if item["type"] == type), None)

    def remove(self, type: str) -> None:
        self.items = [item for item in self.items if item["type"] != type]

    def set(self, type: str, status: str, reason: str, message: str, *, progress: bool = False) -> None:
        """`progress` moves lastUpdateTime even when the words stay the same: the deadline counts from it."""
        old = self.get(type)
        if old and (old["status"], old["reason"], old.get("message")) == (status, reason, message) and not progress:
            return
        transition = old["lastTransitionTime"] if old and old["status"] == status else self._now
        new = {
            "type": type,
            "status": status,
            "lastUpdateTime": self._now,
            "lastTransitionTime": transition,
            "reason": reason,
            "message": message,
        }
        if old:
            old.clear()
            old.update(new)
        else:
            self.items.append(new)
