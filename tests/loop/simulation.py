"""A world for the pure loop: a clock, a scripted model, tools that count, a log that may lose its reader anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kaos_ext import loop
from kaos_ext.loop import AskModel, CallTools, End, Ledger, Park, Record, RunSpec, RunState, WaitUntil, ledger
from kaos_ext.model.events import Event, EventType


class Killed(Exception):
    """The process died here."""


class Answers:
    """A model that answers from a list by how often it was asked in the run, around and around."""

    def __init__(self, *answers: str | dict[str, Any]) -> None:
        self._answers = answers

    def __call__(self, state: RunState) -> dict[str, Any]:
        answer = self._answers[state.status.totals.model_calls % len(self._answers)]
        if isinstance(answer, str):
            return {"text": answer, "tool_calls": []}
        return {"text": "", "tool_calls": [answer]}


def call(tool: str, id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    return {"id": id, "name": tool, "arguments": arguments}


@dataclass
class World:
    """Carries out what the loop decides, on a log that outlives any number of processes."""

    spec: RunSpec
    model: Callable[[RunState], dict[str, Any]]
    repeatable: frozenset[str] = frozenset()
    step_seconds: float = 0.1
    now: float = 1000.0
    log: list[Event] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    """(tool, iteration) of every call that was really made."""
    waits: list[float] = field(default_factory=list)
    suspend_at: Callable[[RunState], bool] = lambda state: False
    hold_at: Callable[[RunState], bool] = lambda state: False
    usage: dict[str, int] = field(default_factory=dict)
    cost: float | None = None
    """What every model call costs."""
    ledger: Ledger = field(default_factory=Ledger)
    after: Callable[[str], None] = lambda point: None
    """Called at every boundary; raises Killed to end the process there."""

    def start(self) -> RunState:
        state = loop.begin(self.spec)
        self.ledger = Ledger()
        for event in self.log:
            state = loop.fold(state, event)
            self.ledger = ledger.fold(self.ledger, event)
        content = {"goal": self.spec.goal, "interval_seconds": self.spec.limits.interval_seconds}
        return self._record(state, Event(EventType.LOOP_STARTED, content, iteration=state.status.iteration))

    def run(self, *, until: Callable[[RunState], bool]) -> RunState:
        state = self.start()
        while not until(state):
            state = replace(state, suspended=self.suspend_at(state), hold_after=self.hold_at(state), ledger=self.ledger)
            for action in loop.decide(state, self.now):
                match action:
                    case Record(events):
                        state = self._record(state, *events)
                    case AskModel(step):
                        state = self._ask(state, step)
                    case CallTools(calls):
                        state = self._call(state, calls)
                    case WaitUntil(time):
                        self.waits.append(time - self.now)
                        self.now = time
                    case Park():
                        self.now += 1
                    case End():
                        return state
        return state

    def _record(self, state: RunState, *events: Event) -> RunState:
        self.after("before a write")
        for event in events:
            placed = replace(event, seq=len(self.log) + 1, time=self.now, run=self.spec.run, session="s")
            self.log.append(placed)
            state = loop.fold(state, placed)
            self.ledger = ledger.fold(self.ledger, placed)
        self.after("after a write")
        return state

    def _ask(self, state: RunState, step: int) -> RunState:
        iteration = state.status.iteration
        reserved = {"reserved": {"tokens": 10}} if self.usage else {}
        state = self._record(state, Event(EventType.MODEL_REQUEST, reserved, iteration=iteration, step=step))
        self.now += self.step_seconds
        answer = self.model(state)
        if self.usage:
            answer = {**answer, "usage": self.usage, "cost": self.cost}
        self.after("the model answered")
        return self._record(state, Event(EventType.MODEL_RESPONSE, answer, iteration=iteration, step=step))

    def _call(self, state: RunState, calls: Sequence[loop.PendingCall]) -> RunState:
        iteration = state.status.iteration
        for pending in calls:
            if not pending.intended:
                data = {"call_id": pending.id, "repeatable": pending.tool in self.repeatable}
                content = {"tool": pending.tool, "arguments": dict(pending.arguments)}
                state = self._record(state, Event(EventType.TOOL_CALL, content, iteration=iteration, data=data))
            self.after("before the call")
            self.calls.append((pending.tool, iteration))
            self.after("after the call")
            result = {"tool": pending.tool, "result": f"done in {iteration}"}
            event = Event(EventType.TOOL_RESULT, result, iteration=iteration, data={"call_id": pending.id})
            state = self._record(state, event)
        return state

    def types(self, *chosen: str) -> list[str]:
        return [str(event.type) for event in self.log if not chosen or event.type in chosen]

    def of_type(self, *types: str) -> list[Event]:
        return [event for event in self.log if event.type in types]
