"""JSON merge patch (RFC 7386): null removes, an object merges, everything else replaces."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.patch.errors import PatchError


def merge_patch(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """A new object; what the patch does not touch is shared with the old one."""
    if not isinstance(patch, dict):
        kind = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(patch), "null")
        raise PatchError(
            400, f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    return _merge(obj, patch)


def _merge(target: Any, patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merge(result.get(key), value)
        else:
            result[key] = value
    return result
