"""The agent's process: settings → journal → service → HTTP surface → resident loop, and the way back down."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from kaos_ext.model import podenv
from kaos_ext.model.errors import KaosError
from kaos_ext.runtime.agent.a2a import A2A
from kaos_ext.runtime.agent.card import card
from kaos_ext.runtime.agent.chat import Chat
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.mcp import McpServer
from kaos_ext.runtime.agent.memory import Memory
from kaos_ext.runtime.agent.model import Answer, MockModel, Model, ModelError, OnText, Question
from kaos_ext.runtime.agent.runner import Equipment
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tools import ToolBox
from kaos_ext.runtime.shell import GRACE_SECONDS, Shell

log = logging.getLogger(__name__)


class Agent:
    """One agent in one process; `main` is handed to the shell."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def main(self, shell: Shell) -> None:
        settings = self.settings
        folder, own = settings.state_dir, settings.state_dir is None
        if folder is None:
            # An agent without a volume has nothing to go on from: its journal ends with it.
            folder = Path(tempfile.mkdtemp(prefix="kaos-agent-"))
        shell.app.router.add_get("/loop", self._loop)
        for route in ("agent-card.json", "agent.json", "agent"):
            shell.app.router.add_get(f"/.well-known/{route}", self._card)
        shell.app.router.add_get("/tools", self._tools)
        shell.app.router.add_post("/", self._a2a)
        shell.app.router.add_post("/v1/chat/completions", self._chat)
        for path in ("events", "sessions", "events/stream"):
            shell.app.router.add_get(f"/memory/{path}", self._memory)
        await shell.listen()

        def waiting(reason: str) -> None:
            shell.not_ready = reason

        try:
            journal = await Journal.open(
                folder / "events.db", settings.secrets, waiting=waiting, stopping=shell.stopping
            )
            if journal is not None:
                try:
                    await self._work(shell, journal)
                finally:
                    journal.close()
        finally:
            if own:
                shutil.rmtree(folder, ignore_errors=True)

    async def _work(self, shell: Shell, journal: Journal) -> None:
        settings = self.settings
        async with aiohttp.ClientSession(trust_env=False) as session:
            servers = [McpServer(session, name, url) for name, url in settings.mcp_servers]
            equipment = Equipment(journal, _model(settings, session), ToolBox(servers), settings.instructions)
            self.service = AgentService(settings, equipment, shell.stopping)
            self._chat_api = Chat(self.service)
            self._a2a_api = A2A(self.service)
            self._memory_api = Memory(shell, journal, enabled=settings.memory)
            self.service.resume_tasks()
            background = []
            if settings.control_file is not None:
                background.append(asyncio.create_task(self.service.control.follow(settings.control_file)))
            if settings.goal:
                background.append(asyncio.create_task(self._run_loop(shell)))
            shell.ready()
            await shell.stopping.wait()
            await self.service.finish(GRACE_SECONDS)
            await _finish(background, GRACE_SECONDS)
            # Requests under way use the journal: they end before it closes.
            await shell.close()
            for server in servers:
                await server.close()

    async def _run_loop(self, shell: Shell) -> None:
        try:
            await self.service.run_loop()
        except Exception:
            # Nothing in the loop may raise; if it does all the same, a new process goes on from the journal.
            log.exception("the resident loop broke")
            shell.stopping.set()
            raise

    def _up(self) -> AgentService:
        service: AgentService | None = getattr(self, "service", None)
        if service is None:
            raise web.HTTPServiceUnavailable(text="the agent is starting")
        return service

    async def _loop(self, request: web.Request) -> web.Response:
        return web.json_response(self._up().loop_state.to_json())

    async def _card(self, request: web.Request) -> web.Response:
        tools = await self._up().tools.all(live=True)
        return web.json_response(card(self.settings, tools, asked_at=f"{request.scheme}://{request.host}"))

    async def _tools(self, request: web.Request) -> web.Response:
        tools = await self._up().tools.all(live=True)
        listed = [
            {"name": tool.name, "description": tool.description, "parameters_json_schema": dict(tool.schema)}
            for tool in tools
        ]
        return web.json_response({"agent": self.settings.name, "tools": listed})

    async def _a2a(self, request: web.Request) -> web.Response:
        self._up()
        return await self._a2a_api.handle(request)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._up()
        return await self._chat_api.handle(request)

    async def _memory(self, request: web.Request) -> web.StreamResponse:
        self._up()
        match request.path:
            case "/memory/events":
                return await self._memory_api.events(request)
            case "/memory/sessions":
                return await self._memory_api.sessions(request)
        return await self._memory_api.stream(request)


class _NoModel:
    """Stands where no model is configured: every question fails, saying what to set."""

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        raise ModelError(f"no model is configured: {podenv.MODEL_API_URL} is not set")


def _model(settings: Settings, session: aiohttp.ClientSession) -> Model:
    if settings.mocks is not None:
        return MockModel(settings.mocks)
    if not settings.model_url:
        return _NoModel()
    from kaos_ext.runtime.agent.openai import OpenAIModel

    return OpenAIModel(session, settings.model_url, settings.model, settings.tool_call_mode)


async def _finish(tasks: list[asyncio.Task[None]], seconds: float) -> None:
    if not tasks:
        return
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    for task in done:
        error = task.exception()
        if error is not None:
            raise KaosError(f"the resident loop broke: {error}", hint="the log has the details") from error


def serve(env: Mapping[str, str]) -> int:
    """Run the agent that the environment describes until it is told to stop; returns the exit status."""
    from kaos_ext.runtime.shell_process import set_up_process

    settings = Settings.from_env(env)
    set_up_process("agent", settings.name, env)
    port = env.get(podenv.PORT) or env.get(podenv.AGENT_PORT) or "8000"
    return Shell("agent", settings.name, env, port=int(port)).run(Agent(settings).main)
