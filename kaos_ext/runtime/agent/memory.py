"""Memory over HTTP: pages of events, sessions, and the event stream.

`/memory/events` answers as KAOS does (its types, the newest `limit`) and pages with `since`, `until`, `type`, `order`
and `session_id`. `/memory/events/stream` sends every event as it happens; a client that reconnects with `Last-Event-ID`
misses nothing and gets nothing twice.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from kaos_ext.model.events import Event
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.shell import Shell

DEFAULT_LIMIT, MOST = 100, 1000
HEARTBEAT_SECONDS = 15.0


class Memory:
    def __init__(self, shell: Shell, journal: Journal, *, enabled: bool) -> None:
        self._shell = shell
        self._journal = journal
        self._enabled = enabled

    async def events(self, request: web.Request) -> web.Response:
        query = request.query
        order = query.get("order", "asc")
        if order not in ("asc", "desc"):
            return _refused(f"order is {order!r}; it may be asc or desc")
        try:
            limit = _number(query.get("limit"), "limit") or DEFAULT_LIMIT
            since, until = _number(query.get("since"), "since"), _number(query.get("until"), "until")
        except ValueError as error:
            return _refused(str(error))
        events: list[Event] = []
        if self._enabled:
            events = self._journal.page(
                limit=min(limit, MOST),
                session=query.get("session_id", ""),
                types=_types(request),
                since=since,
                until=until,
                descending=order == "desc",
            )
        listed = [event.to_json() for event in events]
        return web.json_response({"agent": self._shell.name, "events": listed, "total": len(listed)})

    async def sessions(self, request: web.Request) -> web.Response:
        sessions = self._journal.sessions if self._enabled else []
        return web.json_response({"agent": self._shell.name, "sessions": sessions, "total": len(sessions)})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        try:
            since = _number(request.headers.get("Last-Event-ID") or request.query.get("since"), "since")
        except ValueError as error:
            return _refused(str(error))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        await response.write(b": events\n\n")
        after = self._journal.last if since is None else since
        await self._shell.stream(self._pump(response, after, _types(request), request.query.get("session_id", "")))
        return response

    async def _pump(self, response: web.StreamResponse, after: int, types: list[str], session: str) -> None:
        beat = asyncio.create_task(_heartbeat(response))
        try:
            async for event in self._journal.follow(after, types, session):
                data = json.dumps(event.to_json(), ensure_ascii=False)
                await response.write(f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode())
        except ConnectionError:
            pass  # The reader went away.
        finally:
            beat.cancel()


async def _heartbeat(response: web.StreamResponse) -> None:
    """A comment now and then keeps proxies from cutting a quiet stream."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await response.write(b": quiet\n\n")
        except ConnectionError:
            return


def _types(request: web.Request) -> list[str]:
    listed = ",".join(request.query.getall("type", []))
    return [name.strip() for name in listed.split(",") if name.strip()]


def _number(text: str | None, name: str) -> int | None:
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} is {text!r}; a whole number of at least 0 is needed")
    return int(text)


def _refused(message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=400)
