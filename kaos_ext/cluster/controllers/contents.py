"""Everything the cluster holds, reduced to who owns whom: every collection is followed, once.

Custom resources come and go: whenever a CustomResourceDefinition changes, `discover()` is asked again. The graph is
what the garbage collector decides on, and tells the namespace controller when a namespace may be empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.controllers.informer import Informer, Key, key_of
from kaos_ext.cluster.controllers.loop import Shared
from kaos_ext.kube.objects import CUSTOMRESOURCEDEFINITIONS, ENDPOINTS, EVENTS, Object, Resource

Discover = Callable[[], list[Resource]]
_KEPT = ("name", "namespace", "uid", "resourceVersion", "ownerReferences", "finalizers", "deletionTimestamp")
_IGNORED = {(EVENTS.group, EVENTS.plural), ("events.k8s.io", "events"), (ENDPOINTS.group, ENDPOINTS.plural)}


@dataclass(frozen=True, slots=True)
class Item:
    """One object: where it lives, whom it belongs to, whether it is going."""

    resource: Resource
    key: Key
    uid: str
    version: str
    owners: tuple[dict[str, Any], ...]
    finalizers: tuple[str, ...]
    deleting: bool


ItemHandler = Callable[[Item | None, Item | None], None]


def item_of(resource: Resource, object: Object) -> Item:
    metadata = object["metadata"]
    return Item(
        resource=resource,
        key=key_of(object),
        uid=metadata["uid"],
        version=metadata.get("resourceVersion", ""),
        owners=tuple(metadata.get("ownerReferences") or ()),
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def reduced(object: Object) -> Object:
    metadata = object["metadata"]
    return {"metadata": {key: metadata[key] for key in _KEPT if key in metadata}}


def collections(resources: Iterable[Resource]) -> list[Resource]:
    """One resource for each kind: objects of one group and plural are the same in every version."""
    chosen: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        if (resource.group, resource.plural) not in _IGNORED:
            chosen.setdefault((resource.group, resource.plural), resource)
    return list(chosen.values())


class Contents:
    """The graph of owners, kept up to date."""

    def __init__(self, shared: Shared, discover: Discover) -> None:
        self._shared = shared
        self._discover = discover
        self._handlers: list[ItemHandler] = []
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, set[str]] = {}
        self._counts: dict[str, int] = {}
        self._informers: dict[Resource, tuple[Informer, asyncio.Task[None] | None]] = {}
        self._changed = asyncio.Event()
        self._following = asyncio.Event()
        shared.informer(CUSTOMRESOURCEDEFINITIONS).on_change(lambda old, new: self._changed.set())

    def on_change(self, handler: ItemHandler) -> None:
        self._handlers.append(handler)

    def get(self, uid: str) -> Item | None:
        return self._items.get(uid)

    def dependents(self, uid: str) -> list[Item]:
        return [self._items[one] for one in self._dependents.get(uid, ())]

    def count(self, namespace: str) -> int:
        return self._counts.get(namespace, 0)

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """The collection of a kind; None when the API server does not serve it."""
        group = api_version.rpartition("/")[0]
        found = [one for one in self._discover() if one.kind == kind and one.group == group]
        exact = [one for one in found if one.api_version == api_version]
        return next(iter(exact or found), None)

    async def run(self) -> None:
        """Follow all collections until cancelled; `synced` once the first ones are complete."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    self._changed.clear()
                    self._refresh(group)
                    self._following.set()
                    await self._changed.wait()
            finally:
                for _, task in self._informers.values():
                    if task is not None:
                        task.cancel()

    def _refresh(self, group: asyncio.TaskGroup) -> None:
        wanted = collections(self._discover())
        for resource in [one for one in self._informers if one not in wanted]:
            _, task = self._informers.pop(resource)
            if task is not None:
                task.cancel()
            for item in [item for item in self._items.values() if item.resource == resource]:
                self._change(item, None)
        for resource in wanted:
            if resource not in self._informers:
                followed = self._shared.known(resource)
                informer = followed or Informer(self._shared.client, resource, keep=reduced)
                informer.on_change(self._told(resource))
                self._informers[resource] = (informer, None if followed else group.create_task(informer.run()))

    async def synced(self) -> None:
        await self._following.wait()
        for informer, _ in list(self._informers.values()):
            await informer.synced.wait()

    def _told(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        def handler(old: Object | None, new: Object | None) -> None:
            before = item_of(resource, old) if old is not None else None
            after = item_of(resource, new) if new is not None else None
            if before is not None and after is not None and before.uid != after.uid:
                self._change(before, None)
                before = None
            self._change(before, after)

        return handler

    def _change(self, old: Item | None, new: Item | None) -> None:
        if old is not None:
            self._items.pop(old.uid, None)
            self._count(old, -1)
            for owner in old.owners:
                if found := self._dependents.get(owner["uid"]):
                    found.discard(old.uid)
                    if not found:
                        del self._dependents[owner["uid"]]
        if new is not None:
            self._items[new.uid] = new
            self._count(new, 1)
            for owner in new.owners:
                self._dependents.setdefault(owner["uid"], set()).add(new.uid)
        for handler in self._handlers:
            handler(old, new)

    def _count(self, item: Item, step: int) -> None:
        namespace = item.key[0]
        if namespace:
            self._counts[namespace] = self._counts.get(namespace, 0) + step
            if not self._counts[namespace]:
                del self._counts[namespace]
