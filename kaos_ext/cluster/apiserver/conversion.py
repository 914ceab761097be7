"""Built-in kinds that are served under two APIs and stored in one of them.

Events are stored as `v1` has them; `events.k8s.io/v1` names the same fields differently. Autoscalers are stored as
`autoscaling/v2` has them; `autoscaling/v1` has a field of its own for a share of the CPU, which is one of v2's metrics,
and shows what else v2 knows as annotations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kaos_ext.kube.objects import Object

_NAMES = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
)
NEW = "events.k8s.io/v1"


def event_to_new(event: Object) -> Object:
    return _renamed(event, dict(_NAMES), NEW)


def event_to_core(event: Object) -> Object:
    return _renamed(event, {new: old for old, new in _NAMES}, "v1")


def _renamed(event: Object, names: dict[str, str], api_version: str) -> Object:
    result = {names.get(key, key): value for key, value in event.items()}
    result["apiVersion"] = api_version
    return result


_AUTOSCALING = "autoscaling.alpha.kubernetes.io/"
_OLD = "autoscaling/v1"


def _cpu(metric: Object) -> bool:
    """Whether v1 has a field for it."""
    resource = metric.get("resource") or {}
    target = resource.get("target") or resource.get("current") or {}
    return resource.get("name") == "cpu" and target.get("averageUtilization") is not None


def autoscaler_to_v1(scaler: Object) -> Object:
    spec, status = dict(scaler.get("spec") or {}), dict(scaler.get("status") or {})
    notes: dict[str, str] = {}
    for part, key, field in (
        (spec, "metrics", "targetCPUUtilizationPercentage"),
        (status, "currentMetrics", "currentCPUUtilizationPercentage"),
    ):
        metrics = part.pop(key, None) or []
        shares = [metric for metric in metrics if _cpu(metric)]
        for metric in shares[:1]:
            target = metric["resource"].get("target") or metric["resource"]["current"]
            part[field] = target["averageUtilization"]
        if others := [metric for metric in metrics if metric not in shares[:1]]:
            notes["metrics" if part is spec else "current-metrics"] = json.dumps(others, separators=(",", ":"))
    for part, key in ((spec, "behavior"), (status, "conditions")):
        if found := part.pop(key, None):
            notes[key] = json.dumps(found, separators=(",", ":"))
    metadata = dict(scaler["metadata"])
    if notes:
        own = {f"{_AUTOSCALING}{key}": value for key, value in notes.items()}
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **own}
    status = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    return {**scaler, "apiVersion": _OLD, "metadata": metadata, "spec": spec, "status": status}


def autoscaler_to_v2(scaler: Object) -> Object:
    metadata = dict(scaler["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    notes: dict[str, Any] = {}
    for key in ("metrics", "current-metrics", "behavior", "conditions"):
        if (text := annotations.pop(f"{_AUTOSCALING}{key}", None)) is not None:
            notes[key] = json.loads(text)
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    spec, status = dict(scaler.get("spec") or {}), dict(scaler.get("status") or {})
    share = spec.pop("targetCPUUtilizationPercentage", None)
    target = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}}
    metrics = [*([{"type": "Resource", "resource": target}] if share is not None else []), *notes.get("metrics", [])]
    share = status.pop("currentCPUUtilizationPercentage", None)
    current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}}]
    shown = [*(current if share is not None else []), *notes.get("current-metrics", [])]
    for part, key, found in (
        (spec, "metrics", metrics),
        (spec, "behavior", notes.get("behavior")),
        (status, "currentMetrics", shown),
        (status, "conditions", notes.get("conditions")),
    ):
        if found:
            part[key] = found
    return {**scaler, "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec, "status": status}


Conversion = Callable[[Object], Object]

SHOWN: dict[tuple[str, str], Conversion] = {
    (NEW, "Event"): event_to_new,
    (_OLD, "HorizontalPodAutoscaler"): autoscaler_to_v1,
}
"""How a stored object is shown under the API that is not the stored one."""
STORED: dict[tuple[str, str], Conversion] = {
    (NEW, "Event"): event_to_core,
    (_OLD, "HorizontalPodAutoscaler"): autoscaler_to_v2,
}
"""And how what was written there is stored."""
