"""Keeps the status of quotas: what a namespace may have, and what it uses."""

from __future__ import annotations

from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.quota.enforcement import Quotas
from kaos_ext.cluster.apiserver.quota.usage import collection_of, written
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage
from kaos_ext.kube.objects import Object


class QuotaStatus(Follower):
    """Follows quotas, and each collection that some quota counts."""

    name = "quota status"

    def __init__(self, storage: Storage, registry: Registry, operations: Operations, quotas: Quotas) -> None:
        super().__init__()
        self._storage = storage
        self._registry = registry
        self._operations = operations
        self._quotas = quotas
        self._collection = storage.collection("/resourcequotas")
        self._followed: set[str] = set()
        self.follow(self._collection)
        for stored in self._collection.scan():
            self._follow_counted(stored.object)
            self.add(f"{stored.namespace}/{stored.name}")

    def due(self, collection: Collection, change: Change) -> list[str]:
        namespace = change.stored.namespace
        if collection is not self._collection:
            return [f"{namespace}/{stored.name}" for stored in self._collection.scan(namespace)]
        if change.kind == "DELETED":
            return []
        self._follow_counted(change.stored.object)
        return [f"{namespace}/{change.stored.name}"]

    def _follow_counted(self, quota: Object) -> None:
        for resource in (quota.get("spec") or {}).get("hard") or {}:
            storage = collection_of(resource)
            if storage and storage not in self._followed and storage != self._collection.id:
                self._followed.add(storage)
                self.follow(self._storage.collection(storage))

    async def settle(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        if self._collection.get(namespace, name) is None:
            return
        served = self._registry.find("", "v1", "resourcequotas")
        assert served is not None
        options = WriteOptions(manager="kube-controller-manager")
        await self._operations.update(served, namespace, name, self._with_status, options, subresource="status")

    def _with_status(self, quota: Object) -> Object:
        result: Object = copied(quota)
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = self._quotas.used(quota)
        result["status"] = {"hard": dict(hard), "used": {one: written(size, one) for one, size in used.items()}}
        return result
