"""How objects of a type are merged: which lists are sets or keyed, which maps are one value, what strategic patches do.

A `TypeNode` is one place in a type; it is resolved lazily from a schema with the `x-kubernetes-*` extensions and knows
its children. Built-in types come from `schema.builtin.typed`, a CRD's from `type_of_schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

_written = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode


class Shape(StrEnum):
    """What a place holds."""

    STRUCT = "struct"  # an object with declared members
    MAP = "map"  # an object with any keys
    ATOMIC = "atomic"  # an object that is one value
    LIST = "list"  # a list that is one value
    SET = "set"  # a list of different scalars
    KEYED = "keyed"  # a list of objects told apart by keys
    SCALAR = "scalar"
    ANY = "any"  # undeclared: objects merge, lists are one value


class TypeNode:
    """One place in a type."""

    __slots__ = (
        "_children",
        "components",
        "item_schema",
        "keys",
        "merge_key",
        "open",
        "schema",
        "shape",
        "strategies",
        "struct",
        "value_schema",
    )

    def __init__(self, schema: Mapping[str, Any], components: Mapping[str, Any]) -> None:
        self.struct = ""
        merged: Mapping[str, Any] = schema
        target = schema.get("$ref")
        if isinstance(target, str):
            self.struct = target.rpartition("/")[2]
            merged = {**(components.get(self.struct) or {}), **{k: v for k, v in schema.items() if k != "$ref"}}
        self.schema = merged
        self.components = components
        self.open = bool(merged.get("x-kubernetes-preserve-unknown-fields"))
        self.keys: tuple[str, ...] = tuple(merged.get("x-kubernetes-list-map-keys") or ())
        self.merge_key: str = merged.get("x-kubernetes-patch-merge-key") or ""
        self.strategies = frozenset((merged.get("x-kubernetes-patch-strategy") or "").split(",")) - {""}
        additional = merged.get("additionalProperties")
        self.value_schema: Mapping[str, Any] | None = (
            additional if isinstance(additional, Mapping) else {} if additional is True else None
        )
        items = merged.get("items")
        self.item_schema: Mapping[str, Any] = items if isinstance(items, Mapping) else {}
        self.shape = self._shape(merged)
        self._children: dict[str, TypeNode | None] = {}

    def _shape(self, schema: Mapping[str, Any]) -> Shape:
        kind = schema.get("type")
        if kind == "array":
            list_type = schema.get("x-kubernetes-list-type")
            return {"set": Shape.SET, "map": Shape.KEYED}.get(list_type or "", Shape.LIST)
        if kind == "object" or "properties" in schema:
            if schema.get("x-kubernetes-map-type") == "atomic":
                return Shape.ATOMIC
            if "properties" in schema:
                return Shape.STRUCT
            if self.value_schema is not None:
                return Shape.MAP
            return Shape.ANY if self.open else Shape.STRUCT
        if kind is None and not schema.get("x-kubernetes-int-or-string") and "oneOf" not in schema:
            return Shape.ANY
        return Shape.SCALAR

    @property
    def is_map(self) -> bool:
        return self.shape in (Shape.STRUCT, Shape.MAP)

    def declares(self, key: str) -> bool:
        """Whether `key` is a named member, not merely a key of a map."""
        return key in (self.schema.get("properties") or ())

    def member(self, key: str) -> TypeNode | None:
        """The type below `key`; None where the type does not allow it."""
        try:
            return self._children[key]
        except KeyError:
            pass
        declared = (self.schema.get("properties") or {}).get(key)
        made: TypeNode | None
        if declared is not None:
            made = TypeNode(declared, self.components)
        elif self.value_schema is not None:
            made = self._children.get("\0each")
            if made is None:
                made = self._children["\0each"] = TypeNode(self.value_schema, self.components)
            return made
        elif self.shape is Shape.ANY or self.open:
            return UNTYPED
        else:
            return None
        self._children[key] = made
        return made

    @property
    def item(self) -> TypeNode:
        """The type of a list's items."""
        made = self._children.get("\0item")
        if made is None:
            made = self._children["\0item"] = TypeNode(self.item_schema, self.components)
        return made

    def element(self, value: Any) -> str:
        """The path element of a list's item: `k:{...}` for keyed lists, `v:...` for sets; empty when it has no key."""
        if self.shape is Shape.SET:
            return "v:" + _written(value)
        if not isinstance(value, dict):
            return ""
        properties = self.item.schema.get("properties") or {}
        found: dict[str, Any] = {}
        for key in self.keys:
            if key in value:
                found[key] = value[key]
            elif "default" in (properties.get(key) or {}):
                found[key] = properties[key]["default"]
            elif self.item.struct and key in (self.item.schema.get("required") or ()):
                found[key] = _ZERO.get(str((properties.get(key) or {}).get("type")), "")
        if not found:
            return ""
        return "k:" + _written(found)


_ZERO = {"integer": 0, "number": 0, "boolean": False}
"""What Go has for a required member of a built-in type that nobody gives."""

UNTYPED = TypeNode({}, {})
"""A place no schema describes."""

TypeMap = TypeNode
"""The type of a whole object is that of its root."""


def type_of_schema(openapi: Mapping[str, Any], components: Mapping[str, Any]) -> TypeNode:
    """The type of a custom resource; `components` give it ObjectMeta."""
    properties = {
        **(openapi.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
    }
    return TypeNode({**openapi, "type": "object", "properties": properties}, components)
