"""The service shell every aiohttp runtime lives in: checks, health, readiness, errors, graceful stop.

    shell = Shell("agent", name, env)
    shell.app.router.add_get(...)            # the runtime's own surface
    shell.run(main)                          # main(shell) sets up, then `await shell.serve()`

`/health` says that the process answers, `/ready` that it does its work (`shell.not_ready` holds the reason while it
does not). SIGTERM and SIGINT set `shell.stopping`: readiness goes, endless responses end, requests under way get
`GRACE_SECONDS`, then the process ends with status 0. Log lines go to stderr.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import weakref
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web

from kaos_ext.model import podenv
from kaos_ext.model.errors import KaosError
from kaos_ext.runtime.guard import Caller, Guard
from kaos_ext.runtime.peers import peer_uid

GRACE_SECONDS = 12.0
"""Spent at most twice on the way down, runs first and then requests: together less than a pod's usual 30 s."""
BODY_BYTES = 16 * 1024 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


class Shell:
    def __init__(self, kind: str, name: str, env: Mapping[str, str], *, port: int | None = None) -> None:
        self.kind, self.name = kind, name
        self.host = env.get(podenv.HOST) or "127.0.0.1"
        self.port = port if port is not None else int(env.get(podenv.PORT) or 8000)
        self.guard = Guard.from_env(env)
        self.stopping = asyncio.Event()
        self.not_ready = "starting"
        self.app = web.Application(middlewares=[self._checked], client_max_size=BODY_BYTES)
        self.app.router.add_get("/health", self._health)
        self.app.router.add_get("/ready", self._ready)
        self._streams: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._uids: weakref.WeakKeyDictionary[asyncio.BaseTransport, int | None] = weakref.WeakKeyDictionary()

    async def listen(self) -> None:
        """Bind and answer; a port of 0 becomes the port the kernel gave."""
        self._runner = web.AppRunner(self.app, access_log=None, handle_signals=False, shutdown_timeout=GRACE_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise KaosError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from error
        self.port = int(self._runner.addresses[0][1])
        log.info("%s %s listens on http://%s:%s", self.kind, self.name, self.host, self.port)

    def ready(self) -> None:
        self.not_ready = ""

    async def close(self) -> None:
        """End open streams, let other requests finish, give the port back."""
        self.not_ready = "stopping"
        self.stopping.set()
        for stream in tuple(self._streams):
            stream.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def stream(self, body: Awaitable[None]) -> None:
        """Run an endless response; it is cut when the shell closes, without holding the stop up."""
        task = asyncio.ensure_future(body)
        self._streams.add(task)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            if not self.stopping.is_set():
                raise
        finally:
            self._streams.discard(task)

    def run(self, main: Callable[[Shell], Awaitable[None]]) -> int:
        """Run `main` until it returns; it should when `stopping` is set. Returns the process's exit status."""
        return asyncio.run(self._run(main))

    async def _run(self, main: Callable[[Shell], Awaitable[None]]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        try:
            await main(self)
        except KaosError as error:
            print(f"{self.kind} {self.name}: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
            return error.exit_status
        finally:
            await self.close()
        return 0

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = self.guard.refuse(self._caller(request))
        if refusal is not None:
            return web.json_response({"error": {"message": refusal.message}}, status=refusal.status)
        try:
            return await handler(request)
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return web.json_response({"error": {"message": "internal error; the log has the details"}}, status=500)

    def _caller(self, request: web.Request) -> Caller:
        transport = request.transport
        peer = transport.get_extra_info("peername") if transport else None

        def uid() -> int | None:
            # One look at the kernel's table for each connection: it costs more than a request.
            if transport is None or peer is None:
                return None
            if transport not in self._uids:
                own = transport.get_extra_info("sockname")
                self._uids[transport] = peer_uid((peer[0], peer[1]), (own[0], own[1]))
            return self._uids[transport]

        headers = request.headers
        return Caller(
            path=request.path,
            host=headers.get("Host", ""),
            origin=headers.get("Origin", ""),
            authorization=headers.get("Authorization", "") or headers.get("X-Agent-Authorization", ""),
            peer=str(peer[0]) if peer else "",
            uid=uid,
        )

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "name": self.name, "timestamp": _now()})

    async def _ready(self, request: web.Request) -> web.Response:
        if self.not_ready:
            body = {"status": "not ready", "name": self.name, "timestamp": _now(), "reason": self.not_ready}
            return web.json_response(body, status=503)
        return web.json_response({"status": "ready", "name": self.name, "timestamp": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat()
