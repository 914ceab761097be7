"""The built-in kinds: their schemas, how they merge, what Go makes of them. Tables are read when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from kaos_ext.cluster.apiserver.data import table
from kaos_ext.cluster.apiserver.schema.structural import Schema, compile_schema
from kaos_ext.cluster.apiserver.schema.types import TypeMap, TypeNode, type_of_schema

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class GVK(NamedTuple):
    """Group (empty for core), version, kind; any triple of strings will do where one is asked for."""

    group: str
    version: str
    kind: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> GVK:
        group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
        return cls(group, version, str(obj.get("kind") or ""))

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


Kind = tuple[str, str, str]


def builtin_components() -> dict[str, Any]:
    """All components by name, references as `#/components/schemas/<name>`; shared: leave them as they are."""
    components: dict[str, Any] = table("schemas.json.gz")
    return components


def descriptions() -> dict[str, dict[str, str]]:
    """component → member → text, the component's own under the empty name."""
    texts: dict[str, dict[str, str]] = table("descriptions.json.gz")
    return texts


def go_members(component: str) -> Mapping[str, str]:
    """member → Go type, led by `*` when it is a pointer, then by `!` when it is written though empty."""
    members: Mapping[str, str] = table("golang.json.gz").get(component) or {}
    return members


@cache
def _names() -> dict[Kind, str]:
    names: dict[Kind, str] = {}
    for name, schema in builtin_components().items():
        for gvk in schema.get("x-kubernetes-group-version-kind") or ():
            names.setdefault((gvk["group"], gvk["version"], gvk["kind"]), name)
    return names


def component_name(gvk: Kind) -> str | None:
    """The component of a kind."""
    return _names().get((gvk[0], gvk[1], gvk[2]))


def builtin_schema(gvk: Kind) -> dict[str, Any] | None:
    """The schema of a built-in kind; its references are names in `builtin_components`."""
    name = component_name(gvk)
    return None if name is None else builtin_components()[name]


@cache
def compiled(gvk: Kind) -> Schema | None:
    """Unknown fields of a built-in kind. (Its values are checked by `decoding`, `defaults` and `validation`.)"""
    schema = builtin_schema(gvk)
    return None if schema is None else compile_schema(schema, components=builtin_components(), resource=False)


@cache
def typed(gvk: Kind) -> TypeMap | None:
    """How objects of a built-in kind merge."""
    name = component_name(gvk)
    return None if name is None else TypeNode({"$ref": f"#/components/schemas/{name}"}, builtin_components())


def custom_type(openapi: Mapping[str, Any]) -> TypeMap:
    """How custom resources of this schema merge."""
    return type_of_schema(openapi, builtin_components())


def zero(gvk: Kind) -> dict[str, Any] | None:
    """What Go writes for an empty object of a built-in kind: the members that are there before anyone sets one."""
    name = component_name(gvk)
    return None if name is None else _zero(name)


@cache
def _zero(component: str) -> dict[str, Any]:
    properties = builtin_components()[component].get("properties") or {}
    made: dict[str, Any] = {}
    for member, go in go_members(component).items():
        if "!" not in go[:2] or member not in properties:
            continue
        schema = properties[member]
        target = str(schema.get("$ref") or "").rpartition("/")[2]
        kind = schema.get("type")
        if go.startswith("*"):
            made[member] = None
        elif target and builtin_components().get(target, {}).get("properties"):
            made[member] = _zero(target)
        elif kind == "string":
            made[member] = ""
        elif kind in ("integer", "number"):
            made[member] = 0
        else:
            made[member] = False if kind == "boolean" else None
    return made
