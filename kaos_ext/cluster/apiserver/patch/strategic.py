"""Strategic merge patch: lists merge by the key their type declares, and directives say what cannot be merged.

$patch: replace | delete | merge      of an object, or of an item of a keyed list
$retainKeys: [...]                    of an object: drop all other members
$setElementOrder/NAME: [...]          the order of a merged list
$deleteFromPrimitiveList/NAME: [...]  what to take out of a merged list of scalars
"""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.schema.types import UNTYPED, TypeMap, TypeNode

_PATCH, _RETAIN = "$patch", "$retainKeys"
_ORDER, _DELETE = "$setElementOrder/", "$deleteFromPrimitiveList/"


def strategic_patch(obj: dict[str, Any], patch: Any, schema: TypeMap | None) -> dict[str, Any]:
    """A new object; what the patch does not touch is shared with the old one."""
    if not isinstance(patch, dict):
        raise PatchError(400, "json: cannot unmarshal array into Go value of type map[string]interface {}")
    return _merge_map(obj, patch, schema or UNTYPED)


def go_text(value: Any) -> str:
    """A value as Go prints it in such messages."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_text(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "<nil>" if value is None else str(value)


def _merge_map(old: dict[str, Any], patch: dict[str, Any], node: TypeNode) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive == "replace":
        replaced: dict[str, Any] = _plain({key: value for key, value in patch.items() if key != _PATCH})
        return replaced
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(500, f"unknown patch type '{go_text(directive)}' in map: {go_text(patch)}")
    result = dict(old)
    if _RETAIN in patch:
        retained = patch[_RETAIN]
        named = {key for key in patch if not key.startswith("$")}
        if not isinstance(retained, list) or not named <= {one for one in retained if isinstance(one, str)}:
            raise PatchError(400, "invalid patch format of retainKeys")
        result = {key: value for key, value in result.items() if key in retained}
    deletions = {key.removeprefix(_DELETE): value for key, value in patch.items() if key.startswith(_DELETE)}
    orders = {key.removeprefix(_ORDER): value for key, value in patch.items() if key.startswith(_ORDER)}
    for value in orders.values():
        if not isinstance(value, list):
            raise PatchError(500, f"expected a []interface {{}}, but received a {_go_kind(value)}")
    for key, unwanted in deletions.items():
        if isinstance(result.get(key), list) and isinstance(unwanted, list):
            result[key] = [item for item in result[key] if item not in unwanted]
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN) or key.startswith((_DELETE, _ORDER)):
            continue
        inner = node.member(key) or UNTYPED
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            present = result.get(key)
            if "replace" in inner.strategies or not isinstance(present, dict):
                present = {}
            result[key] = _merge_map(present, value, inner)
            if value.get(_PATCH) == "delete":
                result.pop(key)
        elif isinstance(value, list) and "merge" in inner.strategies:
            present = result.get(key)
            present = present if isinstance(present, list) else []
            _check_order(value, orders.get(key), inner.merge_key)
            if any(type(one) is not type(other) for one in present[:1] for other in value):
                raise PatchError(500, f"list element types are not identical: [{go_text(present)} {go_text(value)}]")
            result[key] = _merge_list(present, value, inner)
            if key not in orders and present and not _replaces(value):
                result[key] = _ordered(result[key], value, present, inner.merge_key)
        elif isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = value
        else:
            result[key] = _plain(value)
    for key, order in orders.items():
        inner = node.member(key) or UNTYPED
        if isinstance(result.get(key), list):
            result[key] = _ordered(result[key], order, old.get(key) or [], inner.merge_key)
    return result


def _go_kind(value: Any) -> str:
    return {str: "string", bool: "bool", dict: "map", int: "int64", float: "float64"}.get(type(value), "nil")


def _replaces(patch: list[Any]) -> bool:
    return any(isinstance(item, dict) and item.get(_PATCH) == "replace" and len(item) == 1 for item in patch)


def _check_order(patch: list[Any], order: Any, merge_key: str) -> None:
    """Whatever a patch adds or changes in a list has its place in the order that the patch gives."""
    if order is None:
        return
    named = [item for item in patch if not (isinstance(item, dict) and _PATCH in item)]
    ordered = [_name(item, merge_key) for item in order]
    places = [ordered.index(_name(item, merge_key)) if _name(item, merge_key) in ordered else -1 for item in named]
    if -1 in places or places != sorted(places):
        raise PatchError(
            500,
            f"The order in patch list:\n{go_text(named)}\n doesn't match $setElementOrder list:\n{go_text(order)}\n",
        )


def _name(item: Any, merge_key: str) -> Any:
    return item.get(merge_key) if merge_key and isinstance(item, dict) else item


def _plain(value: Any) -> Any:
    """A value that is set where there was none: its nulls and directives say nothing."""
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items() if child is not None and not key.startswith("$")}
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get(_PATCH) == "delete")]
        return [_plain(item) for item in kept if not (isinstance(item, dict) and item.keys() == {_PATCH})]
    return value


def _merge_list(old: list[Any], patch: list[Any], node: TypeNode) -> list[Any]:
    key = node.merge_key
    if not key or not all(isinstance(item, dict) for item in patch):
        merged = list(old)
        merged += [item for i, item in enumerate(patch) if item not in merged and item not in patch[:i]]
        return merged
    if _replaces(patch):
        return [_plain(item) for item in patch if item.get(_PATCH) != "replace"]
    result = list(old)
    for item in patch:
        directive = item.get(_PATCH)
        if key not in item:
            raise PatchError(500, f"map: {go_text(item)} does not contain declared merge key: {key}")
        at = next((i for i, have in enumerate(result) if isinstance(have, dict) and have.get(key) == item[key]), None)
        if directive == "delete":
            result = [have for have in result if not (isinstance(have, dict) and have.get(key) == item[key])]
        elif directive == "replace":
            fresh = _plain(item)
            if at is None:
                result.append(fresh)
            else:
                result[at] = fresh
        elif directive not in (None, "merge"):
            raise PatchError(500, f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
        elif at is None:
            result.append(_merge_map({}, item, node.item))
        else:
            result[at] = _merge_map(result[at], item, node.item)
    return result


def _ordered(merged: list[Any], order: list[Any], before: list[Any], merge_key: str) -> list[Any]:
    """Those the patch orders in its order; the others where the old list had them in between."""

    def name(item: Any) -> Any:
        return _name(item, merge_key)

    wanted = [name(item) for item in order]
    was = [name(item) for item in before]
    ours = sorted((item for item in merged if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    theirs = [item for item in merged if name(item) not in wanted]
    result: list[Any] = []
    while ours or theirs:
        if not theirs or not ours:
            return result + ours + theirs
        left, right = name(theirs[0]), name(ours[0])
        first = left in was and right in was and was.index(left) < was.index(right)
        result.append((theirs if first else ours).pop(0))
    return result
