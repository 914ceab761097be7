"""One POST and its whole answer, over connections that are kept open.

    answer = await wire.post(URL("http://model/v1/chat/completions"), body, headers, seconds=300)

An iteration of the loop is made of little else, and aiohttp's client, which makes every other request of the product,
spends more on these than the loop on all it does beside: 0.26 ms of CPU each, against 0.09 ms here. So this is the one
common case over asyncio's transports and no more: HTTP/1.1, an answer with a length, in chunks or up to the end of the
connection, 307 and 308 followed. What is read as it comes (a stream of text) is the session's affair.

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

from yarl import URL

CONNECT_SECONDS = 5.0
KEEP_SECONDS = 15.0
"""An idle connection is not used again after that: servers close theirs, some soon."""
HEAD_BYTES = 64 * 1024
REDIRECTS = 5
_LENGTHLESS = frozenset({204, 304})


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

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str], *, seconds: float) -> Answered:
        """Send, and wait for the whole answer so many seconds at most."""
        for _ in range(REDIRECTS):
            answered = await self._exchange(url, _request(url, body, headers), seconds)
            if answered.status not in (307, 308) or not answered.headers.get("location"):
                return answered
            url = url.join(URL(answered.headers["location"]))
        raise BrokenOff(f"it redirects more than {REDIRECTS} times")

    async def _exchange(self, url: URL, request: bytes, seconds: float) -> Answered:
        origin = (url.scheme, url.host or "", url.port or 80)
        connection = self._kept(origin) or await _connected(*origin)
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


async def _connected(scheme: str, host: str, port: int) -> _Connection:
    loop = asyncio.get_running_loop()
    context = _tls() if scheme == "https" else None
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


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@lru_cache(64)
def _beginning(url: URL) -> str:
    """What every request to a URL begins with."""
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host
    named = host if url.is_default_port() else f"{host}:{url.port}"
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"Host: {named}", "Content-Type: application/json"]
    if url.user is not None:
        credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        lines.append(f"Authorization: Basic {credentials}")
    return "\r\n".join([*lines, ""])


def _request(url: URL, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("the value of a header has more than one line")
    return f"{_beginning(url)}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Puts one answer at a time together."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answered] | None = None
        self._data = bytearray()
        self._status, self._headers, self._body = 0, dict[str, str](), 0
        """The answer's head once it is there, and where in the data the body begins."""
        self._chunks: _Chunks | None = None
        self.reusable = False
        self.idle_since = 0.0

    async def exchange(self, request: bytes, seconds: float) -> Answered:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._data.clear()
        self._status, self.reusable = 0, False
        self._transport.write(request)
        timer = loop.call_later(seconds, self._late)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def _late(self) -> None:
        self._fail(TooLate("it took too long", began=self._began))

    @property
    def _began(self) -> bool:
        return bool(self._status or self._data)

    def abort(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Nobody asked for it: who knows whose answer it is.
            self.abort()
            return
        self._data += data
        try:
            self._read()
        except ValueError as error:
            self._fail(BrokenOff(f"the answer is no HTTP: {error}", began=True))

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._answer is None or self._answer.done():
            return
        if self._status and self._chunks is None and "content-length" not in self._headers:
            self._finish(bytes(self._data[self._body :]))
        else:
            self._fail(BrokenOff(str(error or "the server closed the connection"), began=self._began))

    def _read(self) -> None:
        while not self._status:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                if len(self._data) > HEAD_BYTES:
                    raise ValueError(f"its head is longer than {HEAD_BYTES} bytes")
                return
            self._head(self._data[:end].decode("latin-1"), end + 4)
        if self._status in _LENGTHLESS:
            self._finish(b"", extra=len(self._data) > self._body)
        elif self._chunks is not None:
            if self._chunks.feed(self._data):
                self._finish(bytes(self._chunks.body), extra=len(self._data) > self._chunks.at)
        elif "content-length" in self._headers:
            end = self._body + int(self._headers["content-length"])
            if len(self._data) >= end:
                self._finish(bytes(self._data[self._body : end]), extra=len(self._data) > end)

    def _head(self, text: str, body: int) -> None:
        first, *lines = text.split("\r\n")
        version, _, rest = first.partition(" ")
        status = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not status.isdecimal() or rest[3:4] not in ("", " "):
            raise ValueError(f"it begins with {first[:60]!r}")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"{line[:60]!r} is no header")
            headers[name.lower()] = value.strip()
        if 100 <= int(status) < 200:  # Something preliminary; the answer comes after it.
            del self._data[:body]
            return
        length, coded = headers.get("content-length"), headers.get("transfer-encoding", "").lower()
        if length is not None and not (length.isascii() and length.isdecimal()):
            raise ValueError(f"its length is {length!r}")
        if coded not in ("", "chunked"):
            raise ValueError(f"its transfer encoding is {coded!r}")
        self._chunks = _Chunks(body) if coded else None
        self._status, self._headers, self._body = int(status), headers, body
        connection = headers.get("connection", "").lower()
        self.reusable = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)

    def _finish(self, body: bytes, *, extra: bool = False) -> None:
        assert self._answer is not None
        self.reusable = self.reusable and not extra
        if not self._answer.done():
            self._answer.set_result(Answered(self._status, self._headers, body))

    def _fail(self, error: OSError) -> None:
        assert self._answer is not None
        self.abort()
        if not self._answer.done():
            self._answer.set_exception(error)


class _Chunks:
    """A body that comes in chunks, each behind its length in hexadecimal digits."""

    def __init__(self, at: int) -> None:
        self.body = bytearray()
        self.at = at
        """How far the data is read."""
        self._last = False

    def feed(self, data: bytearray) -> bool:
        """Read on; whether the end has come."""
        while True:
            end = data.find(b"\r\n", self.at)
            if end < 0:
                if len(data) - self.at > HEAD_BYTES:
                    raise ValueError("a chunk has no length")
                return False
            if self._last:  # Trailers, up to an empty line.
                empty = end == self.at
                self.at = end + 2
                if empty:
                    return True
                continue
            digits = data[self.at : end].partition(b";")[0].strip()
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                raise ValueError(f"the length of a chunk is {bytes(digits[:20])!r}")
            size = int(digits, 16)
            if not size:
                self._last, self.at = True, end + 2
                continue
            if len(data) < end + 2 + size + 2:
                return False
            if data[end + 2 + size : end + 4 + size] != b"\r\n":
                raise ValueError("a chunk is longer than its length")
            self.body += data[end + 2 : end + 2 + size]
            self.at = end + 4 + size
