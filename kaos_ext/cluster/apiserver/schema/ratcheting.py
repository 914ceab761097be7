"""Ratcheting: what was wrong before, and was not touched, does not hold up a change of something else.

A complaint about a place is dropped when the place, or something around it, is the same in the old object. Items of a
list are held against each other by their keys; those of a list that is one value only with the whole list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.values import same

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_ABSENT = object()


def ratcheted(complaints: list[FieldError], new: Any, old: Any, schema: Mapping[str, Any]) -> list[FieldError]:
    """Those that the change is to blame for."""
    kept = [one for one in complaints if one.path == "<nil>" or not _untouched(one, new, old, schema)]
    return kept if any(one.path != "<nil>" for one in kept) else [one for one in kept if not _note(one)]


def _note(complaint: FieldError) -> bool:
    return "some validation rules were not checked" in complaint.message


def _untouched(complaint: FieldError, new: Any, old: Any, schema: Mapping[str, Any]) -> bool:
    for name, index in _STEP.findall(complaint.path):
        if index:
            new, old, schema = _item(new, old, int(index), schema)
        else:
            below = (schema.get("properties") or {}).get(name)
            additional = schema.get("additionalProperties")
            schema = below or (additional if isinstance(additional, Mapping) else {})
            new = new.get(name, _ABSENT) if isinstance(new, dict) else _ABSENT
            old = old.get(name, _ABSENT) if isinstance(old, dict) else _ABSENT
        if new is _ABSENT or old is _ABSENT:
            return False
        if same(new, old):
            return True
    return False


def _item(new: Any, old: Any, index: int, schema: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
    items = schema.get("items")
    below: Mapping[str, Any] = items if isinstance(items, Mapping) else {}
    if not isinstance(new, list) or not isinstance(old, list) or index >= len(new):
        return _ABSENT, _ABSENT, below
    one, keys = new[index], schema.get("x-kubernetes-list-map-keys") or ()
    if schema.get("x-kubernetes-list-type") == "set":
        return one, next((other for other in old if same(one, other)), _ABSENT), below
    if not keys or not isinstance(one, dict):
        return one, _ABSENT, below
    mine = [one.get(key) for key in keys]
    found = (other for other in old if isinstance(other, dict) and [other.get(key) for key in keys] == mine)
    return one, next(found, _ABSENT), below
