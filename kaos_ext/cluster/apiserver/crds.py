"""CustomResourceDefinitions as the server uses them: what one defines, and the registry that follows them.

A `Definition` is compiled from an accepted CRD; schemas are compiled when an object first needs them. Conditions
(`NamesAccepted`, `Established`) and clean-up on deletion are written by `controllers/` inside the server's start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaos_ext.cluster.apiserver.registry import Served, Subresource, served
from kaos_ext.cluster.apiserver.resources import SCALE
from kaos_ext.cluster.apiserver.schema.builtin import custom_type
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.structural import Schema, compile_schema
from kaos_ext.cluster.apiserver.schema.types import TypeMap
from kaos_ext.kube.objects import Object, Resource

if TYPE_CHECKING:
    from kaos_ext.cluster.apiserver.cel.rules import Judge

_CHANGE = ("get", "patch", "update")


@dataclass(slots=True, eq=False)
class Version:
    """One version of a definition."""

    name: str
    openapi: dict[str, Any]
    columns: list[dict[str, Any]]
    status: bool
    scale: dict[str, Any] | None
    selectable: tuple[str, ...]
    deprecation: str = ""
    _schema: Schema | None = field(default=None, repr=False)
    _type: TypeMap | None = field(default=None, repr=False)
    _judge: Judge | None = field(default=None, repr=False)

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self._schema = compile_schema(self.openapi)
        return self._schema

    def judge(self, new: Object, old: Object | None) -> list[FieldError]:
        """What the schema's rules say about an object that is valid otherwise."""
        if not self.schema.has_rules:
            return []
        if self._judge is None:
            from kaos_ext.cluster.apiserver.cel.rules import Judge

            self._judge = Judge(self.openapi)
        return self._judge.judge(new, old)

    @property
    def type(self) -> TypeMap:
        """How objects of this version merge."""
        if self._type is None:
            self._type = custom_type(self.openapi)
        return self._type


@dataclass(slots=True, eq=False)
class Definition:
    """What an accepted CRD defines."""

    crd: Object
    storage_version: str
    versions: dict[str, Version]

    def version(self, name: str) -> Version:
        return self.versions[name]

    def selectable(self, version: str) -> tuple[str, ...]:
        return self.versions[version].selectable

    def shape(self, version: str, object: Object) -> list[str]:
        """Drop what the schema does not know, fill in its defaults; the paths dropped."""
        schema = self.versions[version].schema
        gone = schema.prune(object)
        schema.default(object)
        return gone

    def show(self, version: str, object: Object) -> None:
        """Make of a stored object what a version shows: defaults are those of the version that it is stored in."""
        self.versions[self.storage_version].schema.default(object)
        self.versions[version].schema.prune(object)

    def store(self, object: Object) -> None:
        """Drop what the version that objects are stored in does not know."""
        self.versions[self.storage_version].schema.prune(object)


def definition_of(crd: Object) -> Definition:
    spec = crd["spec"]
    versions: dict[str, Version] = {}
    storage = ""
    for one in spec["versions"]:
        if one.get("storage"):
            storage = one["name"]
        below = one.get("subresources") or {}
        versions[one["name"]] = Version(
            name=one["name"],
            openapi=(one.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"},
            columns=one.get("additionalPrinterColumns") or [],
            status=below.get("status") is not None,
            scale=below.get("scale"),
            selectable=tuple(field["jsonPath"].lstrip(".") for field in one.get("selectableFields") or ()),
            deprecation=_deprecation(spec, one) if one.get("deprecated") else "",
        )
    return Definition(crd, storage, versions)


def _deprecation(spec: dict[str, Any], version: dict[str, Any]) -> str:
    return (
        version.get("deprecationWarning") or f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    )


def served_by(crd: Object) -> tuple[Served, ...]:
    """What an established CRD serves: one resource for each served version."""
    definition = definition_of(crd)
    spec = crd["spec"]
    names = {**spec["names"], **{k: v for k, v in (crd["status"].get("acceptedNames") or {}).items() if v}}
    found = []
    for one in spec["versions"]:
        if not one.get("served"):
            continue
        version = definition.version(one["name"])
        below = []
        if version.status:
            below.append(Subresource("status", names["kind"], _CHANGE, spec["group"], version.name))
        if version.scale is not None:
            below.append(SCALE)
        found.append(
            served(
                Resource(spec["group"], version.name, names["plural"], names["kind"], spec["scope"] == "Namespaced"),
                singular=names.get("singular", ""),
                short_names=names.get("shortNames") or (),
                categories=names.get("categories") or (),
                subresources=below,
                list_kind=names.get("listKind", ""),
                definition=definition,
            )
        )
    return tuple(found)


def condition(crd: Object, kind: str) -> Object | None:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == kind), None)


def is_true(crd: Object, kind: str) -> bool:
    found = condition(crd, kind)
    return found is not None and found["status"] == "True"
