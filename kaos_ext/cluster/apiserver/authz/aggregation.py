"""Aggregated ClusterRoles: one with an `aggregationRule` has the rules of all that its selectors find."""

from __future__ import annotations

from kaos_ext.cluster.apiserver.authz.rbac import CLUSTER_ROLES, GROUP
from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.patching import Apply
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.selectors import LabelSelector
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage
from kaos_ext.kube.objects import Object

_MANAGER = "clusterrole-aggregation-controller"


class Aggregation(Follower):
    """Any change of a ClusterRole may change any aggregated one."""

    name = "role aggregation"

    def __init__(self, storage: Storage, registry: Registry, operations: Operations) -> None:
        super().__init__()
        self._registry = registry
        self._operations = operations
        self._collection = storage.collection(CLUSTER_ROLES)
        self.follow(self._collection)
        self.add(*self._aggregated())

    def _aggregated(self) -> list[str]:
        return [stored.name for stored in self._collection.scan() if stored.object.get("aggregationRule")]

    def due(self, collection: Collection, change: Change) -> list[str]:
        return self._aggregated()

    async def settle(self, key: str) -> None:
        stored = self._collection.get("", key)
        if stored is None or not stored.object.get("aggregationRule"):
            return
        wanted = self._rules(stored.object)
        if wanted == (stored.object.get("rules") or []):
            return
        served = self._registry.find(GROUP, "v1", "clusterroles")
        assert served is not None
        options = WriteOptions(manager=_MANAGER, named_manager=True, validation="Ignore", force=True)
        body: Object = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": key},
            "rules": wanted,
        }
        apply = Apply(served, body, key, options, "")
        await self._operations.update(served, "", key, apply.make, options, managed=True)

    def _rules(self, role: Object) -> list[Object]:
        """The rules found, each once, in the order of the roles' names."""
        found: list[Object] = []
        for given in role["aggregationRule"].get("clusterRoleSelectors") or ():
            selector = LabelSelector.of(given)
            for stored in self._collection.scan():
                one = stored.object
                if one["metadata"]["name"] == role["metadata"]["name"]:
                    continue
                if selector.matches(one["metadata"].get("labels")):
                    found += [rule for rule in one.get("rules") or () if rule not in found]
        return found
