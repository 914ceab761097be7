"""What the server put on objects, taken off when its reason is gone: holds of volumes in use, taints of nodes."""

from __future__ import annotations

from kaos_ext.cluster.apiserver.completion import CLAIM_HOLD, NOT_READY, VOLUME_HOLD, is_ready
from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage, Stored
from kaos_ext.kube.objects import Object

_OPTIONS = WriteOptions(manager="kube-controller-manager")


class Holds(Follower):
    """Keys are `plural/namespace/name`."""

    name = "holds"

    def __init__(self, storage: Storage, registry: Registry, operations: Operations) -> None:
        super().__init__()
        self._registry = registry
        self._operations = operations
        self._pods = storage.collection("/pods")
        self._of = {plural: storage.collection(f"/{plural}") for plural in _SETTLED}
        for collection in (self._pods, *self._of.values()):
            self.follow(collection)
        for plural, collection in self._of.items():
            self.add(*(_key(plural, stored) for stored in collection.scan()))

    def due(self, collection: Collection, change: Change) -> list[str]:
        if collection is self._pods:
            return self._claims_of(change)
        return [] if change.kind == "DELETED" else [_key(collection.id.strip("/"), change.stored)]

    def _claims_of(self, change: Change) -> list[str]:
        """Claims of a Pod that is going or over, where the claim waits for that."""
        claims = self._of["persistentvolumeclaims"]
        if change.kind != "DELETED" and not _is_over(change.stored.object):
            return []
        found = (claims.get(change.stored.namespace, name) for name in claims_of(change.stored.object))
        return [
            _key("persistentvolumeclaims", one)
            for one in found
            if one is not None and one.object["metadata"].get("deletionTimestamp")
        ]

    async def settle(self, key: str) -> None:
        plural, namespace, name = key.split("/")
        stored = self._of[plural].get(namespace, name)
        if stored is None:
            return
        wanted = _SETTLED[plural](self, stored.object)
        if wanted is None:
            return
        served = self._registry.find("", "v1", plural)
        assert served is not None
        version = stored.object["metadata"]["resourceVersion"]
        wanted["metadata"]["resourceVersion"] = version
        await self._operations.update(served, namespace, name, lambda _: wanted, _OPTIONS)

    def claim(self, claim: Object) -> Object | None:
        """The claim without its hold, when it is going and no Pod uses it."""
        meta = claim["metadata"]
        if not meta.get("deletionTimestamp"):
            return None
        for stored in self._pods.scan(meta["namespace"]):
            if meta["name"] in claims_of(stored.object) and not _is_over(stored.object):
                return None
        return _without(claim, CLAIM_HOLD)

    def volume(self, volume: Object) -> Object | None:
        """The volume without its hold, when it is going and nothing is bound to it."""
        if not volume["metadata"].get("deletionTimestamp"):
            return None
        if (volume.get("status") or {}).get("phase") == "Bound":
            return None
        return _without(volume, VOLUME_HOLD)

    def node(self, node: Object) -> Object | None:
        """The node with the taint of one that is not ready, or without it."""
        taints = (node.get("spec") or {}).get("taints") or []
        tainted = any(_is_not_ready(one) for one in taints)
        conditions = (node.get("status") or {}).get("conditions")
        if conditions is None or tainted is not is_ready(node):
            return None
        result: Object = copied(node)
        spec = result.setdefault("spec", {})
        if tainted:
            spec["taints"] = [one for one in taints if not _is_not_ready(one)]
            if not spec["taints"]:
                del spec["taints"]
        else:
            spec["taints"] = [*taints, dict(NOT_READY)]
        return result


_SETTLED = {
    "persistentvolumeclaims": Holds.claim,
    "persistentvolumes": Holds.volume,
    "nodes": Holds.node,
}


def _key(plural: str, stored: Stored) -> str:
    return f"{plural}/{stored.namespace}/{stored.name}"


def claims_of(pod: Object) -> set[str]:
    """Names of the claims a Pod uses."""
    found = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            found.add(claim)
        if "ephemeral" in volume:
            found.add(f"{pod['metadata']['name']}-{volume['name']}")
    return found


def _is_over(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _is_not_ready(taint: Object) -> bool:
    return taint.get("key") == NOT_READY["key"] and taint.get("effect") == NOT_READY["effect"]


def _without(object: Object, finalizer: str) -> Object | None:
    held = object["metadata"].get("finalizers") or []
    if finalizer not in held:
        return None
    result: Object = copied(object)
    result["metadata"]["finalizers"] = [one for one in held if one != finalizer]
    if not result["metadata"]["finalizers"]:
        del result["metadata"]["finalizers"]
    return result
