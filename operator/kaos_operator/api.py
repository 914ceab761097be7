"""What the operator asks of an API server. `kaos_operator.connection.Renewing` is the one in use."""

from __future__ import annotations

from typing import Any, Protocol

from kaos_ext.kube.objects import Object, PatchType, Propagation, Resource
from kaos_operator.tools import Services


class Api(Services, Protocol):
    """What the operator asks of the API server; `kaos_ext.kube.client.KubeClient` is one."""

    async def create(self, resource: Resource, object: Object, namespace: str | None = None) -> Object: ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object: ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation | None = None,
        uid: str | None = None,
    ) -> Object: ...
