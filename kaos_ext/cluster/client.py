"""The seam between controllers, node agent and whichever API server they work with.

Two implementations: in-process (the embedded API server's own, through the same admission and validation) and
`kaos_ext.kube.client.KubeClient` over HTTPS. Refusals are `kaos_ext.kube.objects.ApiError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from kaos_ext.kube.objects import Object, ObjectList, PatchType, Propagation, Resource, WatchEvent


class Client(Protocol):
    """What a controller may ask of an API server."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object: ...

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> ObjectList:
        """All objects (of one namespace or all) that match the label and field selector, as the API writes them."""
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, bookmarks included; ends when the server ends it; 410 raises ApiError."""
        ...

    async def create(
        self,
        resource: Resource,
        object: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """Create an object, or POST to a subresource of `name` (`pods/binding`, `serviceaccounts/token`)."""
        ...

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
        """Patch; `metadata.resourceVersion` in a merge patch makes it conditional (409 Conflict when it is stale)."""
        ...

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
    ) -> Object: ...
