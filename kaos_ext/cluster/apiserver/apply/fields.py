"""Sets of fields, and the two ways to find one: what an object says, and how two objects differ.

A field is a path of elements as managedFields write them: `f:name` a member, `k:{"name":"c"}` an item of a keyed list,
`v:"x"` an item of a set. A set of fields is a frozenset of paths; `to_v1` and `from_v1` are its written form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.schema.types import UNTYPED, Shape, TypeMap, TypeNode

Path = tuple[str, ...]
FieldSet = frozenset[Path]

EMPTY: FieldSet = frozenset()

_STRIPPED: FieldSet = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        )
    }
)
"""Fields nobody owns."""


def strip(fields: FieldSet) -> FieldSet:
    """Without what nobody owns."""
    return frozenset(path for path in fields if path not in _STRIPPED and path[:2] != ("f:metadata", "f:managedFields"))


def to_v1(fields: Iterable[Path]) -> dict[str, Any]:
    """The `fieldsV1` of a managedFields entry."""
    root: dict[str, Any] = {}
    for path in sorted(set(fields)):  # each comes before those below it
        node = root
        for element in path[:-1]:
            below = node.get(element)
            if below is None:
                below = node[element] = {}
            elif not below:
                below["."] = {}
            node = below
        node.setdefault(path[-1], {})
    return root


def from_v1(fields: dict[str, Any]) -> FieldSet:
    return frozenset(_from_v1(fields, ()))


def _from_v1(node: dict[str, Any], path: Path) -> Iterator[Path]:
    for element, below in node.items():
        if element == ".":
            yield path
            continue
        here = (*path, element)
        if not below:
            yield here
        else:
            yield from _from_v1(below, here)


def path_text(path: Path) -> str:
    """As messages write it: `.spec.containers[name="c"].image`."""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            keys = json.loads(rest)
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in sorted(keys.items())) + "]"
        elif kind == "v":
            text += f"[={rest}]"
        else:
            text += f"[{rest}]"
    return text


def _merges(node: TypeNode, value: Any) -> bool:
    """Whether an object value of this type merges member by member."""
    return isinstance(value, dict) and node.shape not in (Shape.ATOMIC, Shape.SCALAR)


def fields_of(obj: dict[str, Any], type: TypeMap | None) -> FieldSet:
    """The fields an applied object speaks of."""
    found: set[Path] = set()
    _collect(obj, type or UNTYPED, (), found)
    return frozenset(found)


def _collect(value: Any, node: TypeNode, path: Path, found: set[Path]) -> None:
    if _merges(node, value):
        for key, child in value.items():
            inner = node.member(key) or UNTYPED
            here = (*path, f"f:{key}")
            _collect(child, inner, here, found)
            if child is None or child == {} or not node.declares(key):
                found.add(here)
    elif isinstance(value, list) and node.shape in (Shape.SET, Shape.KEYED):
        for child in value:
            here = (*path, node.element(child))
            _collect(child, node.item, here, found)
            found.add(here)
    elif path:
        found.add(path)


@dataclass(slots=True)
class Comparison:
    """How one object became another."""

    added: set[Path]
    modified: set[Path]
    removed: set[Path]

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


_ABSENT = object()


def compare(old: dict[str, Any], new: dict[str, Any], type: TypeMap | None) -> Comparison:
    """What was added, modified and removed, each place by the rules of its type."""
    found = Comparison(set(), set(), set())
    _compare(old, new, type or UNTYPED, (), found)
    return found


def _compare(old: Any, new: Any, node: TypeNode, path: Path, found: Comparison) -> None:
    if old is new:
        return
    if old is _ABSENT:
        _everything(new, node, path, found.added)
        return
    if new is _ABSENT:
        _everything(old, node, path, found.removed)
        return
    map_like = (old is None or _merges(node, old)) and (new is None or _merges(node, new))
    if map_like and (_merges(node, old) or _merges(node, new)):
        before = old if isinstance(old, dict) else {}
        after = new if isinstance(new, dict) else {}
        if not before and not after:
            _leaf(old, new, path, found)
        else:
            for key in before.keys() | after.keys():
                inner = node.member(key) or UNTYPED
                _compare(before.get(key, _ABSENT), after.get(key, _ABSENT), inner, (*path, f"f:{key}"), found)
    elif node.shape in (Shape.SET, Shape.KEYED) and (isinstance(old, list) or isinstance(new, list)):
        before_items = _items(old, node)
        after_items = _items(new, node)
        if not before_items and not after_items:
            _leaf(old, new, path, found)
        else:
            for element in before_items.keys() | after_items.keys():
                _compare(
                    before_items.get(element, _ABSENT),
                    after_items.get(element, _ABSENT),
                    node.item,
                    (*path, element),
                    found,
                )
    else:
        _leaf(old, new, path, found)


def _everything(value: Any, node: TypeNode, path: Path, found: set[Path]) -> None:
    """A place that is on one side only, with all below it."""
    if path:
        found.add(path)
    if _merges(node, value):
        for key, child in value.items():
            _everything(child, node.member(key) or UNTYPED, (*path, f"f:{key}"), found)
    elif isinstance(value, list) and node.shape in (Shape.SET, Shape.KEYED):
        for child in value:
            _everything(child, node.item, (*path, node.element(child)), found)


def _leaf(old: Any, new: Any, path: Path, found: Comparison) -> None:
    if old != new or (isinstance(old, bool) != isinstance(new, bool)):
        found.modified.add(path)


def _items(value: Any, node: TypeNode) -> dict[str, Any]:
    return {node.element(item): item for item in value} if isinstance(value, list) else {}


def with_named_members(fields: FieldSet, type: TypeMap | None) -> FieldSet:
    """Also owning every declared member that something owned lies below (but neither map keys nor list items)."""
    found = set(fields)
    for path in fields:
        node: TypeNode | None = type or UNTYPED
        for depth, element in enumerate(path[:-1]):
            if node is None:
                break
            kind, _, name = element.partition(":")
            if kind == "f":
                if node.declares(name):
                    found.add(path[: depth + 1])
                node = node.member(name)
            else:
                node = node.item
    return frozenset(found)
