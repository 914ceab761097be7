"""The wire: one request, one response, either read whole or piece by piece. aiohttp behind a small seam.

    Transport.send(Request) -> Response        tests put a function of their own in its place

Whatever keeps a server from answering becomes `Unanswered`, a plain OSError-like fact without advice; the client, who
knows context and server, turns it into an UnreachableError with a hint.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import aiohttp

from kaos_ext.kube.kubeconfig import Endpoint

CONNECT_SECONDS = 10.0


class Unanswered(Exception):
    """No answer, or one that broke off."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` begins at the API server; `url`, where given, is another server's, and gets no credentials of ours."""

    method: str
    path: str = ""
    url: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float | None = 60.0


class Response(Protocol):
    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    def chunks(self) -> AsyncGenerator[bytes, None]: ...

    def close(self) -> None: ...


class Transport(Protocol):
    async def send(self, request: Request) -> Response: ...

    async def close(self) -> None: ...


class _AioResponse:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unanswered(_reason(error)) from error
        finally:
            self._response.release()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise Unanswered(_reason(error)) from error
        finally:
            self._response.close()

    def close(self) -> None:
        self._response.close()


class AioTransport:
    """One aiohttp session to one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tls = tls_context(endpoint)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Response:
        if self._session is None:
            # One command makes few requests; a watch holds its connection for as long as it likes.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
            )
        ours = not request.url
        headers = {**(await self._credentials() if ours else {}), **request.headers}
        try:
            response = await self._session.request(
                request.method,
                self._endpoint.server + request.path if ours else request.url,
                params=dict(request.params),
                headers=headers,
                data=request.body,
                ssl=self._tls if ours else True,
                server_hostname=(self._endpoint.tls_server_name or None) if ours else None,
                proxy=(self._endpoint.proxy or None) if ours else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.timeout, sock_connect=CONNECT_SECONDS),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(_reason(error)) from error
        return _AioResponse(response)

    async def _credentials(self) -> dict[str, str]:
        endpoint = self._endpoint
        if endpoint.token_file:
            text = await asyncio.to_thread(Path(endpoint.token_file).read_text)
            return {"Authorization": f"Bearer {text.strip()}"}
        if endpoint.token:
            return {"Authorization": f"Bearer {endpoint.token}"}
        if endpoint.username:
            both = base64.b64encode(f"{endpoint.username}:{endpoint.password}".encode()).decode()
            return {"Authorization": f"Basic {both}"}
        return {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=endpoint.authority or None)
    if endpoint.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.certificate:
        _load_pair(context, endpoint.certificate, endpoint.key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """ssl takes a client's pair only from a file: one that only we can read, for the moment of reading it."""
    handle, name = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{certificate.rstrip()}\n{key}")
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()


def _reason(error: BaseException) -> str:
    """One short cause, without the library's decoration."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        number = error.os_error.errno
        return os.strerror(number) if number else str(error.os_error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
