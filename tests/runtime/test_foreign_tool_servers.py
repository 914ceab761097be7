"""Tool servers of other eras and in trouble, as an agent's client meets them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kaos_ext.runtime.agent.mcp import McpServer
from kaos_ext.runtime.agent.tools import ToolBox, ToolError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[McpServer]:
    app = web.Application()
    app.router.add_route("*", "/mcp", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = McpServer("s", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield server
    finally:
        await server.close()
        await runner.cleanup()


class HandshakeServer:
    """A server of the 2025-06-18 revision with sessions: it refuses whatever comes before `initialize`."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405)
        body = await request.json()
        method = body["method"]
        self.methods.append(method)
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "old", "version": "1"},
            }
            return self._reply(body, result, {"Mcp-Session-Id": "abc"})
        if request.headers.get("Mcp-Session-Id") != "abc":
            error = {"code": -32000, "message": "Bad Request: no valid session ID"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": error}, status=400)
        if "id" not in body:
            return web.Response(status=202)
        if method == "tools/list":
            return self._reply(body, {"tools": [{"name": "old", "inputSchema": {"type": "object"}}]}, {})
        return self._reply(body, {"content": [{"type": "text", "text": json.dumps(body["params"]["arguments"])}]}, {})

    def _reply(self, body: Any, result: Any, headers: dict[str, str]) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result}, headers=headers)


async def test_a_server_of_the_handshake_era_is_spoken_to_by_the_official_client_in_one_session() -> None:
    old = HandshakeServer()
    async with serving(old.handle) as server:
        assert [tool.name for tool in await server.list_tools()] == ["old"]
        assert await server.call("old", {"x": 1}) == '{"x": 1}'
        assert await server.call("old", {"x": 2}) == '{"x": 2}'
    assert old.methods.count("initialize") == 1 and old.methods.count("tools/call") == 2


async def test_a_reply_may_come_as_an_event_stream_and_in_pages() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        cursor = body["params"].get("cursor")
        assert request.headers["MCP-Protocol-Version"] == "2026-07-28" and request.headers["MCP-Method"] == "tools/list"
        result = {"tools": [{"name": "b" if cursor else "a"}], "nextCursor": None if cursor else "more"}
        text = f"event: message\ndata: {json.dumps({'jsonrpc': '2.0', 'id': body['id'], 'result': result})}\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async with serving(handle) as server:
        assert [tool.name for tool in await server.list_tools()] == ["a", "b"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "image", "mimeType": "a/b"}]}, "a\n[image a/b]"),
        ({"content": [], "structuredContent": {"x": 1}}, '{"x": 1}'),
    ],
)  # fmt: skip
async def test_results_become_text(result: dict[str, Any], text: str) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": result})

    async with serving(handle) as server:
        assert await server.call("t", {}) == text


async def test_errors_say_whether_the_call_can_have_taken_effect() -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        error = {"code": -32602, "message": "Unknown tool: t"}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "error": error}, status=400)

    async def fail(request: web.Request) -> web.StreamResponse:
        result = {"isError": True, "content": [{"type": "text", "text": "no paper"}]}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": result})

    async def break_off(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def crash(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    for handler, words, uncertain in (
        (refuse, "Unknown tool", False),
        (fail, "no paper", False),
        (break_off, "closed the connection", True),
        (crash, "HTTP 500", True),
    ):
        async with serving(handler) as server:
            with pytest.raises(ToolError, match=words) as raised:
                await server.call("t", {})
            assert raised.value.uncertain is uncertain, words


async def test_a_server_that_is_not_there_was_certainly_not_called() -> None:
    server = McpServer("gone", "http://127.0.0.1:9")
    with pytest.raises(ToolError, match="gone does not answer") as raised:
        await server.call("t", {})
    assert raised.value.uncertain is False


async def test_tools_of_one_name_on_two_servers_both_have_one() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "look"}]}})

    async with serving(handle) as one, serving(handle) as two:
        one.name, two.name = "left", "right-hand"
        box = ToolBox([one, two])
        assert [(tool.name, tool.server) for tool in await box.all()] == [
            ("look", "left"),
            ("right_hand_look", "right-hand"),
        ]
        found = await box.find("right_hand_look")
        assert found is not None and found.remote_name == "look"
        assert await box.find("nothing") is None
