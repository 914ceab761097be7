"""One endpoint's requests: what it refuses is an ApiError, silence is an UnreachableError with the next step."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from kaos_ext.kube.kubeconfig import Endpoint
from kaos_ext.kube.lines import Lines
from kaos_ext.kube.objects import ApiError, Object
from kaos_ext.kube.transport import Request, Response, Transport, Unanswered
from kaos_ext.model.errors import UnreachableError

JSON_TYPE = "application/json"


class Connection:
    """An endpoint and the transport to it."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self.endpoint = endpoint
        self._transport = transport

    @property
    def context_name(self) -> str:
        return self.endpoint.context

    @property
    def namespace(self) -> str:
        return self.endpoint.namespace

    @property
    def server(self) -> str:
        return self.endpoint.server

    async def close(self) -> None:
        await self._transport.close()

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = JSON_TYPE,
    ) -> Any:
        headers = {"Content-Type": content_type} if body is not None else {}
        data = None if body is None else json.dumps(body).encode()
        response = await self._open(Request(method, path, params=params or {}, headers=headers, body=data))
        return json.loads(await self._read(response))

    async def _object(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        content_type: str = JSON_TYPE,
    ) -> Object:
        answer: Object = await self._call(method, path, params, body=body, content_type=content_type)
        return answer

    async def _open(self, request: Request) -> Response:
        """Send; an answer that is a refusal becomes ApiError."""
        try:
            response = await self._transport.send(replace(request, headers={"Accept": JSON_TYPE, **request.headers}))
        except Unanswered as error:
            raise self._unreachable(error) from error
        if response.status >= 400:
            text = await self._read(response)
            refusal = status_of(text) or {"code": response.status, "message": _short(text) or f"HTTP {response.status}"}
            raise ApiError(refusal, hint=_login(response.status, self.context_name))
        return response

    async def _read(self, response: Response) -> bytes:
        try:
            return await response.read()
        except Unanswered as error:
            raise self._unreachable(error) from error

    async def _lines(self, response: Response) -> AsyncGenerator[str, None]:
        lines = Lines()
        try:
            async with aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        yield line
        except Unanswered as error:
            raise self._unreachable(error) from error
        finally:
            response.close()
        last = lines.rest()
        if last:
            yield last

    def _unreachable(self, error: Unanswered) -> UnreachableError:
        context = self.context_name
        begin = f"kaos up {context.removeprefix('kaos-')}".removesuffix(" default")
        hint = begin if context.startswith("kaos-") else "another --context, or `kaos up` for a cluster on this machine"
        return UnreachableError(
            f"the cluster of context `{context}` ({self.server}) does not answer: {error}", hint=hint
        )


class Read:
    """A response whose body was read already."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body

    def close(self) -> None:
        """Nothing is open."""


def status_of(text: bytes) -> Object | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return (
        value if isinstance(value, dict) and value.get("kind") == "Status" and value.get("apiVersion") == "v1" else None
    )


def _short(text: bytes) -> str:
    return text[:300].decode(errors="replace").strip()


def _login(code: int, context: str) -> str:
    if code == 401:
        return f"the credentials of context `{context}` are not accepted: log in again, or another --context"
    return ""
