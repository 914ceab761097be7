"""JSON patch (RFC 6902) with the real server's leniences: negative indices, and `copy` of a missing source gives null.

A patch that is no patch is a 400; one that does not fit the object is a 422 that says nothing more to the client.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from kaos_ext.cluster.apiserver.patch.errors import PatchError

REFUSED = "the server rejected our request due to an error in our request"
MAX_OPERATIONS = 10_000
_MISSING = object()


def apply_json_patch(obj: dict[str, Any], operations: Sequence[Any]) -> dict[str, Any]:
    """A new object; the old one is left alone."""
    if not isinstance(operations, list | tuple) or not all(isinstance(operation, dict) for operation in operations):
        raise PatchError(
            400, "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        )
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(
            413,
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}",
        )
    document: Any = {"": copy.deepcopy(obj)}
    for operation in operations:
        _apply(document, operation)
    result = document.get("")
    if not isinstance(result, dict):
        raise _refused("the patch leaves no object")
    return result


def _refused(detail: str) -> PatchError:
    return PatchError(422, REFUSED, detail=detail)


def _apply(document: Any, operation: dict[str, Any]) -> None:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise _refused("an operation has no path")
    if kind == "add":
        _add(document, path, copy.deepcopy(operation.get("value")))
    elif kind == "remove":
        _remove(document, path)
    elif kind == "replace":
        _replace(document, path, copy.deepcopy(operation.get("value")))
    elif kind in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise _refused(f"{kind} has no from")
        if kind == "move":
            value = _get(document, source)
            if value is _MISSING:
                raise _refused(f"{source} does not exist")
            _remove(document, source)
        else:
            value = _get(document, source)
            value = None if value is _MISSING else copy.deepcopy(value)
        _add(document, path, value)
    elif kind == "test":
        found = _get(document, path)
        if not _same(None if found is _MISSING else found, operation.get("value")):
            raise _refused(f"{path} is not as tested")
    else:
        raise _refused(f"unexpected kind of operation {kind!r}")


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _parts(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise _refused(f"{path} does not begin with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]


def _index(part: str, length: int) -> int:
    try:
        index = int(part)
    except ValueError:
        raise _refused(f"{part} is no index") from None
    return index + length if index < 0 else index


def _parent(document: Any, path: str) -> tuple[Any, str]:
    *parents, last = _parts(path)
    for part in parents:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and 0 <= _index(part, len(document)) < len(document):
            document = document[_index(part, len(document))]
        else:
            raise _refused(f"{path}: no {part}")
    if not isinstance(document, dict | list):
        raise _refused(f"{path} leads into a value")
    return document, last


def _get(document: Any, path: str) -> Any:
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        return parent.get(last, _MISSING)
    index = _index(last, len(parent))
    if not 0 <= index < len(parent):
        raise _refused(f"{path} is beyond the list")
    return parent[index]


def _add(document: Any, path: str, value: Any) -> None:
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        parent[last] = value
        return
    index = len(parent) if last == "-" else _index(last, len(parent) + 1)
    if not 0 <= index <= len(parent):
        raise _refused(f"{path} is beyond the list")
    parent.insert(index, value)


def _remove(document: Any, path: str) -> None:
    if _get(document, path) is _MISSING:
        raise _refused(f"{path} does not exist")
    parent, last = _parent(document, path)
    del parent[last if isinstance(parent, dict) else _index(last, len(parent))]


def _replace(document: Any, path: str, value: Any) -> None:
    parent, last = _parent(document, path)
    if isinstance(parent, list) and _get(document, path) is _MISSING:  # a member that is not there is set
        raise _refused(f"{path} does not exist")
    parent[last if isinstance(parent, dict) else _index(last, len(parent))] = value
