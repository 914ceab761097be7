"""The names of the tools an MCP server offers, asked once it is ready.

A server of the 2026-07-28 revision answers one stateless call; older ones want a handshake first. A reply is JSON or
one server-sent event.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from kaos_ext.model import names

MODERN, LEGACY = "2026-07-28", "2025-06-18"
CLIENT = {"name": names.OPERATOR, "version": names.VERSION}
PAGES = 50


class ToolsError(Exception):
    """The server did not list its tools; the text says what it did."""


class Answer(Protocol):
    """An HTTP response."""

    status: int
    headers: Any

    async def read(self) -> bytes: ...


class Services(Protocol):
    """Whoever can send a request to a Service."""

    async def service_request(
        self,
        method: str,
        service: str,
        port: int | str,
        path: str = "/",
        *,
        namespace: str | None = None,
        headers: Any = None,
        body: Any = None,
        timeout: float | None = 60.0,  # noqa: ASYNC109 - as the client has it
    ) -> Answer: ...


async def list_tools(services: Services, service: str, namespace: str, port: int = names.HTTP_PORT) -> list[str]:
    """Sorted names."""
    server = _Server(services, service, namespace, port)
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    status, answer = await server.ask("tools/list", {"_meta": meta}, version=MODERN)
    if status >= 400 or "result" not in answer:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        status, answer = await server.ask("initialize", hello)
        if status >= 400 or "result" not in answer:
            raise ToolsError(_refusal(status, answer))
        version = str(answer["result"].get("protocolVersion") or LEGACY)
        await server.tell("notifications/initialized", version=version)
        meta = {}
        status, answer = await server.ask("tools/list", {}, version=version)
    else:
        version = MODERN
    found: list[str] = []
    for _ in range(PAGES):
        if status >= 400 or "result" not in answer:
            raise ToolsError(_refusal(status, answer))
        found += [str(tool["name"]) for tool in answer["result"].get("tools") or []]
        cursor = answer["result"].get("nextCursor")
        if not cursor:
            break
        params = {"cursor": cursor, **({"_meta": meta} if meta else {})}
        status, answer = await server.ask("tools/list", params, version=version)
    return sorted(found)


class _Server:
    def __init__(self, services: Services, service: str, namespace: str, port: int) -> None:
        self._services, self._service, self._namespace, self._port = services, service, namespace, port
        self._session = ""
        self._id = 0

    async def ask(self, method: str, params: dict[str, Any], version: str = "") -> tuple[int, dict[str, Any]]:
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        response = await self._send(message, version)
        text = (await response.read()).decode("utf-8", "replace")
        self._session = response.headers.get("Mcp-Session-Id") or self._session
        return response.status, _message(text)

    async def tell(self, method: str, version: str) -> None:
        response = await self._send({"jsonrpc": "2.0", "method": method}, version)
        await response.read()

    async def _send(self, message: dict[str, Any], version: str) -> Answer:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if version:
            headers["MCP-Protocol-Version"] = version
        if version == MODERN:
            headers["Mcp-Method"] = message["method"]
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        return await self._services.service_request(
            "POST",
            self._service,
            self._port,
            "/mcp",
            namespace=self._namespace,
            headers=headers,
            body=message,
            timeout=10.0,
        )


def _message(text: str) -> dict[str, Any]:
    """The JSON-RPC answer in a body; empty when there is none."""
    stripped = text.strip()
    candidates = [stripped] if stripped.startswith("{") else []
    candidates += [line[5:].strip() for line in stripped.splitlines() if line.startswith("data:")]
    for candidate in candidates:
        try:
            message = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(message, dict) and ("result" in message or "error" in message):
            return message
    return {}


def _refusal(status: int, answer: dict[str, Any]) -> str:
    error = answer.get("error")
    said = error.get("message") if isinstance(error, dict) else None
    return f"HTTP {status}" + (f": {said}" if said else "")
