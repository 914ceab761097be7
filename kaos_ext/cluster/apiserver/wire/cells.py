"""What the cells of most tables need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from kaos_ext.cluster.apiserver.wire.ages import since

Object = dict[str, Any]
Printer = Callable[[Object, datetime], list[Any]]

NONE = "<none>"


def spec_of(obj: Object) -> Object:
    return obj.get("spec") or {}


def status_of(obj: Object) -> Object:
    return obj.get("status") or {}


def age_of(obj: Object, now: datetime) -> str:
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def name_of(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def count_of(status: Object, key: str) -> int:
    return int(status.get(key) or 0)


def containers_of(spec: Object) -> list[str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(one.get("name", "") for one in containers),
        ",".join(one.get("image", "") for one in containers),
    ]


def label_selector(selector: Object | None) -> str:
    """A `meta/v1 LabelSelector` as text."""
    if selector is None:
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        parts.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(
                term["operator"], f"!{key}"
            )
        )
    return ",".join(parts) or NONE


def labels_text(labels: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def more_text(items: list[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    text = ",".join(items[:most])
    return f"{text} + {len(items) - most} more..." if len(items) > most else text or "<unset>"
