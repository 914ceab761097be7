"""Owned objects as they should be: server-side apply of what differs, and pruning of what is not wanted.

An object is left alone when it carries the digest of what is wanted and still covers it, so a change by somebody else
is put right, and an operator that starts again writes nothing.
"""

from __future__ import annotations

import asyncio

from kaos_ext.kube.objects import (
    CONFIGMAPS,
    DEPLOYMENTS,
    PERSISTENTVOLUMECLAIMS,
    ROLEBINDINGS,
    ROLES,
    SERVICEACCOUNTS,
    SERVICES,
    ApiError,
    Object,
    PatchType,
    Propagation,
    is_not_found,
)
from kaos_ext.model import names
from kaos_ext.model.errors import NotReadyError
from kaos_operator.api import Api
from kaos_operator.render.pods import digest
from kaos_operator.render.status import covers
from kaos_operator.world import World, owner

RESOURCES = {
    r.kind: r for r in (DEPLOYMENTS, SERVICES, CONFIGMAPS, PERSISTENTVOLUMECLAIMS, SERVICEACCOUNTS, ROLES, ROLEBINDINGS)
}
_FIRST = frozenset({"ConfigMap", "PersistentVolumeClaim", "ServiceAccount", "Role", "RoleBinding"})
"""What a pod mounts, and who it is, is there before the pod."""


class Children:
    """Writes them; remembers what it wrote and has not seen yet."""

    def __init__(self, api: Api, world: World) -> None:
        self._api, self._world = api, world
        self._applied: dict[tuple[str, str, str], str] = {}

    def deleted(self, child: Object) -> None:
        """It went: it is to be applied again when it is wanted."""
        metadata = child["metadata"]
        self._applied.pop((child["kind"], metadata["namespace"], metadata["name"]), None)

    async def apply(self, resource: Object, children: list[Object]) -> list[str]:
        """Exactly these, claims excepted; returns what went, in words."""
        present = self._world.children_of(resource)
        before = [child for child in children if child["kind"] in _FIRST]
        after = [child for child in children if child not in before]
        for group in (before, after):
            await asyncio.gather(*(self._apply(child, present.get(_name(child))) for child in group))
        wanted = {_name(child) for child in children}
        # a claim holds data: it stays until its owner goes
        gone = [child for name, child in present.items() if name not in wanted and name[0] != "PersistentVolumeClaim"]
        for child in gone:
            await self._prune(child)
        return [f"{child['kind']} {child['metadata']['name']}" for child in gone]

    async def _apply(self, child: Object, live: Object | None) -> None:
        metadata = child["metadata"]
        place = (child["kind"], metadata["namespace"], metadata["name"])
        stamp, uid = digest(child), metadata["ownerReferences"][0]["uid"]
        former = self._world.child(*place) if live is None else None
        if former is not None and (owner(former) or ("", uid))[1] != uid:
            # of a resource of the same name that is gone; its deletion wakes us
            raise NotReadyError(f"the former {child['kind']} {metadata['name']} is not gone yet")
        if live is not None:
            seen = (live["metadata"].get("annotations") or {}).get(names.APPLIED_HASH)
            if seen == stamp and covers(live, child):
                return
        elif self._applied.get(place) == f"{uid} {stamp}":
            return  # written a moment ago, not seen yet
        resource = RESOURCES[child["kind"]]
        if live is not None and child["kind"] == "Deployment":
            await self._change_strategy(child, live)
        stamped = {**child, "metadata": {**metadata, "annotations": {names.APPLIED_HASH: stamp}}}
        await self._api.patch(
            resource,
            metadata["name"],
            stamped,
            metadata["namespace"],
            type=PatchType.APPLY,
            field_manager=names.OPERATOR,
            force=True,
        )
        self._applied[place] = f"{uid} {stamp}"

    async def _change_strategy(self, child: Object, live: Object) -> None:
        """As a whole: parts of the old one that the server filled in would not go by apply, and refuse the new."""
        wanted = child["spec"]["strategy"]
        if (live["spec"].get("strategy") or {}).get("type") == wanted["type"]:
            return
        patch = [{"op": "replace", "path": "/spec/strategy", "value": wanted}]
        metadata = child["metadata"]
        await self._api.patch(
            DEPLOYMENTS,
            metadata["name"],
            patch,
            metadata["namespace"],
            type=PatchType.JSON,
            field_manager=names.OPERATOR,
        )

    async def _prune(self, child: Object) -> None:
        metadata = child["metadata"]
        try:
            await self._api.delete(
                RESOURCES[child["kind"]],
                metadata["name"],
                metadata["namespace"],
                propagation=Propagation.BACKGROUND,
                uid=metadata["uid"],
            )
        except ApiError as error:
            if not is_not_found(error):
                raise
        self.deleted(child)


def _name(child: Object) -> tuple[str, str]:
    return child["kind"], child["metadata"]["name"]
