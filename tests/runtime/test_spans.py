"""Spans that are made later than their ids are given, in the same process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.spans import Spans
from kaos_ext.runtime.telemetry import Telemetry


class Watched:
    """Spans of an agent, and what of them is exported."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exported = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.exported))
        meter = MeterProvider().get_meter("test")
        self.telemetry = Telemetry(provider.get_tracer("test"), meter, (provider,), logging.NullHandler())
        self.spans = Spans(self.telemetry, "a", "m")

    def tell(self, kind: EventType, content: Any = "", *, run: str = LOOP_RUN, **data: Any) -> dict[str, str]:
        """An event happens; the trace context of a request that is made right after it."""
        self.spans([Event(kind, content, 0, 5.0, "s", run, 1, 1, data)])
        return self.spans.headers()

    def iteration(self) -> dict[str, dict[str, str]]:
        tell = self.tell
        return {
            "kaos.autonomous.iteration": tell(EventType.ITERATION_STARTED),
            "chat m": tell(EventType.MODEL_REQUEST),
            "between": tell(EventType.MODEL_RESPONSE, {"usage": {}}),
            "execute_tool t": tell(EventType.TOOL_CALL, {"tool": "t"}, call_id="c", server="s"),
            "after": tell(EventType.TOOL_RESULT, {"tool": "t"}, call_id="c"),
            "end": tell(EventType.ITERATION_FINISHED, {"outcome": "Completed", "duration_seconds": 1}),
        }


@pytest.fixture
def watched() -> Iterator[Watched]:
    call, run = trace.CALL.set("c"), trace.RUN.set("")
    made = Watched()
    yield made
    made.telemetry.close()
    trace.CALL.reset(call)
    trace.RUN.reset(run)


def parts(headers: dict[str, str]) -> tuple[int, int, int]:
    _, trace_id, span_id, flags = headers["traceparent"].split("-")
    return int(trace_id, 16), int(span_id, 16), int(flags, 16)


async def test_a_request_carries_the_id_of_the_span_that_is_made_for_it_later(watched: Watched) -> None:
    headers = watched.iteration()
    assert watched.exported.get_finished_spans() == (), "nothing is made yet"
    watched.spans.make()
    made = {span.name: span.context for span in watched.exported.get_finished_spans()}
    assert set(made) == {"invoke_agent a", "kaos.autonomous.iteration", "chat m", "execute_tool t"}
    for name in ("kaos.autonomous.iteration", "chat m", "execute_tool t"):
        context = made[name]
        assert parts(headers[name]) == (context.trace_id, context.span_id, int(context.trace_flags)), name
    assert headers["between"] == headers["after"] == headers["kaos.autonomous.iteration"]
    assert headers["end"] == {}
    assert parts(watched.spans.latest())[1] == made["invoke_agent a"].span_id, "a line in the log still belongs to it"


async def test_spans_lie_in_each_other_and_in_the_callers_trace(watched: Watched) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    token = trace.INCOMING.set({"traceparent": caller})
    headers = watched.iteration()
    trace.INCOMING.reset(token)
    watched.spans.make()
    made = {span.name: span for span in watched.exported.get_finished_spans()}
    agent, iteration = made["invoke_agent a"], made["kaos.autonomous.iteration"]
    assert agent.parent is not None and f"{agent.parent.span_id:016x}" in caller
    assert iteration.parent is not None and iteration.parent.span_id == agent.context.span_id
    for name in ("chat m", "execute_tool t"):
        parent = made[name].parent
        assert parent is not None and parent.span_id == iteration.context.span_id
    assert {span.context.trace_id for span in made.values()} == {parts(headers["chat m"])[0]} == {int(caller[3:35], 16)}


async def test_they_are_made_once_whoever_tells_of_events_waits(watched: Watched) -> None:
    watched.iteration()
    await asyncio.sleep(0)
    assert len(watched.exported.get_finished_spans()) == 4
    watched.iteration()
    await asyncio.sleep(0)
    assert len(watched.exported.get_finished_spans()) == 8


async def test_what_is_not_sampled_is_told_so_to_whoever_is_called() -> None:
    watched = Watched(ParentBased(ALWAYS_OFF))
    assert parts(watched.iteration()["chat m"])[2] & 1 == 0
    watched.spans.make()
    assert watched.exported.get_finished_spans() == ()
    watched.telemetry.close()
