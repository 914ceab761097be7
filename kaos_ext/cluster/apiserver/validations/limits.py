"""Resource quotas and limit ranges: amounts that make sense together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors, quantities
from kaos_ext.cluster.apiserver.schema.errors import FieldError

Object = dict[str, Any]

_COUNTED = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
_MEASURED = frozenset(
    {f"{side}{name}" for side in ("", "requests.", "limits.") for name in ("cpu", "memory", "ephemeral-storage")}
    | {"storage", "requests.storage"}
)
_SCOPES = frozenset({"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass"})
_CONFLICTING = (frozenset({"Terminating", "NotTerminating"}), frozenset({"BestEffort", "NotBestEffort"}))
_TYPES = ("Container", "Pod", "PersistentVolumeClaim")
_STANDARD = "must be a standard resource type or fully qualified"


def quota_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_quota(new.get("spec") or {}))


def _quota(spec: Object) -> Iterator[FieldError]:
    for name, amount in sorted((spec.get("hard") or {}).items()):
        path = f"spec.hard[{name}]"
        if "/" not in name and not name.startswith(("count/", "hugepages-")) and name not in _COUNTED | _MEASURED:
            yield errors.invalid(path, name, _STANDARD)
            yield errors.invalid(path, name, "must be a standard resource for quota")
            continue
        value = quantities.value(amount)
        if value < 0:
            yield errors.invalid(path, amount, "must be greater than or equal to 0")
        elif (name in _COUNTED or name.startswith("count/")) and value.denominator != 1:
            yield errors.invalid(path, amount, "must be an integer")
    scopes = spec.get("scopes") or []
    if any(one not in _SCOPES for one in scopes):
        yield errors.invalid("spec.scopes", scopes, "unsupported scope")
    if any(pair <= set(scopes) for pair in _CONFLICTING):
        yield errors.invalid("spec.scopes", scopes, "conflicting scopes")
    if old_style := [one for one in (spec.get("scopeSelector") or {}).get("matchExpressions") or () if _odd(one)]:
        yield errors.invalid(
            "spec.scopeSelector.matchExpressions.scopeName", old_style[0].get("scopeName"), "unsupported scope"
        )


def _odd(one: Object) -> bool:
    return one.get("scopeName") not in _SCOPES


def range_errors(new: Object, old: Object | None) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, limit in enumerate((new.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{index}]", limit.get("type") or ""
        if kind not in _TYPES and "/" not in kind:
            found.append(errors.invalid(f"{path}.type", kind, "must be a standard limit type or fully qualified"))
        if kind in seen:
            found.append(errors.duplicate(f"{path}.type", kind))
        seen.add(kind)
        found += _bounds(limit, path)
    return found


_PAIRS = (
    ("min", "max", "min", "{} value {} is greater than max value {}"),
    ("min", "defaultRequest", "defaultRequest", "min value {1} is greater than default request value {2}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {1} is greater than max value {2}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {1} is greater than default limit value {2}",
    ),
    ("min", "default", "default", "min value {1} is greater than default value {2}"),
    ("default", "max", "default", "default value {1} is greater than max value {2}"),
)


def _bounds(limit: Object, path: str) -> Iterator[FieldError]:
    for low, high, place, words in _PAIRS:
        less, more = limit.get(low) or {}, limit.get(high) or {}
        for name in sorted(less.keys() & more.keys()):
            if quantities.value(less[name]) > quantities.value(more[name]):
                shown = less[name] if place == low else more[name]
                yield errors.invalid(f"{path}.{place}[{name}]", shown, words.format(low, less[name], more[name]))
