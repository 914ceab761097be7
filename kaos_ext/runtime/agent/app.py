"""The agent's process: settings → journal → service → resident loop, and the way back down."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from kaos_ext.model import podenv
from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.mcp import McpServer
from kaos_ext.runtime.agent.model import Answer, Closes, MockModel, Model, ModelError, OnText, Question
from kaos_ext.runtime.agent.reporter import Reporter
from kaos_ext.runtime.agent.runner import Equipment
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.surface import Surface
from kaos_ext.runtime.agent.tools import ToolBox
from kaos_ext.runtime.shell import GRACE_SECONDS, Shell
from kaos_ext.runtime.shell_process import set_up_process
from kaos_ext.runtime.telemetry import Export, start

LOG_FILE = "events.db"
log = logging.getLogger(__name__)


MakeModel = Callable[[Settings], Model]


async def run(
    shell: Shell, settings: Settings, *, make_model: MakeModel | None = None, export: Export | None = None
) -> None:
    """Be this agent until the shell is told to stop. `make_model` puts something else in the model's place."""
    surface = Surface(shell)
    await shell.listen()

    def waiting(reason: str) -> None:
        shell.not_ready = reason

    # An agent without a volume has nothing to go on from: its journal ends with it.
    folder = settings.state_dir or Path(tempfile.mkdtemp(prefix="kaos-agent-"))
    try:
        path = folder / LOG_FILE
        journal = await Journal.open(
            path, settings.secrets, retention=settings.retention, waiting=waiting, stopping=shell.stopping
        )
        if journal is None:
            return
        try:
            async with _telemetry(export, settings, journal):
                await _work(shell, surface, settings, journal, make_model or model_of)
        finally:
            journal.close()
    finally:
        if settings.state_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _telemetry(export: Export | None, settings: Settings, journal: Journal) -> AsyncIterator[None]:
    """Spans and metrics of what the journal is told, if the environment asks for them."""
    telemetry = None if export is None else await asyncio.to_thread(start, export, settings.secrets)
    if telemetry is None:
        yield
        return
    from kaos_ext.runtime.agent.spans import Spans

    spans = Spans(telemetry, settings.name, settings.model, journal.written)
    journal.observers.append(spans)
    trace.use(spans.headers)
    telemetry.handler.where = spans.latest
    try:
        yield
    finally:
        trace.use(None)
        spans.make()
        await asyncio.to_thread(telemetry.close)


async def _work(shell: Shell, surface: Surface, settings: Settings, journal: Journal, make_model: MakeModel) -> None:
    servers = [McpServer(name, url) for name, url in settings.mcp_servers]
    model = make_model(settings)
    equipment = Equipment(journal, model, ToolBox(servers), settings.instructions)
    equipment = replace(equipment, price=settings.budget.price(settings.model))
    service = AgentService(settings, equipment, shell.stopping)
    service.resume_tasks()
    background = []
    if settings.control_file is not None:
        background.append(asyncio.create_task(service.control.follow(settings.control_file)))
    if journal.forget_seconds:
        background.append(asyncio.create_task(_forget(shell, journal)))
    if settings.goal:
        background.append(asyncio.create_task(_loop(shell, service)))
    reporter = Reporter(service, shell.stopping) if settings.reports_status else None
    if reporter is not None:
        background.append(asyncio.create_task(reporter.run()))
    surface.up(service)
    shell.ready()
    await shell.stopping.wait()
    await asyncio.gather(service.finish(GRACE_SECONDS), _finish(background, GRACE_SECONDS))
    if reporter is not None:
        await reporter.last()
    # Requests under way use the journal: they end before it closes.
    await shell.close()
    for server in servers:
        await server.close()
    if isinstance(model, Closes):
        await model.close()


async def _forget(shell: Shell, journal: Journal) -> None:
    """Events grow too old while nothing happens as well."""
    while not shell.stopping.is_set():
        journal.forget()
        with suppress(TimeoutError):
            await asyncio.wait_for(shell.stopping.wait(), journal.forget_seconds)


async def _loop(shell: Shell, service: AgentService) -> None:
    try:
        await service.run_loop()
    except Exception:
        # Nothing in the loop may raise; if it does all the same, a new process goes on from the journal.
        log.exception("the resident loop broke")
        shell.stopping.set()
        raise


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


class _NoModel:
    """Stands where no model is configured: every question fails, saying what to set."""

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        raise ModelError(f"no model is configured: {podenv.MODEL_API_URL} is not set")


def model_of(settings: Settings) -> Model:
    if settings.mocks is not None:
        return MockModel(settings.mocks)
    if not settings.model_url:
        return _NoModel()
    from kaos_ext.runtime.agent.openai import OpenAIModel

    return OpenAIModel(settings.model_url, settings.model, settings.tool_call_mode)


def serve(env: Mapping[str, str], *, make_model: MakeModel | None = None) -> int:
    """Run the agent that the environment describes until it is told to stop; returns the exit status."""
    settings = Settings.from_env(env)
    set_up_process("agent", settings.name, env)
    port = env.get(podenv.PORT) or env.get(podenv.AGENT_PORT) or "8000"
    if not port.isdigit():
        raise UsageError(f"the port is {port!r}", hint=f"{podenv.PORT} must be a number")
    shell = Shell("agent", settings.name, env, port=int(port))
    export = Export.from_env(env)
    return shell.run(lambda shell: run(shell, settings, make_model=make_model, export=export))
