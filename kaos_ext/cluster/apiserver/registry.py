"""Which resources are served: the built-in ones and those that CustomResourceDefinitions add while the server runs.

A `Served` is one resource in one version. Resources that share a `storage` (versions of one kind, the two event APIs)
are faces of the same objects. `Registry.serial` rises with every change, so caches know when they are stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaos_ext.kube.objects import Resource

if TYPE_CHECKING:
    from kaos_ext.cluster.apiserver.crds import Definition

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object: `status`, `scale`, `log`."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """One resource as one group-version serves it."""

    resource: Resource
    singular: str
    storage: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    subresources: tuple[Subresource, ...] = ()
    list_kind: str = ""
    definition: Definition | None = None
    names: frozenset[str] = field(default=frozenset())
    """Names of the subresources."""

    @property
    def group(self) -> str:
        return self.resource.group

    @property
    def version(self) -> str:
        return self.resource.version

    @property
    def plural(self) -> str:
        return self.resource.plural

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def namespaced(self) -> bool:
        return self.resource.namespaced

    @property
    def api_version(self) -> str:
        return self.resource.api_version

    @property
    def custom(self) -> bool:
        return self.definition is not None

    def has(self, subresource: str) -> bool:
        return subresource in self.names

    def subresource(self, name: str) -> Subresource | None:
        return next((one for one in self.subresources if one.name == name), None)


def served(
    resource: Resource,
    *,
    singular: str = "",
    storage: str = "",
    short_names: Iterable[str] = (),
    categories: Iterable[str] = (),
    verbs: tuple[str, ...] = VERBS,
    subresources: Iterable[Subresource] = (),
    list_kind: str = "",
    definition: Definition | None = None,
) -> Served:
    below = tuple(subresources)
    return Served(
        resource=resource,
        singular=singular or resource.kind.lower(),
        storage=storage or f"{resource.group}/{resource.plural}",
        short_names=tuple(short_names),
        categories=tuple(categories),
        verbs=verbs,
        subresources=below,
        list_kind=list_kind or f"{resource.kind}List",
        definition=definition,
        names=frozenset(one.name for one in below),
    )


USUAL_PRIORITY = 1000
"""Of a group whose APIService says nothing else."""


class Registry:
    """Served resources by group, version and plural."""

    def __init__(self, built_in: Iterable[Served]) -> None:
        self._built_in = tuple(built_in)
        self._custom: dict[str, tuple[Served, ...]] = {}
        self._ranks: dict[str, int] = {}
        self._table: dict[tuple[str, str], dict[str, Served]] = {}
        self.serial = 0
        self._rebuild()

    def find(self, group: str, version: str, plural: str) -> Served | None:
        resources = self._table.get((group, version))
        return resources.get(plural) if resources else None

    def has_version(self, group: str, version: str) -> bool:
        return (group, version) in self._table

    def versions(self, group: str) -> list[str]:
        return [version for one, version in self._table if one == group]

    def groups(self) -> list[str]:
        return list(dict.fromkeys(group for group, _ in self._table))

    def resources(self, group: str, version: str) -> list[Served]:
        return list(self._table.get((group, version), {}).values())

    def __iter__(self) -> Iterator[Served]:
        for resources in self._table.values():
            yield from resources.values()

    def group_versions(self) -> list[tuple[str, str]]:
        return list(self._table)

    def define(self, name: str, resources: tuple[Served, ...]) -> None:
        """Serve what the CustomResourceDefinition `name` defines, instead of what it defined before."""
        if resources:
            self._custom[name] = resources
        elif self._custom.pop(name, None) is None:
            return
        self._rebuild()

    def rank(self, priorities: Mapping[str, int]) -> None:
        """Groups that come before others in discovery: the one a short name means when several have it."""
        if priorities != self._ranks:
            self._ranks = dict(priorities)
            self._rebuild()

    def _place(self, one: Served) -> tuple[int, str, tuple[int, int, int, str], str]:
        return -self._ranks.get(one.group, USUAL_PRIORITY), one.group, _priority(one.version), one.plural

    def _rebuild(self) -> None:
        table: dict[tuple[str, str], dict[str, Served]] = {}
        for one in self._built_in:
            table.setdefault((one.group, one.version), {})[one.plural] = one
        custom = [one for resources in self._custom.values() for one in resources]
        for one in sorted(custom, key=self._place):
            table.setdefault((one.group, one.version), {})[one.plural] = one
        self._table = table
        self.serial += 1


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before everything else by name."""
    found = re.fullmatch(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?", version)
    if found is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), version)
