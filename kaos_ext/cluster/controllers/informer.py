"""A live copy of one collection: list once, follow the watch, tell handlers what changed.

The copy also takes what this process itself just wrote (`remember`, `forget`), so that the next decision counts it even
though the watch has not told it yet: the reason why no controller creates or deletes twice. `resourceVersion` decides
which of two states is newer; that is sound against our own API server, where it is one growing number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.controllers.queue import pause
from kaos_ext.kube.objects import ApiError, Object, Resource, WatchType, is_expired, is_not_found
from kaos_ext.model.errors import UnreachableError

Key = tuple[str, str]
"""Namespace (empty for cluster-wide kinds) and name."""
Handler = Callable[[Object | None, Object | None], None]
"""Called with the state before and after; None where there was none or is none any more."""

_NOBODY = ""
_log = logging.getLogger(__name__)


def key_of(object: Object) -> Key:
    metadata = object["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def version_of(object: Object) -> int:
    return int(object["metadata"].get("resourceVersion") or 0)


class Informer:
    """The copy of one collection; `keep` may reduce each object to what is needed."""

    def __init__(
        self, client: Client, resource: Resource, *, keep: Callable[[Object], Object] = lambda object: object
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self._client = client
        self._keep = keep
        self._objects: dict[Key, Object] = {}
        self._owned: dict[str, set[Key]] = {}
        self._gone: set[str] = set()
        self._told = 0
        self._handlers: list[Handler] = []

    def on_change(self, handler: Handler) -> None:
        """Have it told of every change from now on, and of what is there already; a handler must not block."""
        self._handlers.append(handler)
        for object in list(self._objects.values()):
            handler(None, object)

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    def items(self, namespace: str | None = None) -> Iterator[Object]:
        for key, object in list(self._objects.items()):
            if namespace is None or key[0] == namespace:
                yield object

    def owned_by(self, uid: str) -> list[Object]:
        """The objects whose controller has this uid."""
        return [self._objects[key] for key in self._owned.get(uid, ())]

    def without_controller(self, namespace: str) -> list[Object]:
        return [self._objects[key] for key in self._owned.get(_NOBODY, ()) if key[0] == namespace]

    def __len__(self) -> int:
        return len(self._objects)

    def remember(self, object: Object) -> None:
        """Count an object this process just wrote, unless the watch has told of it already."""
        if version_of(object) > self._told:
            self._put(self._keep(object))

    def forget(self, object: Object) -> None:
        """No longer count an object that this process just deleted for good."""
        if object["metadata"]["uid"] not in self._gone and self._objects.get(key_of(object)) is not None:
            self._gone.add(object["metadata"]["uid"])
            self._drop(key_of(object), object["metadata"]["uid"])

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        failures = 0
        while True:
            try:
                listed = await self._client.list(self.resource)
                self._replace(listed.items, int(listed.resource_version or 0))
                self.synced.set()
                failures = 0
                await self._follow(listed.resource_version)
            except ApiError as error:
                if is_expired(error):
                    continue
                failures += 1
                # A custom resource that is no longer defined: whoever follows it ends us soon.
                level = logging.DEBUG if is_not_found(error) else logging.WARNING
                _log.log(level, "cannot follow %s: %s", self.resource.plural, error)
            except (UnreachableError, OSError) as error:
                failures += 1
                _log.warning("cannot follow %s: %s", self.resource.plural, error)
            if failures:
                await asyncio.sleep(pause(failures))

    async def _follow(self, revision: str) -> None:
        while True:
            before = revision
            async for event in self._client.watch(self.resource, resource_version=revision):
                revision = event.object["metadata"]["resourceVersion"]
                if event.type is WatchType.BOOKMARK:
                    self._told = max(self._told, int(revision))
                elif event.type is WatchType.DELETED:
                    self._told = int(revision)
                    self._gone.discard(event.object["metadata"]["uid"])
                    self._drop(key_of(event.object), event.object["metadata"]["uid"])
                else:
                    self._told = int(revision)
                    if event.object["metadata"]["uid"] not in self._gone:
                        self._put(self._keep(event.object))
            if revision == before:
                await asyncio.sleep(pause(1))  # a server that ends watches at once must not spin us

    def _replace(self, objects: Iterable[Object], revision: int) -> None:
        fresh = {key_of(object): self._keep(object) for object in objects}
        self._told = revision
        self._gone.clear()
        for key in [key for key in self._objects if key not in fresh]:
            self._drop(key, self._objects[key]["metadata"]["uid"])
        for object in fresh.values():
            self._put(object)

    def _put(self, object: Object) -> None:
        key = key_of(object)
        old = self._objects.get(key)
        if old is not None:
            if version_of(old) >= version_of(object):
                return
            self._unindex(key, old)
        self._objects[key] = object
        self._owned.setdefault(controller_uid(object) or _NOBODY, set()).add(key)
        self._tell(old, object)

    def _drop(self, key: Key, uid: str) -> None:
        old = self._objects.get(key)
        if old is None or old["metadata"]["uid"] != uid:
            return
        del self._objects[key]
        self._unindex(key, old)
        self._tell(old, None)

    def _unindex(self, key: Key, old: Object) -> None:
        owner = controller_uid(old) or _NOBODY
        if keys := self._owned.get(owner):
            keys.discard(key)
            if not keys:
                del self._owned[owner]

    def _tell(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            handler(old, new)


def controller_uid(object: Object) -> str | None:
    """The uid of the owner that controls the object."""
    for reference in object["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference["uid"])
    return None
