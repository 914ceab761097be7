"""Replay: a recorded iteration once more through the real loop, with the recorded answers, and no network at all.

    report = replay(Recording.load(path))
    report.check()                       # raises Diverged: what was recorded, and what the loop does now

The loop's own code (`Run`, `kaos_ext.loop`) runs; the journal is a *tape* that compares every event with the next one
on record, the model and the tools answer what they answered then, the clock tells the time of the next event, and time
passes only by jumping. What came from outside then (a kill, a stop, a pause, a person's decision) comes again at the
same place.

A fork from an event with one thing changed would be this with the tape cut there: up to it the recorded world, which
brings the state to that place, and from there on an `Equipment` of a journal of its own, a real model and real tools.
Nothing here would change but who takes over when the tape has ended.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from kaos_ext import loop
from kaos_ext.loop import Ledger, Limits, Repeat, RunSpec, RunState
from kaos_ext.model.approvals import Approvals, Decision
from kaos_ext.model.budget import Amounts, Budget, Resource, Scope
from kaos_ext.model.errors import KaosError
from kaos_ext.model.events import Event, EventType, seconds_of
from kaos_ext.model.loop_state import LoopPhase
from kaos_ext.runtime.agent import runner
from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.runtime.agent.runner import Equipment, Run
from kaos_ext.runtime.agent.tape import Difference, Outside, Parting, Spent, Tape, TapeControl, TapeModel, TapeTools


class Diverged(KaosError, AssertionError):
    """The loop does not do again what it did."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a replay."""

    iteration: int
    events: int
    """How many events the loop wrote again as they are on record."""
    recorded: int
    model_calls: int
    tool_calls: int
    divergence: Difference | None = None
    unchecked: tuple[str, ...] = ()
    """What could not be compared, because the record does not say."""

    @property
    def same(self) -> bool:
        return self.divergence is None

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    @property
    def failure(self) -> Diverged | None:
        if self.divergence is None:
            return None
        return Diverged(f"iteration {self.iteration} diverges at event {self.divergence.seq}: {self.divergence}")

    def to_json(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "same": self.same,
            "events": self.events,
            "recorded": self.recorded,
            "model_calls": self.model_calls,
            "tool_calls": self.tool_calls,
            "network_calls": 0,
            "divergence": None if self.divergence is None else self.divergence.to_json(),
            "unchecked": list(self.unchecked),
        }


def replay(recording: Recording, *, instructions: str | None = None, goal: str | None = None) -> Report:
    """Run the iteration again. With `instructions` or `goal` as if those had been the agent's then.

    Works anywhere, in a running event loop too: the replay has a thread and a loop of its own.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="replay") as own:
        return own.submit(_replay, recording, instructions, goal).result()


def _replay(recording: Recording, instructions: str | None, goal: str | None) -> Report:
    started = recording.started
    unchecked = []
    if not recording.whole:
        unchecked.append("totals and prompts: earlier iterations are no longer on record")
    known = started.data.get("instructions") if started is not None else None
    if instructions is None and known is None:
        unchecked.append("prompts: the instructions are not on record")
    tape = Tape(recording.events, prompts=not unchecked, totals=recording.whole, spent=_others(recording))
    divergence: Difference | None = None
    told, runner.log.disabled = runner.log.disabled, True
    clock = _Jumping()
    try:
        clock.run_until_complete(_drive(clock, tape, recording, str(instructions or known or ""), goal))
    except Spent:
        unchecked.append("its end: what was left of the budget is not on record")
    except Parting as parting:
        divergence = parting.difference
    except asyncio.CancelledError:
        divergence = tape.difference("the loop waits for something that is not on record")
    finally:
        runner.log.disabled = told
        clock.close()
    kinds = [event.type for event in recording.events[: tape.place]]
    return Report(
        recording.iteration,
        tape.place,
        len(recording.events),
        kinds.count(EventType.MODEL_RESPONSE),
        kinds.count(EventType.TOOL_CALL),
        divergence,
        tuple(unchecked),
    )


async def _drive(clock: _Jumping, tape: Tape, recording: Recording, instructions: str, goal: str | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    clock.stuck = task.cancel
    state = loop.begin(_spec(recording, recording.started, goal))
    if not recording.before or not recording.whole:
        state = replace(state, status=replace(state.status, iteration=recording.iteration - 1))
    for event in recording.before:
        state = loop.fold(state, event)
    equipment = Equipment(tape, TapeModel(tape), TapeTools(tape), instructions, tape.now)
    first = recording.events[0].content if isinstance(recording.events[0].content, Mapping) else {}
    wish = str(first.get("requested") or "")
    # It began, so nothing held it then, whatever had been on record before.
    status = replace(state.status, phase=LoopPhase.WAITING)
    state = replace(state, status=status, requested=wish, last_request=wish or state.last_request)
    run = Run(state, equipment)

    def decided(event: Event) -> None:
        run.state = loop.fold(run.state, event)

    tape.decided = decided
    # Only an iteration that somebody asked for begins while the loop is held.
    control = TapeControl(tape, lambda: run.state.status.phase is LoopPhase.PAUSED, forced=bool(first.get("forced")))
    while tape.peek is not None:
        for event in tape.outside():
            run.state = _told(run.state, recording, event, goal)
        with suppress(Outside):
            await run.drive(control)


def _told(state: RunState, recording: Recording, event: Event, goal: str | None) -> RunState:
    if event.type == EventType.LOOP_STARTED:
        state = replace(state, spec=_spec(recording, event, goal))
    return loop.fold(state, event)


def _spec(recording: Recording, started: Event | None, goal: str | None) -> RunSpec:
    """What the run was asked to do, as the start of its process tells; limits unknown then do not bind now."""
    first = recording.events[0]
    content: Mapping[str, Any] = started.content if started is not None else {}
    known: Mapping[str, Any] = started.data if started is not None else {}
    asked = known.get("approvals")
    approvals = _approvals(recording.events) if asked is None else Approvals.from_json(asked)
    limits = Limits(
        max_steps=int(content.get("max_steps") or 1_000_000),
        interval_seconds=float(content.get("interval_seconds") or 0),
        max_iteration_seconds=float(content.get("max_iteration_seconds") or 0),
    )
    # The goal of the iteration itself is on record, even where the start of the process is not; a process that began
    # in its midst may have brought another.
    own = first.content.get("goal", "") if isinstance(first.content, Mapping) else ""
    if started is not None and started in recording.events:
        own = content.get("goal", own)
    return RunSpec(
        goal if goal is not None else str(own),
        first.run,
        first.session,
        Repeat.FOREVER,
        limits,
        budget=Budget.from_json(known.get("budget") or {}),
        approvals=approvals,
    )


def _others(recording: Recording) -> Ledger:
    """What the rest of the agent's life had spent of a limit that ended the iteration.

    The record says which limit it was. The iteration's own spending is on record; what is missing to that limit is
    what others had spent by then. Limits that did not end it leave room enough.
    """
    own, end = Ledger(), recording.events[-1]
    for event in recording.events[:-1]:
        own = loop.ledger.fold(own, replace(event, seq=0))
    scope, _, resource = str(end.content.get("reason") or "").partition(".")
    if scope not in (Scope.DAY, Scope.LIFE) or resource not in set(Resource):
        return Ledger()
    started = [event for event in recording.events if event.type == EventType.LOOP_STARTED]
    known = started[-1] if started else recording.started
    limit = Budget.from_json((known.data.get("budget") if known else None) or {}).limit(Scope(scope))
    most = limit.get(Resource(resource))
    if most is None:
        return Ledger()
    used = own.spent(Scope(scope), end.run, end.time).get(Resource(resource)) or 0
    rest = Amounts.from_json({resource: max(0, most - used)})
    return Ledger(day=own.day, today=rest, life=rest)


def _approvals(events: Sequence[Event]) -> Approvals:
    """Which tools had to wait for a person, as far as the iteration shows."""
    asked = [event for event in events if event.type == EventType.APPROVAL_REQUESTED]
    late = [event for event in events if event.type == EventType.APPROVAL_TIMED_OUT]
    ends = [seconds_of(event.content["expires_at"]) - event.time for event in asked if event.content.get("expires_at")]
    return Approvals(
        tuple(sorted({str(event.content["tool"]) for event in asked})),
        # The time that was written when the question was decided is a hair earlier than that of its event.
        max(0.001, min(ends)) if ends else 0,
        Decision(late[0].content["decision"]) if late else Decision.DENY,
    )


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: a time-out passes by a jump of the clock."""

    clock: _Jumping

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            self.clock.call_soon(self.clock.stuck)
        elif not ready and timeout:
            self.clock.seconds += timeout
        return ready


class _Jumping(asyncio.SelectorEventLoop):
    """A loop whose time passes only when there is nothing else to do, and then at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.stuck: Callable[[], object] = lambda: None
        selector = _Selector()
        selector.clock = self
        super().__init__(selector)

    def time(self) -> float:
        return self.seconds
