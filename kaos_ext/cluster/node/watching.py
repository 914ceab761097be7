"""Following a collection: list, then watch from there, for ever; a gap is healed by listing again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kaos_ext.cluster.client import Client
from kaos_ext.kube.objects import ApiError, Object, Resource, WatchType, is_expired
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)

Key = tuple[str, str]
Change = Callable[[Object, bool], None]
"""Called with each object as it is now, or as it was last seen with True when it is gone."""


def key_of(object: Object) -> Key:
    metadata = object["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Follower:
    """A cache of a collection that tells of each change; `synced` is set after the first list."""

    def __init__(
        self, client: Client, resource: Resource, namespace: str | None = None, *, fields: str = "", changed: Change
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._fields = fields
        self._changed = changed
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        version = ""
        delay = 0.05
        while True:
            try:
                if not version:
                    version = await self._list()
                    self.synced.set()
                version = await self._watch(version)
                delay = 0.05
            except ApiError as error:
                if is_expired(error):
                    version = ""
                    continue
                delay = await self._pause(error, delay)
            except (KaosError, OSError, TimeoutError) as error:
                delay = await self._pause(error, delay)

    async def _pause(self, error: Exception, delay: float) -> float:
        _log.warning("following %s: %s", self._resource.plural, error)
        await asyncio.sleep(delay)
        return min(delay * 2, 5.0)

    async def _list(self) -> str:
        listed = await self._client.list(self._resource, self._namespace, fields=self._fields)
        fresh = {key_of(item): item for item in listed.items}
        for key, gone in list(self.objects.items()):
            if key not in fresh or fresh[key]["metadata"].get("uid") != gone["metadata"].get("uid"):
                del self.objects[key]
                self._changed(gone, True)
        for key, item in fresh.items():
            known = self.objects.get(key)
            self.objects[key] = item
            if known is None or known["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._changed(item, False)
        return listed.resource_version

    async def _watch(self, version: str) -> str:
        async for event in self._client.watch(
            self._resource, self._namespace, resource_version=version, fields=self._fields
        ):
            version = event.object["metadata"]["resourceVersion"]
            if event.type is WatchType.BOOKMARK:
                continue
            key = key_of(event.object)
            if event.type is WatchType.DELETED:
                self.objects.pop(key, None)
                self._changed(event.object, True)
            else:
                self.objects[key] = event.object
                self._changed(event.object, False)
        return version
