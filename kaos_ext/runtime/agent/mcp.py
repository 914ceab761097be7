"""MCP servers as sources of tools.

A server of the 2026-07-28 revision is stateless: one POST is one request, so the common path is a direct call over the
agent's HTTP client. One that refuses that revision is spoken to through the official SDK's client, imported then, with
one session that is kept open.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

from yarl import URL

from kaos_ext import __version__
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.jsontext import decoded, sendable
from kaos_ext.runtime.agent.tools import Tool, ToolError
from kaos_ext.runtime.agent.wire import BrokenOff, TooLate, Wire

REVISION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": {"name": "kaos-agent", "version": __version__},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": REVISION}
LIST_SECONDS = 5.0
CALL_SECONDS = 300.0
METHOD_NOT_FOUND, INVALID_PARAMS, UNSUPPORTED_VERSION = -32601, -32602, -32022


class _Legacy(Exception):
    """The server does not speak the stateless revision."""


class McpServer:
    """One MCP server by its base URL (`/mcp` is added)."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url if url.endswith("/mcp") else f"{url}/mcp"
        self._at = URL(self._url)
        self._wire = Wire()
        self._ids = itertools.count(1)
        self._sdk: SdkSession | None = None
        self._direct_works = False

    async def list_tools(self) -> list[Tool]:
        tools: list[Tool] = []
        cursor: str | None = None
        while True:
            result = await self._request("tools/list", {"cursor": cursor} if cursor else {}, seconds=LIST_SECONDS)
            tools += [_tool(item) for item in result.get("tools") or ()]
            cursor = result.get("nextCursor")
            if not cursor:
                return tools

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        params = {"name": tool, "arguments": dict(arguments)}
        result = await self._request("tools/call", params, seconds=CALL_SECONDS, named=tool)
        if result.get("resultType", "complete") != "complete":
            raise ToolError(f"{tool} asks for input, which this agent cannot give")
        text = _text(result)
        if result.get("isError"):
            raise ToolError(text or "the tool reports an error")
        return text

    async def close(self) -> None:
        self._wire.close()
        if self._sdk is not None:
            await self._sdk.close()

    async def _request(self, method: str, params: dict[str, Any], *, seconds: float, named: str = "") -> dict[str, Any]:
        if self._sdk is None:
            try:
                return await self._direct(method, params, seconds, named)
            except _Legacy:
                self._sdk = SdkSession(self.name, self._url)
        return await self._sdk.request(method, params, seconds)

    async def _direct(self, method: str, params: dict[str, Any], seconds: float, named: str) -> dict[str, Any]:
        traced = trace.headers()
        meta = {**META, **traced}
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": {**params, "_meta": meta}}
        headers = {**HEADERS, "MCP-Method": method, **traced}
        if named:
            headers["MCP-Name"] = named
        try:
            answered = await self._wire.post(self._at, sendable(body), headers, seconds=seconds)
        except TooLate as error:
            raise ToolError(f"MCP server {self.name} took longer than {seconds:g} s", uncertain=True) from error
        except BrokenOff as error:
            what = "broke off its answer" if error.began else "did not answer"
            raise ToolError(f"MCP server {self.name} {what}: {error}", uncertain=True) from error
        except OSError as error:
            raise ToolError(f"MCP server {self.name} does not answer: {error}") from error
        return self._result(answered.status, _reply(answered.body))

    def _result(self, status: int, reply: dict[str, Any] | None) -> dict[str, Any]:
        error = (reply or {}).get("error")
        if isinstance(error, dict) and "code" in error:
            # Before `initialize` a server of the handshake era refuses in one of several ways, never by these two.
            refused = status in (400, 404, 406) and error["code"] not in (METHOD_NOT_FOUND, INVALID_PARAMS)
            if not self._direct_works and (refused or error["code"] == UNSUPPORTED_VERSION):
                raise _Legacy
            raise ToolError(str(error.get("message") or "refused"))
        if status in (400, 404, 405, 406) and not self._direct_works:
            raise _Legacy
        if status != 200 or reply is None or not isinstance(reply.get("result"), dict):
            raise ToolError(f"MCP server {self.name} answered HTTP {status}", uncertain=status >= 500 or status == 200)
        self._direct_works = True
        return dict(reply["result"])


class SdkSession:
    """One session of the official client, owned by a task of its own: it is entered and left in the same one."""

    def __init__(self, name: str, url: str) -> None:
        self._name, self._url = name, url
        self._client: asyncio.Future[Any] | None = None
        self._closing = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    async def request(self, method: str, params: dict[str, Any], seconds: float) -> dict[str, Any]:
        client = await self._connected(seconds)
        try:
            async with asyncio.timeout(seconds):
                if method == "tools/list":
                    result = await client.list_tools(cursor=params.get("cursor"))
                else:
                    # The session's requests are made by another task: its headers know no trace, the request can.
                    result = await client.call_tool(params["name"], params["arguments"], meta=trace.headers() or None)
        except TimeoutError as error:
            raise ToolError(f"MCP server {self._name} took longer than {seconds:g} s", uncertain=True) from error
        except Exception as error:
            from mcp import MCPError

            if isinstance(error, MCPError):
                raise ToolError(str(error)) from error
            await self.close()
            raise ToolError(f"MCP server {self._name}: {error}", uncertain=True) from error
        dumped: dict[str, Any] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return dumped

    async def _connected(self, seconds: float) -> Any:
        if self._owner is None or self._owner.done():
            self._closing = asyncio.Event()
            self._client = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(self._own(self._client, self._closing))
        assert self._client is not None
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._client)
        except Exception as error:
            raise ToolError(f"MCP server {self._name} does not answer: {error or type(error).__name__}") from error

    async def _own(self, client: asyncio.Future[Any], closing: asyncio.Event) -> None:
        from mcp import Client

        try:
            async with Client(self._url, mode="legacy") as connected:
                client.set_result(connected)
                await closing.wait()
        except Exception as error:
            if not client.done():
                client.set_exception(error)

    async def close(self) -> None:
        self._closing.set()
        if self._owner is not None:
            await asyncio.wait([self._owner], timeout=2)


def _tool(item: Mapping[str, Any]) -> Tool:
    hints = item.get("annotations") or {}
    return Tool(
        name=str(item["name"]),
        description=str(item.get("description") or ""),
        schema=item.get("inputSchema") or {"type": "object", "properties": {}},
        repeatable=bool(hints.get("readOnlyHint") or hints.get("idempotentHint")),
    )


def _text(result: Mapping[str, Any]) -> str:
    parts = []
    for block in result.get("content") or ():
        if block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        else:
            parts.append(f"[{block.get('type')} {block.get('mimeType') or block.get('uri') or ''}]".replace(" ]", "]"))
    if not parts and result.get("structuredContent") is not None:
        return json.dumps(result["structuredContent"], ensure_ascii=False)
    return "\n".join(parts)


def _reply(body: bytes) -> dict[str, Any] | None:
    """The JSON-RPC reply in a body that is JSON or server-sent events; None when there is none."""
    lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")] or [body]
    for line in reversed(lines):
        try:
            value = decoded(line)
        except ValueError:
            continue
        if isinstance(value, dict) and ("result" in value or "error" in value):
            return value
    return None
