"""The trace context of what each run is doing, known at once, for spans that are made later.

A request that goes out now must carry the id of the span it belongs to: so ids are given here, event by event, and the
spans get them when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import getrandbits
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kaos_ext.model.events import ITERATION_ENDS, Event, EventType
from kaos_ext.runtime import trace

SAMPLED, RANDOM = 1, 2
"""Flags of W3C's trace context."""
TASK_ENDS: dict[str, str] = {
    EventType.TASK_COMPLETED: "completed",
    EventType.TASK_FAILED: "failed",
    EventType.TASK_CANCELED: "canceled",
}
TOOL_ENDS: dict[str, str] = {
    EventType.TOOL_RESULT: "",
    EventType.TOOL_ERROR: "tool_error",
    EventType.OUTCOME_UNKNOWN: "outcome_unknown",
}
_BEGINS = frozenset({EventType.TASK_SUBMITTED, EventType.ITERATION_STARTED})
_NOTHING = Context()


@dataclass(frozen=True, slots=True)
class Trace:
    """What all spans of a run have in common."""

    id: int
    flags: TraceFlags
    parent: SpanContext | None
    """What the outermost span of the run belongs to: the caller's."""

    def span(self, id: int) -> SpanContext:
        state = None if self.parent is None else self.parent.trace_state
        return SpanContext(self.id, id, False, self.flags, state)


@dataclass(frozen=True, slots=True)
class Begun:
    """An event, and the ids of the spans that begin with it, the outer one first."""

    event: Event
    trace: Trace
    span_ids: tuple[int, ...]


@dataclass(slots=True)
class _Live:
    """The spans of a run that are open now, by their ids; 0 is none."""

    trace: Trace
    agent: int
    iteration: int = 0
    chat: int = 0
    tools: dict[str, int] = field(default_factory=dict)

    def header(self, span: int) -> dict[str, str]:
        own = self.trace
        told = {"traceparent": f"00-{own.id:032x}-{span:016x}-{own.flags:02x}"}
        # What the caller's own tracing wants to hear again.
        if own.parent is not None and (state := own.parent.trace_state.to_header()):
            told["tracestate"] = state
        return told


class Contexts:
    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._extract = TraceContextTextMapPropagator().extract
        self._live: dict[str, _Live] = {}
        self._ended: tuple[str, dict[str, str]] = ("", {})
        """The run that ended last, and its trace context."""

    def headers(self) -> dict[str, str]:
        """The trace context of what the current task is doing."""
        own = self._live.get(trace.RUN.get())
        if own is None:
            return {}
        return own.header(own.tools.get(trace.CALL.get()) or own.chat or own.iteration or own.agent)

    def latest(self) -> dict[str, str]:
        """The same for a line in the log: what a run has just ended with belongs to it as well."""
        run, ended = self._ended
        return self.headers() or (ended if run == trace.RUN.get() else {})

    def begin(self, event: Event) -> Begun | None:
        """What begins or ends with an event; None when it is of no run that is followed."""
        own = self._live.get(event.run)
        spans: tuple[int, ...] = ()
        if event.type in _BEGINS:
            return self._begun(event, own)
        if own is None:
            return None
        trace.RUN.set(event.run)
        if event.type == EventType.MODEL_REQUEST:
            own.chat = _id()
            spans = (own.chat,)
        elif event.type == EventType.MODEL_RESPONSE:
            own.chat = 0
        elif event.type == EventType.TOOL_CALL:
            span = own.tools[str(event.data.get("call_id"))] = _id()
            spans = (span,)
        elif event.type in TOOL_ENDS:
            own.tools.pop(str(event.data.get("call_id")), None)
        elif event.type in ITERATION_ENDS:
            own.iteration = own.chat = 0
            own.tools.clear()
            if not event.run.startswith("task_"):
                self._end(event.run, own)
        elif event.type in TASK_ENDS:
            self._end(event.run, own)
        else:
            return None
        return Begun(event, own.trace, spans)

    def _begun(self, event: Event, own: _Live | None) -> Begun:
        spans = []
        if own is None:
            own = self._live[event.run] = self._new()
            spans.append(own.agent)
        if event.type == EventType.ITERATION_STARTED:
            trace.RUN.set(event.run)
            own.iteration = _id()
            spans.append(own.iteration)
        return Begun(event, own.trace, tuple(spans))

    def _new(self) -> _Live:
        incoming = trace.INCOMING.get()
        parent = self._extract(incoming) if incoming else _NOTHING
        caller = otel.get_current_span(parent).get_span_context()
        trace_id, flags = (caller.trace_id, caller.trace_flags & RANDOM) if caller.is_valid else (_id(128), RANDOM)
        decision = self._sampler.should_sample(parent, trace_id, "invoke_agent").decision
        flags |= SAMPLED if decision.is_sampled() else 0
        return _Live(Trace(trace_id, TraceFlags(flags), caller if caller.is_valid else None), _id())

    def _end(self, run: str, own: _Live) -> None:
        self._ended = (run, own.header(own.agent))
        del self._live[run]


def _id(bits: int = 64) -> int:
    """Any number but 0, which is no id."""
    return getrandbits(bits) or 1
