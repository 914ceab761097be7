"""Everything an agent answers over HTTP. Routes exist from the first moment; until the agent is up they say 503."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.a2a import A2A
from kaos_ext.runtime.agent.approvals import ApprovalDesk
from kaos_ext.runtime.agent.card import card
from kaos_ext.runtime.agent.chat import Chat
from kaos_ext.runtime.agent.memory import Memory
from kaos_ext.runtime.agent.metrics import CONTENT_TYPE, Counts
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.secrets import Redactor
from kaos_ext.runtime.shell import Shell

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Surface:
    """`up(service)` puts an agent behind the routes."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._handlers: dict[tuple[str, str], Handler] = {}
        for method, path in (
            ("GET", "/.well-known/agent-card.json"),
            ("GET", "/.well-known/agent.json"),
            ("GET", "/.well-known/agent"),
            ("GET", "/metrics"),
            ("GET", "/tools"),
            ("GET", "/loop"),
            ("GET", "/memory/events"),
            ("GET", "/memory/events/stream"),
            ("GET", "/memory/sessions"),
            ("GET", "/approvals"),
            ("POST", "/approvals"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/"),
        ):
            shell.app.router.add_route(method, path, self._handle)

    def up(self, service: AgentService) -> None:
        memory = Memory(self._shell, service.journal, enabled=service.settings.memory)

        redactor = Redactor(service.settings.secrets)
        approvals = ApprovalDesk(service, redactor)

        async def loop(request: web.Request) -> web.Response:
            state = redactor.value(service.loop_state.to_json())
            return web.json_response(state | {"budget": service.spending()})

        async def cards(request: web.Request) -> web.Response:
            tools = await service.tools.all(live=True)
            shown = card(service.settings, tools, asked_at=f"{request.scheme}://{request.host}")
            return web.json_response(redactor.value(shown))

        async def tools(request: web.Request) -> web.Response:
            listed = [
                {"name": tool.name, "description": tool.description, "parameters_json_schema": dict(tool.schema)}
                for tool in await service.tools.all(live=True)
            ]
            return web.json_response({"agent": service.settings.name, "tools": redactor.value(listed)})

        counts = Counts(service.settings.name, lambda: service.loop_state)
        service.journal.observers.append(counts)

        async def metrics(request: web.Request) -> web.Response:
            return web.Response(body=counts.text(), headers={"Content-Type": CONTENT_TYPE})

        self._handlers = {
            ("GET", "/.well-known/agent-card.json"): cards,
            ("GET", "/.well-known/agent.json"): cards,
            ("GET", "/.well-known/agent"): cards,
            ("GET", "/metrics"): metrics,
            ("GET", "/tools"): tools,
            ("GET", "/loop"): loop,
            ("GET", "/memory/events"): memory.events,
            ("GET", "/memory/events/stream"): memory.stream,
            ("GET", "/memory/sessions"): memory.sessions,
            ("GET", "/approvals"): approvals.waiting,
            ("POST", "/approvals"): approvals.answer,
            ("POST", "/v1/chat/completions"): Chat(service).handle,
            ("POST", "/"): A2A(service).handle,
        }

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = "GET" if request.method == "HEAD" else request.method
        # Connections are kept, and one task serves all of their requests.
        given = {name: request.headers[name] for name in ("traceparent", "tracestate") if name in request.headers}
        trace.INCOMING.set(given or None)
        handler = self._handlers.get((method, request.path))
        if handler is None:
            error = {"message": f"the agent is not up: {self._shell.not_ready}", "type": "api_error"}
            return web.json_response({"error": error}, status=503, headers={"Retry-After": "1"})
        return await handler(request)
