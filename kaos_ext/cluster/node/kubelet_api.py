"""The node's own HTTP API, which the API server asks for logs (and nobody without the node's token).

GET /containerLogs/<namespace>/<pod>/<container>?follow&tailLines&sinceSeconds&sinceTime&timestamps&previous&limitBytes
GET /healthz
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kaos_ext.cluster.node.container import ContainerRunner
from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.logs import LogOptions, LogReader
from kaos_ext.cluster.node.pod_status import Waiting
from kaos_ext.cluster.node.pod_worker import PodWorker
from kaos_ext.model.errors import KaosError

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware

_POLL_SECONDS = 0.05


class KubeletApi:
    def __init__(self, node: NodeContext, find: Callable[[str, str], PodWorker | None]) -> None:
        self._server = node.config.kubelet
        self._node = node
        self._find = find
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        from aiohttp import web

        context: ssl.SSLContext | None = None
        if self._server.certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._server.certificate, self._server.key)
        app = web.Application(middlewares=[self._guard()])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._server.host, self._server.port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            raise KaosError(f"the node cannot listen on {self._server.host}:{self._server.port}: {error}") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _guard(self) -> Middleware:
        from aiohttp import web

        expected = f"Bearer {self._server.token}".encode()

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode()
            if not self._server.token or not hmac.compare_digest(given, expected):
                return web.Response(status=401, text="Unauthorized")
            return await handler(request)

        return guard

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        return web.Response(text="ok")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        info, query = request.match_info, request.query
        namespace, pod, container = info["namespace"], info["pod"], info["container"]
        worker = self._find(namespace, pod)
        if worker is None:
            return web.Response(status=404, text=f'pod "{pod}" not found in namespace "{namespace}"')
        state = next((each for each in worker.containers if each.name == container), None)
        if state is None:
            return web.Response(status=400, text=f"container {container} is not valid for pod {pod}")
        try:
            options = log_options(query)
        except ValueError as error:
            return web.Response(status=400, text=f"invalid log options: {error}")
        folder = self._node.log_folder(worker.pod) / container
        runner = next(each for each in worker.runners if each.name == container)
        path = log_of(folder, runner, previous=_flag(query.get("previous")))
        if path is None and _flag(query.get("previous")):
            text = f'previous terminated container "{container}" in pod "{pod}" not found'
            return web.Response(status=400, text=text)
        if path is None:
            reason = state.state.reason if isinstance(state.state, Waiting) else "ContainerCreating"
            text = f'container "{container}" in pod "{pod}" is waiting to start: {reason}'
            return web.Response(status=400, text=text)
        return await self._stream(request, worker, container, path, options)

    async def _stream(
        self, request: web.Request, worker: PodWorker, container: str, path: Path, options: LogOptions
    ) -> web.StreamResponse:
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        reader = LogReader(path, options)
        live = _live(worker, container)
        follow = options.follow and live is not None and path.stem == str(_attempt(worker, container))
        while True:
            over = not follow or _live(worker, container) != live
            data = await asyncio.to_thread(reader.read)
            if data:
                await response.write(data)
            if over or reader.finished:
                break
            await asyncio.sleep(_POLL_SECONDS)
        await response.write_eof()
        return response


def log_of(folder: Path, runner: ContainerRunner, *, previous: bool) -> Path | None:
    """The log asked for. Between two attempts the one that ended last is both the current and the previous."""
    attempts = sorted(int(path.stem) for path in folder.glob("*.log"))
    if isinstance(runner.state.state, Waiting):
        wanted = runner.ended_attempt if runner.ended_attempt is not None else max(attempts, default=-1)
        if previous and runner.state.last is None:
            return None
    else:
        wanted = runner.state.restarts - 1 if previous else runner.state.restarts
    return folder / f"{wanted}.log" if wanted in attempts else None


def _live(worker: PodWorker, container: str) -> str | None:
    """The id of the container's running process."""
    record = next((each.record for each in worker.runners if each.name == container), None)
    return record.id if record is not None else None


def _attempt(worker: PodWorker, container: str) -> int:
    return next(each.state.restarts for each in worker.runners if each.name == container)


def _flag(text: str | None) -> bool:
    return text is not None and text.lower() not in ("false", "0")


def log_options(query: object) -> LogOptions:
    """The API's query parameters."""
    values: dict[str, str] = dict(query)  # type: ignore[call-overload]
    since: datetime | None = None
    if text := values.get("sinceSeconds"):
        since = datetime.now(UTC) - timedelta(seconds=int(text))
    elif text := values.get("sinceTime"):
        since = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return LogOptions(
        follow=_flag(values.get("follow")),
        tail_lines=_count(values.get("tailLines")),
        since=since,
        timestamps=_flag(values.get("timestamps")),
        limit_bytes=_count(values.get("limitBytes")),
    )


def _count(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    number = int(text)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number
