"""What a run does next. Pure: `decide(state, now)` looks at the fold and the time, and names actions.

At every call the first rule that applies decides:

    open iteration      calls cut off → outcome unknown, or once more if repeatable
                        owner's suspension → paused, parked, resumed (and the iteration's time starts anew)
                        time is up → timed out          goal changed → superseded
                        a limit of the run is reached → finished as BudgetExhausted
                        calls pending → call tools      answer there → finished
                        steps used up → finished as StepsExhausted      else → ask the model
    between iterations  owner's suspension; the run is over, or a limit is reached → end
                        pause not over → wait            else → start the next iteration

Actions of one decision are carried out in order; then the events they left are folded and `decide` is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kaos_ext.loop.backoff import pause
from kaos_ext.loop.state import PendingCall, Repeat, RunState, fold
from kaos_ext.model.events import Event, EventType, LoopPhase, Outcome, timestamp

RESULT_CHARACTERS = 2000
UNKNOWN = (
    "The call was made but its outcome is unknown (the connection or the process was lost before the answer). "
    "It may have taken effect; it was not repeated. Check before doing it again."
)


@dataclass(frozen=True, slots=True)
class Record:
    """Write these events down, in one transaction."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class AskModel:
    """Call the model once and record its answer as `model_response` of this step."""

    step: int


@dataclass(frozen=True, slots=True)
class CallTools:
    """Make these calls (intents first, except for those that have one) and record what comes of each."""

    calls: tuple[PendingCall, ...]


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before this time, unless the owner suspends the run."""

    time: float


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing to do until the owner lifts the suspension."""


@dataclass(frozen=True, slots=True)
class End:
    """The run is over."""


Action = Record | AskModel | CallTools | WaitUntil | Park | End


def next(state: RunState, event: Event) -> tuple[RunState, tuple[Action, ...]]:
    """Fold one event and decide at its time."""
    state = fold(state, event)
    return state, decide(state, event.time)


def decide(state: RunState, now: float) -> tuple[Action, ...]:
    return _within(state, now) if state.status.open else _between(state, now)


def _within(state: RunState, now: float) -> tuple[Action, ...]:
    lost = tuple(call for call in state.pending if call.interrupted and not call.repeatable)
    if lost:
        return (Record(tuple(unknown(state, call) for call in lost)),)
    held = _suspension(state)
    if held:
        return held
    limit = state.spec.limits.max_iteration_seconds
    if limit and now >= state.active_since + limit:
        return (Record(_timed_out(state, now, limit)),)
    if state.spec.repeat is Repeat.FOREVER and state.iteration_goal != state.spec.goal:
        return (Record((_end(state, now, EventType.ITERATION_FINISHED, Outcome.SUPERSEDED),)),)
    if state.answer is None and _spent(state, now):
        text = state.turns[-1].text if state.turns else ""
        unknowns = tuple(unknown(state, call) for call in state.pending if call.intended and not call.repeatable)
        end = _end(state, now, EventType.ITERATION_FINISHED, Outcome.BUDGET_EXHAUSTED, result=text[:RESULT_CHARACTERS])
        return (Record((*unknowns, end)),)
    if state.pending:
        return (CallTools(state.pending),)
    if state.answer is not None:
        return (Record(_finished(state, now, Outcome.COMPLETED, state.answer)),)
    if state.steps >= state.spec.limits.max_steps:
        text = f"Stopped after {state.steps} model calls (the most one iteration may make) without a final answer."
        return (Record(_finished(state, now, Outcome.STEPS_EXHAUSTED, text)),)
    return (AskModel(state.steps + 1),)


def _between(state: RunState, now: float) -> tuple[Action, ...]:
    if over(state):
        return (End(),)
    held = _suspension(state)
    if held:
        return held
    reason = _spent(state, now)
    if reason:
        return (Record((_event(state, EventType.BUDGET_EXHAUSTED, {"reason": reason}),)),)
    due = due_at(state)
    if now < due:
        return (WaitUntil(due),)
    number = state.status.iteration + 1
    started = _event(state, EventType.ITERATION_STARTED, {"goal": state.spec.goal}, iteration=number)
    kind = EventType.TASK_DELEGATION_RECEIVED if state.spec.delegated else EventType.USER_MESSAGE
    message = _event(state, kind, state.spec.goal, iteration=number)
    return (Record((started, message)),)


def over(state: RunState) -> bool:
    """Nothing is left to do in this run, ever."""
    status = state.status
    if status.open or state.spec.repeat is Repeat.FOREVER:
        return False
    if state.exhausted:
        return True
    if not status.iteration:
        return False
    return state.spec.repeat is Repeat.ONCE or bool(status.failures) or not state.used_tools


def due_at(state: RunState) -> float:
    """When the next iteration may start: the pause counts from the end of the last one."""
    if not state.status.iteration:
        return 0.0
    return state.ended_at + pause(state.spec.limits.interval_seconds, state.status.failures)


def _spent(state: RunState, now: float) -> str:
    """The limit of the run that is reached; empty when there is room."""
    limits, totals = state.spec.limits, state.status.totals
    if limits.max_iterations and not state.status.open and totals.iterations >= limits.max_iterations:
        return "max_iterations"
    end = _runtime_end(state)
    if end is not None and now >= end:
        return "max_runtime_seconds"
    if limits.max_tool_calls and totals.tool_calls >= limits.max_tool_calls:
        return "max_tool_calls"
    return ""


def _runtime_end(state: RunState) -> float | None:
    limit = state.spec.limits.max_runtime_seconds
    return state.started_at + limit if limit and state.started_at is not None else None


def deadline(state: RunState) -> float | None:
    """When what the open iteration is doing must be cut off; None when nothing limits it."""
    limit = state.spec.limits.max_iteration_seconds
    ends = [state.active_since + limit] if limit else []
    end = _runtime_end(state)
    return min([*ends, end] if end is not None else ends, default=None)


def _suspension(state: RunState) -> tuple[Action, ...]:
    paused = state.status.phase is LoopPhase.PAUSED
    if state.suspended and not paused:
        return (Record((_event(state, EventType.PAUSED),)),)
    if state.suspended:
        return (Park(),)
    if paused:
        return (Record((_event(state, EventType.RESUMED),)),)
    return ()


def unknown(state: RunState, call: PendingCall) -> Event:
    """The record of a call that was made and whose outcome nobody knows."""
    content = {"tool": call.tool, "error": UNKNOWN}
    return _event(state, EventType.OUTCOME_UNKNOWN, content, data={"call_id": call.id})


def failed(state: RunState, error: str, now: float) -> tuple[Event, ...]:
    """The records of an iteration that an error ended."""
    unknowns = tuple(unknown(state, call) for call in state.pending if call.intended and not call.repeatable)
    end = _end(state, now, EventType.ITERATION_FAILED, Outcome.FAILED, error=error)
    return (*unknowns, _event(state, EventType.ERROR, error), end)


def _timed_out(state: RunState, now: float, limit: float) -> tuple[Event, ...]:
    unknowns = tuple(unknown(state, call) for call in state.pending if call.intended and not call.repeatable)
    error = f"cut off after {limit:g} s, the most one iteration may run"
    return (*unknowns, _end(state, now, EventType.ITERATION_TIMED_OUT, Outcome.TIMED_OUT, error=error))


def _finished(state: RunState, now: float, outcome: Outcome, text: str) -> tuple[Event, ...]:
    response = _event(state, EventType.AGENT_RESPONSE, text)
    return (response, _end(state, now, EventType.ITERATION_FINISHED, outcome, result=text[:RESULT_CHARACTERS]))


def _end(state: RunState, now: float, kind: EventType, outcome: Outcome, **more: str) -> Event:
    status = state.status
    content: dict[str, Any] = {"outcome": str(outcome), **more}
    content["duration_seconds"] = round(max(0.0, now - (status.started_at or now)), 3)
    failures = status.failures + 1 if kind != EventType.ITERATION_FINISHED else 0
    if failures:
        content["failures"] = failures
    if state.spec.repeat is Repeat.FOREVER:
        content["next_at"] = timestamp(now + pause(state.spec.limits.interval_seconds, failures))
    totals = replace(status.totals, iterations=status.totals.iterations + 1)
    return _event(state, kind, {**content, "totals": totals.to_json()})


def _event(
    state: RunState,
    kind: EventType,
    content: Any = "",
    *,
    iteration: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> Event:
    return Event(
        type=kind,
        content=content,
        session=state.spec.session,
        run=state.spec.run,
        iteration=state.status.iteration if iteration is None else iteration,
        step=state.steps if iteration is None else 0,
        data=data or {},
    )
