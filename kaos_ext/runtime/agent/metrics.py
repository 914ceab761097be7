"""What Prometheus reads at `/metrics`: counts since this process began, a fold of its events.

Counting costs a few dictionary operations an event; `prometheus_client` is imported at the first scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.model.loop_state import LoopPhase, LoopState

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TASK_ENDS = {
    EventType.TASK_COMPLETED: "completed",
    EventType.TASK_FAILED: "failed",
    EventType.TASK_CANCELED: "canceled",
}
_TOOL_ENDS = {
    EventType.TOOL_RESULT: "ok",
    EventType.TOOL_ERROR: "error",
    EventType.OUTCOME_UNKNOWN: "unknown",
}


class Counts:
    """`journal.observers.append(counts)`; `counts.text()` is the exposition."""

    def __init__(self, agent: str, loop: Callable[[], LoopState]) -> None:
        self._agent, self._loop = agent, loop
        self._iterations: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._tools: Counter[str] = Counter()
        self._tasks: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._asked = self._events = 0

    def __call__(self, events: Sequence[Event]) -> None:
        self._events += len(events)
        for event in events:
            kind = event.type
            if kind == EventType.MODEL_REQUEST:
                self._asked += 1
            elif kind == EventType.MODEL_RESPONSE:
                usage = event.content.get("usage") or {}
                self._tokens["input"] += int(usage.get("prompt_tokens") or 0)
                self._tokens["output"] += int(usage.get("completion_tokens") or 0)
            elif kind in _TOOL_ENDS:
                self._tools[_TOOL_ENDS[EventType(kind)]] += 1
            elif kind in ITERATION_ENDS:
                of = "loop" if event.run == LOOP_RUN else event.run.partition("_")[0]
                self._iterations[of, str(event.content.get("outcome", ""))] += 1
                self._seconds[of] += event.content.get("duration_seconds") or 0
            elif kind in _TASK_ENDS:
                self._tasks[_TASK_ENDS[EventType(kind)]] += 1

    def text(self) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.registry import Collector

        counts = self

        class Own(Collector):
            def collect(self) -> Iterator[Metric]:
                return counts._collect()

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Own())
        return generate_latest(registry)

    def _collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily as Family
        from prometheus_client.metrics_core import GaugeMetricFamily as Gauge

        agent = self._agent

        def family(name: str, help: str, label: str, values: Counter[str]) -> Metric:
            made = Family(name, help, labels=["agent", label])
            for value, count in sorted(values.items()):
                made.add_metric([agent, value], count)
            return made

        iterations = Family("kaos_iterations", "iterations that ended", labels=["agent", "of", "outcome"])
        for (of, outcome), count in sorted(self._iterations.items()):
            iterations.add_metric([agent, of, outcome], count)
        yield iterations
        yield family("kaos_iteration_seconds", "time spent in iterations", "of", self._seconds)
        yield family("kaos_tool_calls", "tool calls that ended", "outcome", self._tools)
        yield family("kaos_tasks", "A2A tasks that ended", "state", self._tasks)
        yield family("kaos_tokens", "tokens as the model server counts them", "type", self._tokens)
        for name, help, value in (
            ("kaos_model_calls", "model calls that were made", self._asked),
            ("kaos_events", "events written", self._events),
        ):
            plain = Family(name, help, labels=["agent"])
            plain.add_metric([agent], value)
            yield plain
        loop = self._loop()
        state = Gauge("kaos_loop_state", "1 for the state the resident loop is in", labels=["agent", "state"])
        for phase in LoopPhase:
            state.add_metric([agent, str(phase)], 1.0 if phase is loop.phase else 0.0)
        yield state
        for name, help, now in (
            ("kaos_loop_iteration", "number of the newest iteration, over all restarts", float(loop.iteration)),
            ("kaos_loop_failures_in_a_row", "iterations that failed since the last good one", float(loop.failures)),
            ("kaos_loop_next_run_timestamp_seconds", "when the next iteration is due", loop.next_run_at or 0.0),
        ):
            gauge = Gauge(name, help, labels=["agent"])
            gauge.add_metric([agent], now)
            yield gauge
