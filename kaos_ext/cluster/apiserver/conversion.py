"""One set of events under two APIs: `v1` (as stored) and `events.k8s.io/v1` name the same fields differently."""

from __future__ import annotations

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
