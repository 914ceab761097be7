"""The in-process client: the same verbs, admission and validation as over HTTPS, without a wire.

What it gives belongs to the caller: objects are copies. Changes are heard only after their commit, as by everyone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.api import Api
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.options import DeleteOptions, ListOptions, WriteOptions
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.watch import Bookmark
from kaos_ext.kube.objects import Object, ObjectList, PatchType, Propagation, Resource, WatchEvent, WatchType


class LocalClient:
    """`kaos_ext.cluster.client.Client` of the server in this process, as one user."""

    def __init__(self, api: Api, user: UserInfo) -> None:
        self._api = api
        self._user = user

    def _served(self, resource: Resource) -> Served:
        found = self._api.registry.find(resource.group, resource.version, resource.plural)
        if found is None:
            raise failures.no_such_resource()
        return found

    def _options(self, manager: str | None, *, force: bool = False) -> WriteOptions:
        return WriteOptions(
            manager=manager or self._user.name.removeprefix("system:"),
            named_manager=True,
            validation="Ignore",
            force=force,
            user=self._user,
        )

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return self._api.get(self._served(resource), namespace or "", name).fresh()

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> ObjectList:
        options = ListOptions(labels=labels, fields=fields)
        scope = self._api.scope(self._served(resource), namespace, options)
        page = self._api.reader.page(scope, options)
        return ObjectList([stored.fresh() for stored in page.items], str(page.revision))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        served = self._served(resource)
        options = ListOptions(
            labels=labels, fields=fields, resource_version=resource_version, watch=True, bookmarks=True
        )
        watch = self._api.watch(self._api.scope(served, namespace, options), options)
        async for batch in watch.batches():
            for event in batch:
                if isinstance(event, Bookmark):
                    meta = {"resourceVersion": str(event.revision)}
                    yield WatchEvent(
                        WatchType.BOOKMARK,
                        {"kind": served.kind, "apiVersion": served.api_version, "metadata": meta},
                    )
                else:
                    yield WatchEvent(WatchType(event.kind), event.stored.fresh())

    async def create(
        self,
        resource: Resource,
        object: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        served, options = self._served(resource), self._options(None)
        place = namespace or (object.get("metadata") or {}).get("namespace") or ""
        if subresource:
            return await self._api.create_below(served, place, name or "", subresource, copied(object), options)
        stored = await self._api.create(served, place, copied(object), options)
        return stored.fresh()

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | Sequence[dict[str, Any]],
        namespace: str | None = None,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        options = self._options(field_manager, force=force)
        stored, _ = await self._api.patch(
            self._served(resource), namespace or "", name, copied(patch), type.value, options, subresource or ""
        )
        return stored.fresh()

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        options = DeleteOptions(
            grace_seconds=grace_seconds,
            propagation=propagation.value if propagation else "",
            uid=uid,
            resource_version=resource_version,
            user=self._user,
        )
        deleted: Object = copied(await self._api.delete(self._served(resource), namespace or "", name, options))
        return deleted
