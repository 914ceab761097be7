"""The tools of an agent: those of its MCP servers, discovered when needed and called by name.

A listing is kept for a few seconds for the loop's sake, an empty or failed one never; a server that does not answer
keeps its last known tools, so that a call says what is wrong instead of "unknown tool". Every failure says whether
the call can have taken effect.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

FRESH_SECONDS = 10.0


class ToolError(Exception):
    """A tool call failed; `uncertain` when it may have taken effect nevertheless."""

    def __init__(self, message: str, *, uncertain: bool = False) -> None:
        super().__init__(message)
        self.uncertain = uncertain


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    repeatable: bool = False
    """It says of itself that it is read-only or idempotent."""
    server: str = ""
    remote_name: str = ""


class Server(Protocol):
    """One source of tools."""

    name: str

    async def list_tools(self) -> list[Tool]: ...

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """The result's text; raises ToolError."""
        ...


class ToolBox:
    def __init__(self, servers: Sequence[Server]) -> None:
        self._servers = {server.name: server for server in servers}
        self._known: dict[str, list[Tool]] = {}
        self._listed_at: dict[str, float] = {}
        self._all: list[Tool] = []
        self.problems: dict[str, str] = {}
        """Servers that did not list their tools when last asked, and why."""

    async def all(self, *, live: bool = False) -> list[Tool]:
        """All tools; `live` asks every server now."""
        now = time.monotonic()
        stale = [name for name in self._servers if live or now - self._listed_at.get(name, -1e9) > FRESH_SECONDS]
        if stale:
            await asyncio.gather(*(self._refresh(name) for name in stale))
            self._all = self._named()
        return self._all

    async def find(self, name: str) -> Tool | None:
        """The tool of this name; servers are asked again before it is said not to exist."""
        for live in (False, True):
            for tool in await self.all(live=live):
                if tool.name == name:
                    return tool
        return None

    async def call(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        return await self._servers[tool.server].call(tool.remote_name or tool.name, arguments)

    async def _refresh(self, name: str) -> None:
        try:
            tools = await self._servers[name].list_tools()
        except ToolError as error:
            self.problems[name] = str(error)
            return
        self.problems.pop(name, None)
        self._known[name] = tools
        if tools:
            self._listed_at[name] = time.monotonic()

    def _named(self) -> list[Tool]:
        """Tools under names of their own: a name that an earlier server has taken gets its server's in front."""
        taken: dict[str, Tool] = {}
        for server in self._servers:
            for tool in self._known.get(server, ()):
                name = tool.name if tool.name not in taken else f"{server}_{tool.name}".replace("-", "_")
                own = Tool(name, tool.description, tool.schema, tool.repeatable, server, tool.name)
                taken.setdefault(name, own)
        return list(taken.values())
