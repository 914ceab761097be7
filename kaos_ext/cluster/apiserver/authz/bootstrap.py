"""The roles and bindings every cluster has: made at its first start, and at later ones where they are missing."""

from __future__ import annotations

import asyncio
import json

from kaos_ext.cluster.apiserver import data
from kaos_ext.cluster.apiserver.authz.rbac import GROUP
from kaos_ext.cluster.apiserver.metadata import copied, new_uid, timestamp
from kaos_ext.cluster.apiserver.storage import Decision, Keep, Put, Storage, Stored
from kaos_ext.kube.objects import Object

_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


async def ensure(storage: Storage) -> None:
    """One commit for all that is missing."""
    missing = [object for object in _defaults() if _find(storage, object) is None]
    await asyncio.gather(*(_make(storage, object) for object in missing))


def _defaults() -> list[Object]:
    objects: list[Object] = json.loads(data.read("rbac.json.gz"))
    return objects


def _collection(object: Object) -> str:
    return f"{GROUP}/{_PLURALS[object['kind']]}"


def _find(storage: Storage, object: Object) -> Stored | None:
    meta = object["metadata"]
    return storage.collection(_collection(object)).get(meta.get("namespace", ""), meta["name"])


async def _make(storage: Storage, template: Object) -> None:
    object: Object = copied(template)
    now, meta = timestamp(), object["metadata"]
    meta["uid"], meta["creationTimestamp"] = new_uid(), now
    for entry in meta["managedFields"]:
        entry["time"] = now

    def decide(current: Stored | None) -> Decision:
        return Put(object) if current is None else Keep(current)

    await storage.write(storage.collection(_collection(object)), meta.get("namespace", ""), meta["name"], decide)
