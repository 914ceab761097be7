"""Garbage collector: objects whose owners are all gone go too.

    background   the owner goes at once, its dependents when the collector sees that it is gone
    foreground   the owner waits (finalizer `foregroundDeletion`) until dependents that block it are gone
    orphan       the owner waits (finalizer `orphan`) until its dependents no longer name it

`verdict` is pure: given which owners are there, gone or waiting, what happens to one dependent. An owner counts as gone
only when the API server itself said so: the graph may lag behind.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kaos_ext.cluster.controllers.contents import Contents, Item
from kaos_ext.cluster.controllers.informer import Key
from kaos_ext.cluster.controllers.loop import Controller, Shared
from kaos_ext.kube.objects import ApiError, Object, Propagation, is_conflict, is_not_found

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_log = logging.getLogger(__name__)


class Owner(StrEnum):
    """What became of an owner."""

    THERE = "there"
    GONE = "gone"
    WAITING = "waiting"
    """It is being deleted in the foreground and waits for us."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to a dependent."""

    delete: Propagation | None = None
    drop: tuple[str, ...] = ()
    """Uids of owners to take out of its references; it stays for the others."""


def verdict(item: Item, owners: Mapping[str, Owner], *, has_dependents: bool) -> Verdict:
    if not item.owners or item.deleting:
        return Verdict()
    states = [owners[reference["uid"]] for reference in item.owners]
    if Owner.THERE in states:
        return Verdict(drop=tuple(uid for uid, state in owners.items() if state is not Owner.THERE))
    if Owner.WAITING in states and has_dependents:
        return Verdict(delete=Propagation.FOREGROUND)
    if ORPHAN in item.finalizers:
        return Verdict(delete=Propagation.ORPHAN)
    if FOREGROUND in item.finalizers:
        return Verdict(delete=Propagation.FOREGROUND)
    return Verdict(delete=Propagation.BACKGROUND)


class GarbageCollector(Controller):
    """Keys are uids."""

    name = "garbage collector"

    def __init__(self, shared: Shared, contents: Contents) -> None:
        super().__init__()
        self._client = shared.client
        self._contents = contents
        self._gone: OrderedDict[str, None] = OrderedDict()
        contents.on_change(self._changed)

    def _changed(self, old: Item | None, new: Item | None) -> None:
        if new is None:
            assert old is not None
            self._note_gone(old.uid)
            for dependent in self._contents.dependents(old.uid):
                self.queue.add((dependent.uid, ""))
            for owner in old.owners:  # one that waited for us in the foreground
                if (item := self._contents.get(owner["uid"])) and item.deleting:
                    self.queue.add((item.uid, ""))
            return
        if new.deleting:
            if FOREGROUND in new.finalizers or ORPHAN in new.finalizers:
                self.queue.add((new.uid, ""))
            return
        for owner in new.owners:
            item = self._contents.get(owner["uid"])
            if item is None or item.deleting:
                self.queue.add((new.uid, ""))
                return

    def _note_gone(self, uid: str) -> None:
        self._gone[uid] = None
        while len(self._gone) > 5000:
            self._gone.popitem(last=False)

    async def reconcile(self, key: Key) -> float | None:
        item = self._contents.get(key[0])
        if item is None:
            return None
        if item.deleting:
            if ORPHAN in item.finalizers:
                await self._orphan(item)
            elif FOREGROUND in item.finalizers:
                await self._wait_for_dependents(item)
            return None
        owners = {}
        for reference in item.owners:
            state = await self._state(item, reference)
            if state is None:
                return 5.0  # its kind is not served (now): nobody can say
            owners[reference["uid"]] = state
        decision = verdict(item, owners, has_dependents=bool(self._contents.dependents(item.uid)))
        if decision.delete is not None:
            await self._delete(item, decision.delete)
        elif decision.drop:
            await self._drop_owners(item, set(decision.drop))
        return None

    async def _state(self, item: Item, reference: Mapping[str, Any]) -> Owner | None:
        uid = reference["uid"]
        known = self._contents.get(uid)
        if known is not None:
            # A cluster-wide object cannot be owned by one in a namespace, nor one namespace's by another's.
            if known.key[0] not in ("", item.key[0]):
                return Owner.GONE
            return Owner.WAITING if known.deleting and FOREGROUND in known.finalizers else Owner.THERE
        if uid in self._gone:
            return Owner.GONE
        resource = self._contents.resource_of(reference["apiVersion"], reference["kind"])
        if resource is None:
            return None
        namespace = item.key[0] if resource.namespaced else None
        if resource.namespaced and not namespace:
            return Owner.THERE  # a reference that cannot be right must not cost the object its life
        try:
            found = await self._client.get(resource, reference["name"], namespace)
        except ApiError as error:
            if not is_not_found(error):
                raise
            found = {}
        if (found.get("metadata") or {}).get("uid") == uid:
            metadata = found["metadata"]
            waits = metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ())
            return Owner.WAITING if waits else Owner.THERE
        self._note_gone(uid)
        return Owner.GONE

    async def _delete(self, item: Item, propagation: Propagation) -> None:
        try:
            await self._client.delete(
                item.resource, item.key[1], item.key[0] or None, propagation=propagation, uid=item.uid
            )
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    async def _wait_for_dependents(self, item: Item) -> None:
        blocking = False
        for dependent in self._contents.dependents(item.uid):
            if not dependent.deleting:
                self.queue.add((dependent.uid, ""))
            blocks = any(owner["uid"] == item.uid and owner.get("blockOwnerDeletion") for owner in dependent.owners)
            blocking = blocking or (blocks and not self._waits_for(dependent, item))
        if not blocking:
            await self._drop_finalizer(item, FOREGROUND)

    def _waits_for(self, dependent: Item, owner: Item) -> bool:
        """Whether `dependent` waits in the foreground for `owner` in its turn: such a circle holds nobody."""
        seen, left = {dependent.uid}, [dependent]
        while left:
            item = left.pop()
            if item.uid == owner.uid:
                return True
            if item.deleting and FOREGROUND in item.finalizers:
                below = [one for one in self._contents.dependents(item.uid) if one.uid not in seen]
                seen.update(one.uid for one in below)
                left += below
        return False

    async def _orphan(self, item: Item) -> None:
        for dependent in self._contents.dependents(item.uid):
            await self._drop_owners(dependent, {item.uid})
        await self._drop_finalizer(item, ORPHAN)

    async def _drop_owners(self, item: Item, uids: set[str]) -> None:
        kept = [reference for reference in item.owners if reference["uid"] not in uids]
        await self._patch(item, {"ownerReferences": kept or None})

    async def _drop_finalizer(self, item: Item, finalizer: str) -> None:
        await self._patch(item, {"finalizers": [one for one in item.finalizers if one != finalizer] or None})

    async def _patch(self, item: Item, metadata: Object) -> None:
        conditional = {**metadata, "uid": item.uid, "resourceVersion": item.version}
        try:
            await self._client.patch(item.resource, item.key[1], {"metadata": conditional}, item.key[0] or None)
        except ApiError as error:
            if not is_not_found(error):
                raise
