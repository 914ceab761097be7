"""The operator's client, with credentials that are renewed.

A pod's token ends after an hour or so and lies anew in the file it came from. Who is refused with 401 reads it again,
once, and repeats the request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import ApiError, Object, Resource, WatchEvent
from kaos_operator.tools import Answer

Result = TypeVar("Result")
UNAUTHORIZED = 401


class Renewing:
    """As much of `KubeClient` as the operator uses."""

    def __init__(self, connect: Callable[[], Awaitable[KubeClient]] = KubeClient.connect) -> None:
        self._connect = connect
        self._client: KubeClient | None = None

    async def create(self, resource: Resource, object: Object, namespace: str | None = None) -> Object:
        return await self._call(lambda client: client.create(resource, object, namespace))

    async def patch(
        self, resource: Resource, name: str, patch: Any, namespace: str | None = None, **options: Any
    ) -> Object:
        return await self._call(lambda client: client.patch(resource, name, patch, namespace, **options))

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, **options: Any) -> Object:
        return await self._call(lambda client: client.delete(resource, name, namespace, **options))

    async def service_request(
        self, method: str, service: str, port: int | str, path: str = "/", **options: Any
    ) -> Answer:
        return await self._call(lambda client: client.service_request(method, service, port, path, **options))

    async def follow(self, resource: Resource, *, labels: str = "") -> AsyncGenerator[WatchEvent, None]:
        """Everything there is, then every change; ends with the error when the server refuses."""
        client = await self._connected()
        try:
            async with aclosing(client.follow(resource, labels=labels)) as changes:
                async for change in changes:
                    yield change
        except ApiError as error:
            if error.code == UNAUTHORIZED:
                await self._renew(client)
            raise

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _call(self, request: Callable[[KubeClient], Awaitable[Result]]) -> Result:
        client = await self._connected()
        try:
            return await request(client)
        except ApiError as error:
            if error.code != UNAUTHORIZED:
                raise
        await self._renew(client)
        return await request(await self._connected())

    async def _connected(self) -> KubeClient:
        if self._client is None:
            self._client = await self._connect()
        return self._client

    async def _renew(self, refused: KubeClient) -> None:
        """Once for all requests that were refused together."""
        if self._client is refused:
            self._client = None
            await refused.close()
