"""What the operator sees of the cluster: a view on indices that the watches keep fresh.

Each index maps a key to a store of values (kopf's shape). Children are found by the uid of their owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_ext.model.names import Kind
from kaos_operator.registry import KEY, RegistryError, parse_registry
from kaos_operator.render.context import Context
from kaos_operator.settings import Settings

Index = Mapping[Any, Collection[Any]]


class Key(NamedTuple):
    """One resource of ours."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class World:
    """Indices by name; `pods` is kept by the operator's own, narrower watch."""

    settings: Settings
    resources: Index
    """Key → our custom resources."""
    children: Index
    """Uid of the owner, and (kind, namespace, name) → Deployments, Services, ConfigMaps and claims of the operator."""
    contents: Index
    """(kind, namespace, name) → digest of a ConfigMap or Secret."""
    registry: Index
    """Namespace → data of the MCP runtime registry there."""
    storage_classes: Index
    """Whether default → names."""
    pods: dict[str, Object] = field(default_factory=dict)

    def resource(self, key: Key) -> Object | None:
        return cast("Object | None", _first(self.resources, key))

    def keys(self, kind: Kind | None = None, namespace: str | None = None) -> list[Key]:
        """Resources of ours, of a kind and in a namespace where given."""
        return [
            key
            for key in cast("list[Key]", list(self.resources))
            if kind in (None, key.kind) and namespace in (None, key.namespace)
        ]

    def children_of(self, resource: Object) -> dict[tuple[str, str], Object]:
        """Owned objects by kind and name."""
        found = self.children[uid] if (uid := resource["metadata"]["uid"]) in self.children else ()
        return {(child["kind"], child["metadata"]["name"]): child for child in found}

    def child(self, kind: str, namespace: str, name: str) -> Object | None:
        """The owned object of that name, whoever its owner is or was."""
        return cast("Object | None", _first(self.children, (kind, namespace, name)))

    def pods_of(self, key: Key) -> list[Object]:
        return [pod for pod in self.pods.values() if pod_owner(pod) == key]

    def context(self, resource: Object) -> Context:
        """What the renderers may know around a resource."""
        namespace = resource["metadata"]["namespace"]
        children = self.children_of(resource)
        kind = Kind(resource["kind"])
        runtimes, registry_error = {}, ""
        if kind is Kind.MCPSERVER:
            try:
                runtimes = parse_registry(_first(self.registry, self.settings.system_namespace))
            except RegistryError as error:
                registry_error = str(error)
        return Context(
            settings=self.settings,
            modelapi=lambda name: self.resource(Key(Kind.MODELAPI, namespace, name)),
            mcpserver=lambda name: self.resource(Key(Kind.MCPSERVER, namespace, name)),
            agent=lambda name: self.resource(Key(Kind.AGENT, namespace, name)),
            deployment=children.get(("Deployment", names.child(kind, resource["metadata"]["name"]))),
            claims=frozenset(name for child, name in children if child == "PersistentVolumeClaim"),
            storage=True in self.storage_classes,
            digests=_Digests(self.contents, namespace),
            runtimes=runtimes,
            registry_error=registry_error,
        )


def pod_owner(pod: Object) -> Key | None:
    """The resource a pod belongs to, by its labels."""
    labels = pod["metadata"].get("labels") or {}
    for kind in Kind:
        if labels.get("app") == kind.app and labels.get(kind.app):
            return Key(kind, pod["metadata"]["namespace"], labels[kind.app])
    return None


def owner(child: Object) -> tuple[Key, str] | None:
    """The resource that controls a child, and its uid."""
    metadata = child["metadata"]
    for reference in metadata.get("ownerReferences") or []:
        if reference.get("controller") and reference.get("apiVersion") == names.API_VERSION:
            return Key(Kind(reference["kind"]), metadata["namespace"], reference["name"]), reference["uid"]
    return None


def registry_data(config_map: Object) -> dict[str, str]:
    """The part of the registry's ConfigMap that is read."""
    return {KEY: (config_map.get("data") or {}).get(KEY, "")}


class _Digests(Mapping[tuple[str, str], str]):
    """Digests of one namespace, by kind and name."""

    def __init__(self, contents: Index, namespace: str) -> None:
        self._contents, self._namespace = contents, namespace

    def __getitem__(self, key: tuple[str, str]) -> str:
        found = _first(self._contents, (key[0], self._namespace, key[1]))
        if found is None:
            raise KeyError(key)
        return cast("str", found)

    def __iter__(self) -> Any:
        return ((kind, name) for kind, namespace, name in self._contents if namespace == self._namespace)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _first(index: Index, key: Any) -> Any:
    return next(iter(index[key]), None) if key in index else None
