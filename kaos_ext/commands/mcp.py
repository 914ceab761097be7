"""`kaos mcp …`: tool servers. `invoke` speaks MCP over streamable HTTP, the part of it that two calls need."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaos_ext import __version__
from kaos_ext.commands import common
from kaos_ext.commands.calling import Caller
from kaos_ext.commands.grammar import closest
from kaos_ext.commands.kinds import MCPSERVER
from kaos_ext.commands.result import Answer, Plain, Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.system import registered
from kaos_ext.kube.lines import ServerEvents
from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError, UnknownNameError, UsageError
from kaos_ext.views import Table

PYTHON, CUSTOM = "python-string", "custom"
PROTOCOL = "2025-06-18"


def spec_of(runtime: str | None, params: str | None, image: str | None, sa: str | None, env: Sequence[str]) -> Object:
    """An MCPServer's spec; an image alone means runtime custom, source alone python-string."""
    chosen = runtime or (CUSTOM if image else PYTHON if params else None)
    if chosen is None:
        raise UsageError("`kaos mcp deploy` needs --runtime", hint="--runtime python-string; kaos system runtimes")
    if chosen == CUSTOM and not image:
        raise UsageError("runtime custom needs --image", hint="--runtime custom --image IMAGE")
    container = common.without_empty({"image": image, "env": common.environment(env)})
    return common.without_empty({"runtime": chosen, "params": params, "serviceAccountName": sa, "container": container})


async def deploy(
    session: Session,
    *,
    name: str,
    runtime: str | None,
    params: str | None,
    params_file: str | None,
    image: str | None,
    sa: str | None,
    env: Sequence[str],
    wait: bool,
    wait_timeout: float,
    dry_run: bool,
) -> Result:
    if params_file is not None:
        if params is not None:
            raise UsageError("--params and --params-file exclude each other", hint="leave one out")
        params = read_text(params_file)
    item = common.manifest(MCPSERVER, name, spec_of(runtime, params, image, sa, env))
    if runtime not in (None, PYTHON, CUSTOM) and not dry_run:
        await _check_runtime(session, str(runtime))
    success = f"Deployed MCPServer '{name}' with runtime '{item['spec']['runtime']}'"
    return await common.deploy(session, MCPSERVER, item, success, wait=wait, wait_timeout=wait_timeout, dry_run=dry_run)


async def _check_runtime(session: Session, runtime: str) -> None:
    """Against the registry, where it can be seen; what it holds is its owner's business, so the operator judges."""
    kube = await session.kube()
    try:
        known = [*await registered(kube, names.SYSTEM_NAMESPACE), CUSTOM]
    except KaosError:
        return
    if runtime not in known:
        meant = closest(runtime, known)
        hint = f"did you mean `{meant}`?" if meant else f"there are: {', '.join(sorted(known))}"
        raise UnknownNameError(f"there is no MCP runtime `{runtime}`", hint=hint)


def read_text(file: str) -> str:
    """A file's text, or standard input for `-`."""
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{file} cannot be read: {why}", hint="check the path") from error


async def list_all(session: Session, *, output: str, all_namespaces: bool) -> Result:
    return await common.list_kind(session, MCPSERVER, output, all_namespaces)


async def get(session: Session, *, name: str, output: str) -> Result:
    return await common.get_one(session, MCPSERVER, name, output)


async def logs(session: Session, *, name: str, follow: bool, tail: int | None, previous: bool) -> Answer:
    return await common.logs_of(session, MCPSERVER, name, follow, tail, previous)


async def delete(session: Session, *, name: str, force: bool, wait: bool, wait_timeout: float) -> Result:
    return await common.delete_one(session, MCPSERVER, name, wait, wait_timeout)


async def invoke(
    session: Session,
    *,
    name: str,
    tool: str | None,
    args: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    arguments = _arguments(args)
    if arguments and tool is None:
        raise UsageError("--args needs --tool", hint="--tool NAME")
    conversation = Conversation(Caller(await session.kube(), MCPSERVER, name, timeout=timeout))
    await conversation.begin()
    tools = (await conversation.call("tools/list", {})).get("tools") or []
    if tool is None:
        rows = tuple((str(entry.get("name")), str(entry.get("description") or "").strip()) for entry in tools)
        return Result(Table(f"tools of {name}", ("name", "description"), rows, "it has no tools"), {"tools": tools})
    known = [str(entry.get("name")) for entry in tools]
    if tool not in known:
        meant = closest(tool, known)
        hint = f"did you mean `{meant}`?" if meant else f"there are: {', '.join(known)}"
        raise UnknownNameError(f"MCPServer {name} has no tool `{tool}`", hint=hint)
    result = await conversation.call("tools/call", {"name": tool, "arguments": arguments})
    text = "\n".join(str(part.get("text", json.dumps(part))) for part in result.get("content") or ())
    if result.get("isError"):
        raise KaosError(f"tool {tool} of {name} failed: {text}", hint=f"kaos mcp logs {name}")
    return Result(Plain(text), result)


def _arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--args is not JSON: {error}", hint="""--args '{"message": "hello"}'""") from None
    if not isinstance(value, dict):
        raise UsageError("--args is not a JSON object", hint="""--args '{"message": "hello"}'""")
    return value


class Conversation:
    """One MCP session: initialize, then calls; answers come as JSON or as a stream that holds one."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._headers = {"Accept": "application/json, text/event-stream"}
        self._last = 0

    async def begin(self) -> None:
        client = {"name": "kaos", "version": __version__}
        answer = await self.call("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        self._headers["MCP-Protocol-Version"] = str(answer.get("protocolVersion") or PROTOCOL)
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        message = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        for answer in await self._post(message):
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise KaosError(f"{method} was refused: {answer['error'].get('message')}", hint="kaos mcp logs")
                return dict(answer.get("result") or {})
        raise KaosError(f"{method} was not answered", hint="kaos mcp logs")

    async def _post(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        response = await self._caller.open(
            "POST", "/mcp", headers=self._headers, body=message, timeout=self._caller.timeout
        )
        conversation = next((v for key, v in response.headers.items() if key.lower() == "mcp-session-id"), None)
        if conversation:
            self._headers["Mcp-Session-Id"] = conversation
        text = await response.read()
        if "text/event-stream" in response.headers.get("Content-Type", ""):
            events = ServerEvents()
            return [json.loads(event.data) for event in events.feed(text + b"\n\n") if event.data]
        return [json.loads(text)] if text.strip() else []
