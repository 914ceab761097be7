"""Spans and metrics of an agent: folds of its events, in the words of OpenTelemetry's GenAI conventions.

    invoke_agent NAME                 a chat request or a task, whole; of the resident loop, each iteration
    └─ kaos.autonomous.iteration
       ├─ chat MODEL                  model_request … model_response
       └─ execute_tool TOOL           tool_call … its outcome

The journal tells of every event, in the task that wrote it; so the request that this task makes next belongs to the
span that has just begun. Its id is known then (`contexts`). The rest is done when the event loop has control again: the
run waits for an answer then, and does not wait for this. A span goes to the SDK's processors when it ends, as
the value that they export; an open one is a few fields here, because the SDK's own, with their locks and limits, would
be a tenth of what an iteration costs. Neither prompts nor answers nor arguments are in a span, nor values that came
from Secrets. Labels of metrics are bounded: no ids, and tools by name only when a server has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from kaos_ext import __version__
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent import conventions as names
from kaos_ext.runtime.agent.contexts import TASK_ENDS, TOOL_ENDS, Begun, Contexts, Trace
from kaos_ext.runtime.telemetry import NAME, SCHEMA_URL, Telemetry

SCOPE = InstrumentationScope(NAME, __version__, SCHEMA_URL)
_UNSET, _ERROR = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


@dataclass(slots=True)
class _Span:
    """A span that has not ended."""

    name: str
    context: SpanContext
    parent: SpanContext | None
    began: float
    attributes: dict[str, Any]
    kind: SpanKind = SpanKind.INTERNAL


@dataclass(slots=True)
class _Tool:
    span: _Span
    label: str
    """Its name in metrics."""


@dataclass(slots=True)
class _Open:
    """The open spans of one run."""

    trace: Trace
    agent: _Span
    iteration: _Span | None = None
    chat: _Span | None = None
    tools: dict[str, _Tool] = field(default_factory=dict)


class Spans:
    """`journal.observers.append(Spans(...))`, and `trace.use(spans.headers)`; at the end `make()` what waits."""

    def __init__(
        self, telemetry: Telemetry, agent: str, model: str, written: Callable[[str], str] = lambda text: text
    ) -> None:
        self._tracer = telemetry.tracer
        self._contexts = Contexts(self._tracer.sampler)
        self._longest = SpanLimits().max_span_attribute_length
        self.headers, self.latest = self._contexts.headers, self._contexts.latest
        self._waiting: list[Begun] = []
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
        idle = not self._waiting
        for event in events:
            begun = self._contexts.begin(event)
            if begun is not None:
                self._waiting.append(begun)
        if idle and self._waiting:
            asyncio.get_running_loop().call_soon(self.make)

    def make(self) -> None:
        """Make the spans of the events that wait for it, and count them."""
        waiting, self._waiting = self._waiting, []
        for begun in waiting:
            self._fold(begun)

    def _fold(self, begun: Begun) -> None:
        event = begun.event
        kind = event.type
        found = self._open.get(event.run)
        if kind == EventType.TASK_SUBMITTED or kind == EventType.ITERATION_STARTED:
            ids = iter(begun.span_ids)
            if found is None:
                found = self._open[event.run] = _Open(begun.trace, self._invoked(event, begun.trace, next(ids)))
            if kind == EventType.ITERATION_STARTED:
                attributes = {"kaos.iteration": event.iteration}
                found.iteration = _Span(
                    "kaos.autonomous.iteration",
                    begun.trace.span(next(ids)),
                    found.agent.context,
                    event.time,
                    attributes,
                )
        elif found is None:
            pass
        elif kind == EventType.MODEL_REQUEST:
            self._end(found.chat, event, "interrupted")
            found.chat = self._chat(event, found, begun)
        elif kind == EventType.MODEL_RESPONSE:
            self._answered(event, found)
        elif kind == EventType.TOOL_CALL:
            self._called(event, found, begun)
        elif kind in TOOL_ENDS:
            self._tool_ended(event, found, TOOL_ENDS[kind])
        elif kind in ITERATION_ENDS:
            self._iteration_ended(event, found)
        elif kind in TASK_ENDS:
            state = TASK_ENDS[kind]
            self._tasks.add(1, {"state": state})
            self._task.record((event.time - found.agent.began) * 1000, {"state": state})
            self._close(event, found, "" if state == "completed" else state)

    def _invoked(self, event: Event, trace: Trace, id: int) -> _Span:
        attributes = {
            names.OPERATION: "invoke_agent",
            names.PROVIDER_NAME: names.PROVIDER,
            names.AGENT_NAME: self._agent,
            names.CONVERSATION: event.session,
            "agent.name": self._agent,
            "session.id": event.session,
            "kaos.run": event.run,
        }
        kind = SpanKind.INTERNAL if event.run == LOOP_RUN else SpanKind.SERVER
        return _Span(f"invoke_agent {self._agent}", trace.span(id), trace.parent, event.time, attributes, kind)

    def _chat(self, event: Event, own: _Open, begun: Begun) -> _Span:
        attributes = {
            names.OPERATION: "chat",
            names.PROVIDER_NAME: names.PROVIDER,
            names.REQUEST_MODEL: self._model,
            "kaos.step": event.step,
        }
        name = f"chat {self._model}".rstrip()
        return _Span(name, own.trace.span(*begun.span_ids), _within(own), event.time, attributes, SpanKind.CLIENT)

    def _answered(self, event: Event, own: _Open) -> None:
        usage = event.content.get("usage") or {}
        labels = self._chat_labels()
        if own.chat is not None:
            model = self._written(str(event.content.get("model") or self._model))
            own.chat.attributes[names.RESPONSE_MODEL] = model
        for key, kind, name in (
            ("prompt_tokens", "input", names.INPUT_TOKENS),
            ("completion_tokens", "output", names.OUTPUT_TOKENS),
        ):
            amount = usage.get(key)
            if isinstance(amount, int):
                self._tokens.record(amount, {**labels, names.TOKEN_TYPE: kind})
                if own.chat is not None:
                    own.chat.attributes[name] = amount
        if own.chat is not None:
            self._chats.record(event.time - own.chat.began, labels)
        self._end(own.chat, event)
        own.chat = None

    def _chat_labels(self) -> dict[str, str]:
        return {names.OPERATION: "chat", names.PROVIDER_NAME: names.PROVIDER, names.REQUEST_MODEL: self._model}

    def _called(self, event: Event, own: _Open, begun: Begun) -> None:
        id, tool = str(event.data.get("call_id")), self._written(str(event.content.get("tool")))
        attributes = {
            names.OPERATION: "execute_tool",
            names.TOOL_NAME: tool,
            names.TOOL_CALL: self._written(id),
            names.TOOL_TYPE: "function",
        }
        span = _Span(f"execute_tool {tool}", own.trace.span(*begun.span_ids), _within(own), event.time, attributes)
        # A model may invent names without end; a server has only so many.
        own.tools[id] = _Tool(span, tool if event.data.get("server") else "unknown")

    def _tool_ended(self, event: Event, own: _Open, error: str) -> None:
        tool = own.tools.pop(str(event.data.get("call_id")), None)
        if tool is not None:
            self._end(tool.span, event, error)
            self._tool.record(event.time - tool.span.began, {names.TOOL_NAME: tool.label, **_failed(error)})

    def _iteration_ended(self, event: Event, own: _Open) -> None:
        content: Mapping[str, Any] = event.content
        outcome = str(content.get("outcome", ""))
        error = "" if event.type == EventType.ITERATION_FINISHED else outcome
        self._iterations.add(1, {"outcome": outcome, names.AGENT_NAME: self._agent})
        self._durations.record(float(content.get("duration_seconds") or 0), {"outcome": outcome})
        self._cut_off(event, own, error)
        if own.iteration is not None:
            own.iteration.attributes["kaos.outcome"] = outcome
        self._end(own.iteration, event, error)
        own.iteration = None
        if not event.run.startswith("task_"):
            self._close(event, own, error)

    def _cut_off(self, event: Event, own: _Open, error: str) -> None:
        """What the end of an iteration cut off ends with it."""
        failed = _failed(error or "interrupted")
        if own.chat is not None:
            self._chats.record(event.time - own.chat.began, self._chat_labels() | failed)
        self._end(own.chat, event, error or "interrupted")
        own.chat = None
        for tool in own.tools.values():
            self._tool.record(event.time - tool.span.began, {names.TOOL_NAME: tool.label, **failed})
            self._end(tool.span, event, error or "interrupted")
        own.tools.clear()

    def _close(self, event: Event, own: _Open, error: str) -> None:
        self._cut_off(event, own, error)
        self._end(own.iteration, event, error)
        self._end(own.agent, event, error)
        if self._open.pop(event.run, None) is not None:
            self._invocation.record(event.time - own.agent.began, {names.AGENT_NAME: self._agent, **_failed(error)})

    def _end(self, span: _Span | None, event: Event, error: str = "") -> None:
        if span is None or not span.context.trace_flags.sampled:
            return
        if error:
            span.attributes[names.ERROR_TYPE] = error
        tracer = self._tracer
        tracer.span_processor.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                tracer.resource,
                self._limited(span.attributes),
                kind=span.kind,
                status=_ERROR if error else _UNSET,
                start_time=_nanoseconds(span.began),
                end_time=_nanoseconds(event.time),
                instrumentation_scope=SCOPE,
            )
        )

    def _limited(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """No text longer than the environment allows (`OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT`)."""
        most = self._longest
        if most is None:
            return attributes
        return {name: value[:most] if isinstance(value, str) else value for name, value in attributes.items()}


def _within(own: _Open) -> SpanContext:
    """What a step's span lies in."""
    return (own.iteration or own.agent).context


def _failed(error: str) -> dict[str, str]:
    return {names.ERROR_TYPE: error} if error else {}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
