"""Spans and metrics of an agent: folds of its events, in the words of OpenTelemetry's GenAI conventions.

    invoke_agent NAME                 a chat request or a task, whole; of the resident loop, each iteration
    └─ kaos.autonomous.iteration
       ├─ chat MODEL                  model_request … model_response
       └─ execute_tool TOOL           tool_call … its outcome

The journal tells of every event, in the task that wrote it; so the request that this task makes next belongs to the
span that has just begun. Its id is known then (`contexts`); the spans themselves are made for many events together,
a quarter of a second later at most. Neither prompts nor answers nor arguments are in a span, nor values that came
from Secrets. Labels of metrics are bounded: no ids, and tools by name only when a server has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace as otel

from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent import conventions as names
from kaos_ext.runtime.agent.contexts import TASK_ENDS, TOOL_ENDS, Begun, Contexts, PresetIds
from kaos_ext.runtime.telemetry import Telemetry

MOST_WAITING = 128
"""Events; a hundred take some two milliseconds of the event loop."""
WAIT_SECONDS = 0.25


@dataclass(slots=True)
class _Open:
    """The open spans of one run."""

    agent: Any
    iteration: Any = None
    chat: Any = None
    chat_since: float = 0.0
    tools: dict[str, tuple[Any, str, float]] = field(default_factory=dict)
    began: float = 0.0


class Spans:
    """`journal.observers.append(Spans(...))`, and `trace.use(spans.headers)`; at the end `make()` what waits."""

    def __init__(
        self, telemetry: Telemetry, agent: str, model: str, written: Callable[[str], str] = lambda text: text
    ) -> None:
        self._otel = otel
        self._tracer = telemetry.tracer
        self._contexts = Contexts(self._tracer.sampler)
        self._ids = self._tracer.id_generator = PresetIds()
        self.headers, self.latest = self._contexts.headers, self._contexts.latest
        self._waiting: list[Begun] = []
        self._timer: asyncio.TimerHandle | None = None
        self._agent, self._model, self._written = agent, model, written
        self._open: dict[str, _Open] = {}
        meter = telemetry.meter

        def histogram(name: str, unit: str, about: str, bounds: Sequence[float]) -> Any:
            return meter.create_histogram(name, unit, about, explicit_bucket_boundaries_advisory=bounds)

        self._tokens = histogram(names.TOKEN_USAGE, "{token}", "tokens of a model call", names.TOKENS)
        self._chats = histogram(names.OPERATION_DURATION, "s", "duration of a model call", names.SECONDS)
        self._tool = histogram(names.TOOL_DURATION, "s", "duration of a tool call", names.SECONDS)
        self._invocation = histogram(names.AGENT_DURATION, "s", "duration of a request", names.LONG_SECONDS)
        self._iterations = meter.create_counter("kaos.iterations", "{iteration}", "iterations that ended")
        self._durations = meter.create_histogram("kaos.iteration.duration", "s", "duration of an iteration")
        self._tasks = meter.create_counter("kaos.tasks", "{task}", "tasks that ended, by state")
        self._task = meter.create_histogram("kaos.task.duration", "ms", "duration of a task")

    def __call__(self, events: Sequence[Event]) -> None:
        for event in events:
            begun = self._contexts.begin(event)
            if begun is not None:
                self._waiting.append(begun)
        if len(self._waiting) >= MOST_WAITING:
            self.make()
        elif self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self.make)

    def make(self) -> None:
        """Make and end the spans of the events that wait for it, and count them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for begun in waiting:
            self._ids.preset(begun)
            self._fold(begun.event, begun.parent)

    def _fold(self, event: Event, parent: Any) -> None:
        kind = event.type
        found = self._open.get(event.run)
        if kind == EventType.TASK_SUBMITTED or kind == EventType.ITERATION_STARTED:
            own = found or self._invoked(event, parent)
            if kind == EventType.ITERATION_STARTED:
                own.iteration = self._span("kaos.autonomous.iteration", event, own.agent, iteration=event.iteration)
        elif found is None:
            pass
        elif kind == EventType.MODEL_REQUEST:
            self._end(found.chat, event, "interrupted")
            found.chat, found.chat_since = self._chat(event, found), event.time
        elif kind == EventType.MODEL_RESPONSE:
            self._answered(event, found)
        elif kind == EventType.TOOL_CALL:
            self._called(event, found)
        elif kind in TOOL_ENDS:
            self._tool_ended(event, found, TOOL_ENDS[kind])
        elif kind in ITERATION_ENDS:
            self._iteration_ended(event, found)
        elif kind in TASK_ENDS:
            state = TASK_ENDS[kind]
            self._tasks.add(1, {"state": state})
            self._task.record((event.time - found.began) * 1000, {"state": state})
            self._close(event, found, "" if state == "completed" else state)

    def _invoked(self, event: Event, parent: Any) -> _Open:
        span = self._tracer.start_span(
            f"invoke_agent {self._agent}",
            context=parent,
            kind=self._otel.SpanKind.INTERNAL if event.run == LOOP_RUN else self._otel.SpanKind.SERVER,
            attributes={
                names.OPERATION: "invoke_agent",
                names.PROVIDER_NAME: names.PROVIDER,
                names.AGENT_NAME: self._agent,
                names.CONVERSATION: event.session,
                "agent.name": self._agent,
                "session.id": event.session,
                "kaos.run": event.run,
            },
            start_time=_nanoseconds(event.time),
        )
        own = self._open[event.run] = _Open(span, began=event.time)
        return own

    def _chat(self, event: Event, own: _Open) -> Any:
        attributes = {names.REQUEST_MODEL: self._model, "kaos.step": event.step}
        return self._span(
            f"chat {self._model}".rstrip(), event, own.iteration, operation="chat", client=True, **attributes
        )

    def _answered(self, event: Event, own: _Open) -> None:
        usage = event.content.get("usage") or {}
        labels = self._chat_labels()
        if own.chat is not None:
            model = self._written(str(event.content.get("model") or self._model))
            own.chat.set_attribute(names.RESPONSE_MODEL, model)
        for key, kind, name in (
            ("prompt_tokens", "input", names.INPUT_TOKENS),
            ("completion_tokens", "output", names.OUTPUT_TOKENS),
        ):
            amount = usage.get(key)
            if isinstance(amount, int):
                self._tokens.record(amount, {**labels, names.TOKEN_TYPE: kind})
                if own.chat is not None:
                    own.chat.set_attribute(name, amount)
        self._chats.record(event.time - own.chat_since, labels)
        self._end(own.chat, event)
        own.chat = None

    def _chat_labels(self) -> dict[str, str]:
        return {names.OPERATION: "chat", names.PROVIDER_NAME: names.PROVIDER, names.REQUEST_MODEL: self._model}

    def _called(self, event: Event, own: _Open) -> None:
        id, tool = str(event.data.get("call_id")), self._written(str(event.content.get("tool")))
        attributes: dict[str, Any] = {
            names.TOOL_NAME: tool,
            names.TOOL_CALL: self._written(id),
            names.TOOL_TYPE: "function",
        }
        span = self._span(f"execute_tool {tool}", event, own.iteration, operation="execute_tool", **attributes)
        # A model may invent names without end; a server has only so many.
        own.tools[id] = (span, tool if event.data.get("server") else "unknown", event.time)

    def _tool_ended(self, event: Event, own: _Open, error: str) -> None:
        span, tool, since = own.tools.pop(str(event.data.get("call_id")), (None, "", 0.0))
        if span is not None:
            self._end(span, event, error)
            self._tool.record(event.time - since, {names.TOOL_NAME: tool, **_failed(error)})

    def _iteration_ended(self, event: Event, own: _Open) -> None:
        content: Mapping[str, Any] = event.content
        outcome = str(content.get("outcome", ""))
        error = "" if event.type == EventType.ITERATION_FINISHED else outcome
        self._iterations.add(1, {"outcome": outcome, names.AGENT_NAME: self._agent})
        self._durations.record(float(content.get("duration_seconds") or 0), {"outcome": outcome})
        self._within(event, own, error)
        if own.iteration is not None:
            own.iteration.set_attribute("kaos.outcome", outcome)
        self._end(own.iteration, event, error)
        own.iteration = None
        if not event.run.startswith("task_"):
            self._close(event, own, error)

    def _within(self, event: Event, own: _Open, error: str) -> None:
        """What the end of an iteration cut off ends with it."""
        failed = _failed(error or "interrupted")
        if own.chat is not None:
            self._chats.record(event.time - own.chat_since, self._chat_labels() | failed)
        self._end(own.chat, event, error or "interrupted")
        own.chat = None
        for span, tool, since in own.tools.values():
            self._tool.record(event.time - since, {names.TOOL_NAME: tool, **failed})
            self._end(span, event, error or "interrupted")
        own.tools.clear()

    def _close(self, event: Event, own: _Open, error: str) -> None:
        self._within(event, own, error)
        self._end(own.iteration, event, error)
        self._end(own.agent, event, error)
        if self._open.pop(event.run, None) is not None:
            self._invocation.record(event.time - own.began, {names.AGENT_NAME: self._agent, **_failed(error)})

    def _span(
        self, name: str, event: Event, parent: Any, *, operation: str = "", client: bool = False, **more: Any
    ) -> Any:
        attributes = {key if "." in key else f"kaos.{key}": value for key, value in more.items()}
        if operation:
            attributes |= {names.OPERATION: operation}
        if client:
            attributes |= {names.PROVIDER_NAME: names.PROVIDER}
        return self._tracer.start_span(
            name,
            context=self._otel.set_span_in_context(parent) if parent is not None else None,
            kind=self._otel.SpanKind.CLIENT if client else self._otel.SpanKind.INTERNAL,
            attributes=attributes,
            start_time=_nanoseconds(event.time),
        )

    def _end(self, span: Any, event: Event, error: str = "") -> None:
        if span is None:
            return
        if error:
            span.set_attribute(names.ERROR_TYPE, error)
            span.set_status(self._otel.StatusCode.ERROR)
        span.end(_nanoseconds(event.time))


def _failed(error: str) -> dict[str, str]:
    return {names.ERROR_TYPE: error} if error else {}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
