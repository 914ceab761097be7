"""Memory over HTTP: pages of events, sessions, and the event stream.

`/memory/events` answers as KAOS does (its types, the newest `limit`, whole iterations) and pages with `since`, `until`
(a place in the log, or a time), `type`, `order` and `session_id`. `/memory/events/stream` sends every event as it
happens; a client that reconnects with `Last-Event-ID` misses nothing and gets nothing twice. Each reader of it goes
through the log at its own pace, so a slow one costs a buffer and delays nobody; one that takes nothing at all is cut
off, and may come again.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime
from typing import cast

from aiohttp import web

from kaos_ext.model.events import Event
from kaos_ext.runtime.agent.records import Records
from kaos_ext.runtime.shell import Shell

DEFAULT_LIMIT, MOST = 100, 1000
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
"""How often a quiet stream looks whether its reader is still there."""
STALL_SECONDS = 60.0
"""The longest a reader may take nothing of what is sent."""
MOST_TYPES = 100
DIGITS = 18
"""More than these no place in a log has."""
MICROSECOND = 1e-6
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+ -]\d\d:\d\d)")
"""RFC 3339; in a query a plus sign that was not escaped arrives as a space."""


class Memory:
    def __init__(self, shell: Shell, records: Records, *, enabled: bool) -> None:
        self._shell = shell
        self._records = records
        self._enabled = enabled

    async def events(self, request: web.Request) -> web.Response:
        query = request.query
        order = query.get("order", "asc")
        try:
            if order not in ("asc", "desc"):
                raise ValueError(f"order is {order!r}; it may be asc or desc")
            limit = _number(query.get("limit", ""), "limit", least=1)
            since, until = self._after(query.get("since", "")), self._until(query.get("until", ""))
        except ValueError as error:
            return _refused(str(error))
        events: list[Event] = []
        if self._enabled:
            events = self._records.page(
                limit=min(limit or DEFAULT_LIMIT, MOST),
                session=query.get("session_id", ""),
                types=_types(request),
                since=since,
                until=until,
                descending=order == "desc",
            )
        listed = [event.to_json() for event in events]
        return web.json_response({"agent": self._shell.name, "events": listed, "total": len(listed)})

    async def sessions(self, request: web.Request) -> web.Response:
        sessions = self._records.sessions if self._enabled else []
        return web.json_response({"agent": self._shell.name, "sessions": sessions, "total": len(sessions)})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        seen = request.headers.get("Last-Event-ID", "")
        try:
            after = _number(seen, "Last-Event-ID") if seen else self._after(request.query.get("since", ""))
        except ValueError as error:
            return _refused(str(error))
        if after is None:
            after = self._records.last
        elif after > self._records.last:
            after = 0  # A place of another log: everything in this one is new to the reader.
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        await response.write(b": events\n\n")
        session = request.query.get("session_id", "")
        await self._shell.stream(self._pump(request, response, after, _types(request), session))
        return response

    async def _pump(
        self, request: web.Request, response: web.StreamResponse, after: int, types: list[str], session: str
    ) -> None:
        sending = asyncio.current_task()
        assert sending is not None
        reader = _Reader(request, response)
        watch = asyncio.create_task(reader.watch(sending))
        following = cast("AsyncGenerator[Event]", self._records.follow(after, types, session))
        try:
            async with aclosing(following):
                async for event in following:
                    data = json.dumps(event.to_json(), ensure_ascii=False)
                    await reader.send(f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode())
        except ConnectionError:
            pass  # The reader went away, or takes nothing.
        except asyncio.CancelledError:
            if not reader.gone:
                raise
        finally:
            watch.cancel()

    def _after(self, text: str) -> int | None:
        """The place after which `since` begins."""
        when = _time(text, "since")
        return _number(text, "since") if when is None else self._records.place_before(when - MICROSECOND / 2)

    def _until(self, text: str) -> int | None:
        """The last place `until` lets through."""
        when = _time(text, "until")
        return _number(text, "until") if when is None else self._records.place_before(when + MICROSECOND)


class _Reader:
    """Whoever reads a stream: still there, and still reading?"""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request, self._response = request, response
        self._writing_since = math.inf
        self.gone = False

    async def send(self, frame: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._writing_since = loop.time()
        await self._response.write(frame)
        self._writing_since = math.inf

    async def watch(self, sending: asyncio.Task[None]) -> None:
        """End `sending` once nobody reads; a comment now and then keeps proxies from cutting a quiet stream."""
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + HEARTBEAT_SECONDS
        while self._there(loop.time()):
            await asyncio.sleep(LOOK_SECONDS)
            if loop.time() >= beat_at and self._writing_since == math.inf:
                beat_at = loop.time() + HEARTBEAT_SECONDS
                with suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(STALL_SECONDS):
                        await self.send(b": quiet\n\n")
        self.gone = True
        sending.cancel()

    def _there(self, now: float) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        if now - self._writing_since > STALL_SECONDS:
            transport.abort()
            return False
        return True


def _types(request: web.Request) -> list[str]:
    listed = ",".join(request.query.getall("type", []))
    return list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))[:MOST_TYPES]


def _number(text: str, name: str, *, least: int = 0) -> int | None:
    if text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS or int(text) < least:
        times = " or a time like 2026-01-31T12:00:00Z" if name in ("since", "until") else ""
        raise ValueError(f"{name} is {text!r}; a whole number of at least {least}{times} is needed")
    return int(text)


def _time(text: str, name: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None when the text is none."""
    if TIME.fullmatch(text) is None:
        return None
    zone = f"+{text[-5:]}" if text[-6] == " " else text[-6:] if text[-6] in "+-" else "Z"
    try:
        return datetime.fromisoformat(text.upper()[: -len(zone)] + zone.upper()).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} is {text!r}: {error}") from None


def _refused(message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=400)
