"""One request and its whole answer, over connections that are kept open.

    answer = await wire.post(URL("http://model/v1/chat/completions"), body, headers, seconds=300)
    answer = await wire.send("PATCH", url, body, {"Content-Type": "application/merge-patch+json"}, seconds=10)

An iteration of the loop is made of little else, and aiohttp's client, which makes every other request of the product,
spends more on these than the loop on all it does beside: 0.26 ms of CPU each, against 0.09 ms here. So this is the one
common case over asyncio's transports and no more: HTTP/1.1, an answer with a length, in chunks or up to the end of the
connection, 307 and 308 followed. httptools, the parser under uvicorn, reads it. What is read as it comes (a stream of
text) is the session's affair.

A request is sent once: whether it was taken is not known when its connection breaks, and some must not come twice.

OSError
├─ NotReached    nothing was sent
└─ BrokenOff     sent, and not (wholly) answered; `began` when some of the answer came
   └─ TooLate    in time
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import httptools
from yarl import URL

CONNECT_SECONDS = 5.0
KEEP_SECONDS = 15.0
"""An idle connection is not used again after that: servers close theirs, some soon."""
HEAD_BYTES = 64 * 1024
READ_BYTES = 32 * 1024
"""At once; an answer may be of any length."""
REDIRECTS = 5


class NotReached(OSError):
    """There is no connection to the server."""


class BrokenOff(OSError):
    """The connection ended before the answer did, or what came is no HTTP."""

    def __init__(self, message: str, *, began: bool = False) -> None:
        super().__init__(message)
        self.began = began


class TooLate(BrokenOff):
    """The answer was not there, or not whole, when the time was up."""


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes


class Wire:
    """Connections to any number of servers, each used for one request at a time. `close()` ends them."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """With the context for `https`; by default it trusts who the system trusts."""
        self._tls = tls
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Answered:
        """Send JSON, and wait for the whole answer so many seconds at most."""
        return await self.send("POST", url, body, {"Content-Type": "application/json", **headers}, seconds=seconds)

    async def send(self, method: str, url: URL, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Answered:
        """Send, and wait for the whole answer so many seconds at most."""
        for _ in range(REDIRECTS):
            answered = await self._exchange(url, _request(method, url, body, headers), seconds)
            if answered.status not in (307, 308) or not answered.headers.get("location"):
                return answered
            url = url.join(URL(answered.headers["location"]))
        raise BrokenOff(f"it redirects more than {REDIRECTS} times")

    async def _exchange(self, url: URL, request: bytes, seconds: float) -> Answered:
        origin = (url.scheme, url.host or "", url.port or 80)
        connection = self._kept(origin) or await self._connected(*origin)
        try:
            answered = await connection.exchange(request, seconds)
        except BaseException:
            # Its answer may still come: it must not be taken for that of the next request.
            connection.abort()
            raise
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.abort()
        return answered

    async def _connected(self, scheme: str, host: str, port: int) -> _Connection:
        loop = asyncio.get_running_loop()
        context = (self._tls or _tls()) if scheme == "https" else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    _Connection, host, port, ssl=context, happy_eyeballs_delay=0.25
                )
        except TimeoutError as error:
            raise NotReached("no connection in time") from error
        except OSError as error:
            raise NotReached(error.strerror or str(error)) from error
        return connection

    def _kept(self, origin: tuple[str, str, int]) -> _Connection | None:
        """The connection that was used last, if its server may still have it open."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.reusable and time.monotonic() - connection.idle_since < KEEP_SECONDS:
                return connection
            connection.abort()
        return None

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@lru_cache(64)
def _beginning(method: str, url: URL) -> str:
    """What every request to a URL begins with."""
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host
    named = host if url.is_default_port() else f"{host}:{url.port}"
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {named}"]
    if url.user is not None:
        credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        lines.append(f"Authorization: Basic {credentials}")
    return "\r\n".join([*lines, ""])


def _request(method: str, url: URL, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("the value of a header has more than one line")
    return f"{_beginning(method, url)}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.BufferedProtocol):
    """One answer at a time, as httptools (Node's parser) finds it in what comes; it calls the `on_…` methods.

    What comes is read into one buffer: asyncio would else have the kernel map, and unmap, 256 KiB for each answer.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answered] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._status = self._head_bytes = 0
        self._began = self._over = False
        self.reusable = False
        self.idle_since = 0.0

    async def exchange(self, request: bytes, seconds: float) -> Answered:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._answer, self._parser = loop.create_future(), httptools.HttpResponseParser(self)
        self._began = self._over = self.reusable = False
        self._status = self._head_bytes = 0
        self._transport.write(request)
        timer = loop.call_later(seconds, self._late)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def _late(self) -> None:
        self._fail(TooLate("it took too long", began=self._began))

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        if self._parser is None or self._answer is None or self._over:
            # Nobody asked for it: who knows whose answer it is.
            self.abort()
            return
        self._began = True
        self._head_bytes += 0 if self._status else len(data)
        try:
            self._parser.feed_data(data)
            if self._head_bytes > HEAD_BYTES and not self._status:
                raise httptools.HttpParserError(f"its head is longer than {HEAD_BYTES} bytes")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._answer.done():  # It was whole; what came behind it is not for us.
                self.abort()
            else:
                self._fail(BrokenOff(f"the answer is no HTTP: {error.__context__ or error}", began=True))

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._over or self._answer is None:
            return
        if self._status and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self._finish()
        else:
            self._fail(BrokenOff(str(error or "the server closed the connection"), began=self._began))

    def on_message_begin(self) -> None:
        if self._over:
            self.reusable = False
            return
        self._headers, self._body, self._status = {}, bytearray(), 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._over:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if not self._over:
            coded = self._headers.get("transfer-encoding", "chunked").lower()
            if coded != "chunked":
                raise httptools.HttpParserError(f"its transfer encoding is {coded!r}")
            self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self._over:
            self._body += body

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._over or self._status < 200:  # Something preliminary; the answer comes after it.
            return
        self.reusable = self._parser.should_keep_alive()
        self._finish()

    def _finish(self) -> None:
        assert self._answer is not None
        self._over = True
        if not self._answer.done():
            self._answer.set_result(Answered(self._status, self._headers, bytes(self._body)))

    def _fail(self, error: OSError) -> None:
        assert self._answer is not None
        self._over = True
        self.abort()
        if not self._answer.done():
            self._answer.set_exception(error)
