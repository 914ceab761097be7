"""Structural schemas compiled to closures: default, prune, validate, name what is unknown.

`compile_schema` takes the `openAPIV3Schema` of a CRD's version (or, with `components`, a built-in schema that refers
to others) and gives a `Schema`. Each node of the schema becomes at most one closure a task; a node with nothing to do
for a task (a string without a default has nothing to prune) becomes None and is never called. References are compiled
when they are first met, once, so schemas may be recursive.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.values import compile_values

__all__ = ["FieldError", "Schema", "compile_schema"]

_Defaulter = Callable[[Any], None]
_Pruner = Callable[[Any, str, list[str], bool], None]

METADATA_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)
"""The members of ObjectMeta; a custom resource has these whatever its schema says."""
_BLOCKING = frozenset(
    {
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
        "FieldValueNotSupported",
    }
)
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_TYPE_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


@dataclass(frozen=True, slots=True)
class Schema:
    """What can be done with objects of one schema. Objects are changed in place; paths are like `spec.list[0].x`."""

    source: Mapping[str, Any]
    _default: _Defaulter | None
    _prune: _Pruner | None
    _validate: Callable[[Any, str, list[FieldError]], None] | None
    has_rules: bool = False
    """Whether some place has `x-kubernetes-validations`; the rules themselves are not evaluated here."""

    def default(self, obj: Any) -> Any:
        """Fill what is missing (or null where null is not allowed) from the schema's defaults."""
        if self._default is not None:
            self._default(obj)
        return obj

    def prune(self, obj: Any) -> list[str]:
        """Drop what the schema does not know; the paths that went."""
        gone: list[str] = []
        if self._prune is not None:
            self._prune(obj, "", gone, True)
        return gone

    def unknown_fields(self, obj: Any) -> list[str]:
        """The paths that `prune` would drop, the object left as it is."""
        found: list[str] = []
        if self._prune is not None:
            self._prune(obj, "", found, False)
        return found

    def validate(self, obj: Any, path: str = "") -> list[FieldError]:
        errors: list[FieldError] = []
        if self._validate is not None:
            self._validate(obj, path, errors)
        if self.has_rules and any(error.reason in _BLOCKING for error in errors):
            errors.append(FieldError("<nil>", "FieldValueInvalid", f"Invalid value: null: {_UNCHECKED}"))
        return errors


def compile_schema(
    openapi: Mapping[str, Any], *, components: Mapping[str, Any] | None = None, resource: bool = True
) -> Schema:
    """Compile; `resource` says that the root is an object with apiVersion, kind and metadata of its own."""
    compiler = _Compiler(components or {})
    return Schema(
        openapi,
        compiler.defaulter(openapi),
        compiler.pruner(openapi, resource),
        compile_values(openapi, components or {}, resource=resource),
        _has_rules(openapi),
    )


def _has_rules(node: Any) -> bool:
    if isinstance(node, Mapping):
        return bool(node.get("x-kubernetes-validations")) or any(_has_rules(child) for child in node.values())
    return isinstance(node, list) and any(_has_rules(child) for child in node)


def reference(node: Mapping[str, Any]) -> str | None:
    """The component a node refers to."""
    target = node.get("$ref")
    return target.rpartition("/")[2] if isinstance(target, str) else None


class _Compiler:
    def __init__(self, components: Mapping[str, Any]) -> None:
        self.components = components
        self.defaulters: dict[str, list[_Defaulter | None]] = {}
        self.pruners: dict[str, list[_Pruner | None]] = {}

    # Defaults

    def defaulter(self, node: Mapping[str, Any]) -> _Defaulter | None:
        target = reference(node)
        if target is not None:
            return self._shared_defaulter(target)
        properties: Mapping[str, Any] = node.get("properties") or {}
        defaults = [
            (key, child["default"], bool(child.get("nullable")))
            for key, child in properties.items()
            if "default" in child
        ]
        # A null where none may be, and nothing stands in for it, is as if it had not been given.
        bare = frozenset(
            key
            for key, child in properties.items()
            if not (child.get("nullable") or "default" in child or "$ref" in child)
            and not child.get("x-kubernetes-preserve-unknown-fields")
            and child.get("type")
        )
        nested = [(key, made) for key, child in properties.items() if (made := self.defaulter(child)) is not None]
        additional = node.get("additionalProperties")
        each = self.defaulter(additional) if isinstance(additional, Mapping) else None
        items = node.get("items")
        of_items = self.defaulter(items) if isinstance(items, Mapping) else None
        if not (defaults or nested or each or of_items or bare):
            return None

        def default(value: Any) -> None:
            if isinstance(value, dict):
                if None in value.values():
                    for key in [key for key, child in value.items() if child is None and key in bare]:
                        del value[key]
                for key, given, nullable in defaults:
                    if key not in value or (value[key] is None and not nullable):
                        value[key] = copy.deepcopy(given)
                for key, make in nested:
                    if key in value:
                        make(value[key])
                if each is not None:
                    for key, child in value.items():
                        if key not in properties:
                            each(child)
            elif of_items is not None and isinstance(value, list):
                for child in value:
                    of_items(child)

        return default

    def _shared_defaulter(self, target: str) -> _Defaulter | None:
        if target in self.defaulters:
            slot = self.defaulters[target]

            def later(value: Any) -> None:
                if slot[0] is not None:
                    slot[0](value)

            return slot[0] if slot[0] is not None else later
        slot = self.defaulters[target] = [None]
        slot[0] = self.defaulter(self.components.get(target) or {})
        return slot[0]

    # Unknown fields

    def pruner(self, node: Mapping[str, Any], resource: bool = False) -> _Pruner | None:
        target = reference(node)
        if target is not None:
            return self._shared_pruner(target)
        resource = resource or bool(node.get("x-kubernetes-embedded-resource"))
        properties: Mapping[str, Any] = node.get("properties") or {}
        additional = node.get("additionalProperties")
        keeps = bool(node.get("x-kubernetes-preserve-unknown-fields")) or additional is True or not self._closed(node)
        known = frozenset(properties) | (_TYPE_FIELDS if resource else frozenset())
        children = {key: made for key, child in properties.items() if (made := self.pruner(child)) is not None}
        if resource and "$ref" not in (properties.get("metadata") or {}):
            children["metadata"] = _prune_metadata
        each = self.pruner(additional) if isinstance(additional, Mapping) else None
        keeps = keeps or isinstance(additional, Mapping)
        items = node.get("items")
        of_items = self.pruner(items) if isinstance(items, Mapping) else None
        if keeps and not (children or each or of_items):
            return None

        def prune(value: Any, path: str, found: list[str], drop: bool) -> None:
            if isinstance(value, dict):
                if not keeps and not known.issuperset(value):
                    for key in [key for key in value if key not in known]:
                        found.append(f"{path}.{key}" if path else key)
                        if drop:
                            del value[key]
                for key, child in value.items():
                    inner = children.get(key)
                    if inner is None:
                        if each is None or key in known:
                            continue
                        inner = each
                    if isinstance(child, dict | list):
                        inner(child, f"{path}.{key}" if path else key, found, drop)
            elif of_items is not None and isinstance(value, list):
                for index, child in enumerate(value):
                    if isinstance(child, dict | list):
                        of_items(child, f"{path}[{index}]", found, drop)

        return prune

    @staticmethod
    def _closed(node: Mapping[str, Any]) -> bool:
        """Whether an object of this node has only the members the node names."""
        return node.get("type") == "object" or "properties" in node

    def _shared_pruner(self, target: str) -> _Pruner | None:
        if target in self.pruners:
            slot = self.pruners[target]

            def later(value: Any, path: str, found: list[str], drop: bool) -> None:
                if slot[0] is not None:
                    slot[0](value, path, found, drop)

            return slot[0] if slot[0] is not None else later
        slot = self.pruners[target] = [None]
        slot[0] = self.pruner(self.components.get(target) or {})
        return slot[0]


def _prune_metadata(value: Any, path: str, found: list[str], drop: bool) -> None:
    if isinstance(value, dict) and not METADATA_FIELDS.issuperset(value):
        for key in [key for key in value if key not in METADATA_FIELDS]:
            found.append(f"{path}.{key}")
            if drop:
                del value[key]
