"""The server's process: tools on the official SDK's server, streamable HTTP at `/mcp`, stateless, JSON replies.

The shell's checks stand before it as ASGI middleware, with `/health` and `/ready`. Tools that are plain functions run
in worker threads, so a slow one holds nothing up. Values of the server's own Secrets do not leave it in answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import json
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kaos_ext.model import podenv
from kaos_ext.model.errors import KaosError
from kaos_ext.runtime.guard import Caller, Guard
from kaos_ext.runtime.mcp.source import SourceError, SourceTool, tools_of
from kaos_ext.runtime.peers import peer_uid
from kaos_ext.runtime.secrets import Redactor, values_from_secrets

GRACE_SECONDS = 20
MCP_PATH = "/mcp"
log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Checked:
    """The service shell's checks, health and readiness before an ASGI application."""

    def __init__(self, app: App, guard: Guard, name: str, redactor: Redactor | None = None) -> None:
        self._app, self._guard, self._name = app, guard, name
        self._redactor = redactor
        self.ready = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._guard.refuse(_caller(scope))
        now = datetime.now(UTC).isoformat()
        if refusal is not None:
            await _answer(send, refusal.status, {"error": {"message": refusal.message}})
        elif scope["path"] == "/health":
            await _answer(send, 200, {"status": "healthy", "name": self._name, "timestamp": now})
        elif scope["path"] == "/ready":
            status = "ready" if self.ready else "stopping"
            await _answer(send, 200 if self.ready else 503, {"status": status, "name": self._name, "timestamp": now})
        elif scope["path"] == MCP_PATH and scope["method"] == "GET":
            # A stateless server has nothing to stream on its own; the SDK would hold the request open for ever.
            # 405 is what a client of MCP expects then, 406 what whoever probes the address does.
            streams = b"text/event-stream" in dict(scope["headers"]).get(b"accept", b"")
            message = "this server is stateless: POST a JSON-RPC request"
            await _answer(send, 405 if streams else 406, {"error": {"message": message}})
        else:
            await self._app(scope, receive, _redacted(send, self._redactor) if self._redactor else send)


def _redacted(send: Send, redactor: Redactor) -> Send:
    """Replies are JSON in one piece; what they say of their length is made right."""
    start: MutableMapping[str, Any] = {}
    parts: list[bytes] = []

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        parts.append(message.get("body", b""))
        if message.get("more_body"):
            return
        body = redactor.text(b"".join(parts).decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        headers = [(key, value) for key, value in start["headers"] if key.lower() != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
        await send({**message, "body": body})

    return sent


def build(name: str, tools: Sequence[SourceTool], guard: Guard, redactor: Redactor | None = None) -> Checked:
    """The ASGI application that serves these tools."""
    # A start is mostly the creation of classes; collecting garbage meanwhile finds none.
    gc.disable()
    # Looking for plugins of pydantic means reading the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from mcp.server import MCPServer
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp.types import ToolAnnotations

    server = MCPServer(name, log_level="WARNING")
    for tool in tools:
        hints = ToolAnnotations(read_only_hint=tool.read_only, idempotent_hint=tool.idempotent or tool.read_only)
        declared = hints if tool.read_only or tool.idempotent else None
        try:
            server.add_tool(_telling(tool.function), name=tool.name, annotations=declared)
        except Exception as error:
            hint = "parameters and results need types that JSON can carry"
            raise SourceError(f"function {tool.name}: {error.__cause__ or error}", hint=hint) from error
    # The guard checks Host and Origin itself, and knows the names of a cluster.
    open_to_guard = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(stateless_http=True, json_response=True, transport_security=open_to_guard)
    gc.enable()
    gc.freeze()
    return Checked(app, guard, name, redactor)


def _telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its errors told to the caller: the tool and who calls it have one owner, and a model can
    only do better next time if it learns what was wrong. The SDK by itself says no more than that there was an error.
    """
    from mcp.server.mcpserver.exceptions import MCPServerError, ToolError
    from mcp.shared.exceptions import MCPError

    @contextlib.contextmanager
    def told() -> Iterator[None]:
        try:
            yield
        except (MCPServerError, MCPError):
            raise
        except Exception as error:
            log.warning("a tool failed", exc_info=error)
            raise ToolError(f"{type(error).__name__}: {error}") from error

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*args: Any, **named: Any) -> Any:
            with told():
                return await function(*args, **named)

        return later

    @functools.wraps(function)
    def now(*args: Any, **named: Any) -> Any:
        with told():
            return function(*args, **named)

    return now


async def run(app: Checked, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished."""
    import uvicorn

    config = uvicorn.Config(
        app,
        proxy_headers=False,  # Nobody may say of himself where he comes from.
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn would raise the signal again after a clean stop, and the exit status would tell of a kill.
    server.capture_signals = contextlib.nullcontext
    listener = _listener(host, port)
    bound = listener.getsockname()

    def stop() -> None:
        app.ready = False
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("mcp listens on http://%s:%s", bound[0], bound[1])
    await server.serve(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends small packets at once only for sockets that say they are TCP:
    # otherwise every reply waits some 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise KaosError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    listener.listen(1024)
    return listener


def serve(env: Mapping[str, str]) -> int:
    """Run the server that the environment describes; returns the exit status."""
    from kaos_ext.runtime.shell_process import set_up_process

    source = env.get(podenv.MCP_TOOLS_STRING, "")
    if not source.strip():
        raise KaosError(f"{podenv.MCP_TOOLS_STRING} is empty", hint="it holds the Python source of the tools")
    name = env.get("MCP_SERVER_NAME") or "python-string"
    set_up_process("mcp", name, env)
    logging.getLogger("mcp").setLevel(max(logging.WARNING, logging.getLogger().level))
    redactor = Redactor(values_from_secrets(env))
    app = build(name, tools_of(source), Guard.from_env(env), redactor)
    asyncio.run(run(app, env.get(podenv.HOST) or "127.0.0.1", int(env.get(podenv.PORT) or 8000)))
    return 0


def _caller(scope: Scope) -> Caller:
    headers: dict[bytes, str] = {}
    for key, value in scope["headers"]:
        headers.setdefault(key.lower(), value.decode("latin-1"))
    peer, own = scope.get("client"), scope.get("server")
    return Caller(
        path=scope["path"],
        host=headers.get(b"host", ""),
        origin=headers.get(b"origin", ""),
        authorization=headers.get(b"authorization", "") or headers.get(b"x-agent-authorization", ""),
        peer=peer[0] if peer else "",
        uid=lambda: peer_uid((peer[0], peer[1]), (own[0], own[1])) if peer and own else None,
    )


async def _answer(send: Send, status: int, body: Mapping[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")] + ([(b"allow", b"POST")] if status == 405 else [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
