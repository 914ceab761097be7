"""Merging an applied object into a live one, and taking fields out again, each place by the rules of its type."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.apply.fields import FieldSet, Path, path_text
from kaos_ext.cluster.apiserver.schema.types import UNTYPED, Shape, TypeMap, TypeNode


def merge(live: dict[str, Any], applied: dict[str, Any], type: TypeMap | None) -> dict[str, Any]:
    """A new object: the live one with all that the applied one says."""
    merged: dict[str, Any] = _merge(live, applied, type or UNTYPED)
    return merged


def _merge(live: Any, applied: Any, node: TypeNode) -> Any:
    if isinstance(applied, dict) and node.shape not in (Shape.ATOMIC, Shape.SCALAR):
        if not isinstance(live, dict):
            live = {}
        result = dict(live)
        for key, value in applied.items():
            inner = node.member(key) or UNTYPED
            result[key] = _merge(live[key], value, inner) if key in live else _merge(None, value, inner)
        return result
    if isinstance(applied, list) and node.shape in (Shape.SET, Shape.KEYED):
        return _merge_lists(live if isinstance(live, list) else [], applied, node)
    if applied is None and isinstance(live, dict | list) and node.shape is not Shape.LIST:
        return live
    return applied


def _merge_lists(live: list[Any], applied: list[Any], node: TypeNode) -> list[Any]:
    """Items keep their live order, moved only as far as the applied order of the shared ones asks for."""
    left = [(node.element(item), item) for item in live]
    right = [(node.element(item), item) for item in applied]
    of_left, of_right = dict(left), dict(right)
    shared = [element for element, _ in right if element in of_left]
    result: list[Any] = []
    merged: set[str] = set()
    at_left = at_right = 0

    def take(element: str) -> None:
        merged.add(element)
        result.append(_merge(of_left.get(element), of_right[element], node.item))
        if shared and shared[0] == element:
            shared.pop(0)

    while at_left < len(left) or at_right < len(right):
        if at_left < len(left):
            element, item = left[at_left]
            if at_right < len(right):
                if element == right[at_right][0]:
                    take(element)
                    at_left += 1
                    at_right += 1
                    continue
                if element in of_right and shared and shared[0] != element:
                    at_left += 1
                    continue
            if element not in of_right:
                result.append(item)
                at_left += 1
                continue
            if element in merged:
                at_left += 1
        if at_right < len(right):
            take(right[at_right][0])
            at_right += 1
    return result


def remove(obj: dict[str, Any], fields: FieldSet, type: TypeMap | None) -> dict[str, Any]:
    """A new object without these fields and items."""
    tree: dict[str, Any] = {}
    for path in fields:
        node = tree
        for element in path[:-1]:
            node = node.setdefault(element, {})
            if node is _GONE:
                break
        if node is not _GONE:
            node[path[-1]] = _GONE
    removed: dict[str, Any] = _remove(obj, tree, type or UNTYPED)
    return removed


_GONE: dict[str, Any] = {"gone": None}


def _remove(value: Any, tree: dict[str, Any], node: TypeNode) -> Any:
    if isinstance(value, dict) and node.shape not in (Shape.ATOMIC, Shape.SCALAR):
        result = {}
        for key, child in value.items():
            below = tree.get(f"f:{key}")
            if below is _GONE:
                continue
            result[key] = child if below is None else _remove(child, below, node.member(key) or UNTYPED)
        return result
    if isinstance(value, list) and node.shape in (Shape.SET, Shape.KEYED):
        kept = []
        for child in value:
            below = tree.get(node.element(child))
            if below is not _GONE:
                kept.append(child if below is None else _remove(child, below, node.item))
        return kept
    return value


_LISTS = (Shape.LIST, Shape.SET, Shape.KEYED)
_MAPS = (Shape.STRUCT, Shape.MAP)


def _mismatch(value: Any, node: TypeNode) -> str:
    """Why a value has not the shape of its place."""
    if value is None or "oneOf" in node.schema or node.schema.get("x-kubernetes-int-or-string"):
        return ""
    if node.shape in _LISTS:
        return "" if isinstance(value, list) else f"expected list, got &{{{_go(value)}}}"
    if node.shape in _MAPS:
        return "" if isinstance(value, dict) else f"expected map, got &{{{_go(value)}}}"
    if node.shape is not Shape.SCALAR or node.struct:
        return ""
    kind = node.schema.get("type")
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
    if kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {_GO_TYPES[type(value)]}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got &{{{_go(value)}}}"
    return ""


_GO_TYPES: dict[Any, str] = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}


def _go(value: Any) -> str:
    from kaos_ext.cluster.apiserver.patch.strategic import go_text

    return go_text(value)


def problems(obj: Any, type: TypeMap | None) -> list[str]:
    """Why an applied object does not fit its type: undeclared members, items without or with the same key."""
    found: list[str] = []
    _problems(obj, type or UNTYPED, (), found)
    return found


def _problems(value: Any, node: TypeNode, path: Path, found: list[str]) -> None:
    if mismatch := _mismatch(value, node):
        found.append(f"{path_text(path)}: {mismatch}")
    elif isinstance(value, dict) and node.shape not in (Shape.ATOMIC, Shape.SCALAR):
        for key, child in value.items():
            inner = node.member(key)
            here = (*path, f"f:{key}")
            if inner is None:
                found.append(f"{path_text(here)}: field not declared in schema")
            else:
                _problems(child, inner, here, found)
    elif isinstance(value, list) and node.shape in (Shape.SET, Shape.KEYED):
        seen: set[str] = set()
        for index, child in enumerate(value):
            element = node.element(child)
            if not element:
                keys = ", ".join(f'"{key}"' for key in node.keys)
                found.append(
                    f"{path_text(path)}: element {index}: associative list with keys has an element that omits all key"
                    f" fields [{keys}] (and doesn't have default values for any key fields)"
                )
                continue
            if element in seen:
                found.append(f"{path_text(path)}: duplicate entries for key {path_text((element,))}")
            seen.add(element)
            _problems(child, node.item, (*path, element), found)
