"""What a run does next. Pure: `decide(state, now)` looks at the fold and the time, and names actions.

At every call the first rule that applies decides:

    open iteration      calls cut off → outcome unknown, or once more if repeatable
                        owner's suspension → paused, parked, resumed (and the iteration's time starts anew)
                        calls a person declined → told to the model
                        time is up → timed out          goal changed → superseded
                        a limit of the run, or the budget, is reached → finished as BudgetExhausted
                        calls pending → call tools; those that need approval last: ask, then wait for the person
                        answer there → finished
                        steps used up → finished as StepsExhausted      else → ask the model
    between iterations  the run is over → end            owner's suspension (unless one iteration is wanted now)
                        a limit of the run is reached → end; the budget is → hold until there is room again
                        pause not over → wait            else → start the next iteration

Actions of one decision are carried out in order; then the events they left are folded and `decide` is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kaos_ext.loop import records
from kaos_ext.loop.backoff import pause
from kaos_ext.loop.ledger import Doing, Refusal, refusal, room
from kaos_ext.loop.state import PendingCall, Repeat, RunState, fold
from kaos_ext.model.budget import Resource
from kaos_ext.model.events import Event, EventType, Outcome
from kaos_ext.model.loop_state import LoopPhase


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
    lost = [call for call in state.pending if call.interrupted and not call.repeatable]
    if lost:
        return (Record(tuple(records.unknown(state, call) for call in lost)),)
    held = () if state.forced else _suspension(state, state.suspended)
    if held:
        return held
    declined = [call for call in state.pending if call.declined]
    if declined:
        return (Record(tuple(records.declined(state, call) for call in declined)),)
    asking = tuple(call for call in state.pending if call.asked_at is not None and not call.granted)
    limit = state.spec.limits.max_iteration_seconds
    if limit and not asking and now >= state.active_since + limit:
        return (Record(records.timed_out(state, now, limit)),)
    if state.spec.repeat is Repeat.FOREVER and state.iteration_goal != state.spec.goal:
        return (Record((records.ended(state, now, EventType.ITERATION_FINISHED, Outcome.SUPERSEDED),)),)
    if state.answer is None and _spent(state, now):
        return (Record(records.cut(state, now)),)
    if state.pending:
        return _tools(state, now, asking)
    if state.answer is not None:
        return (Record(records.finished(state, now, Outcome.COMPLETED, state.answer)),)
    if state.steps >= state.spec.limits.max_steps:
        text = f"Stopped after {state.steps} model calls (the most one iteration may make) without a final answer."
        return (Record(records.finished(state, now, Outcome.STEPS_EXHAUSTED, text)),)
    refused = _refused(state, now, Doing.MODEL)
    if refused:
        return (Record(records.cut(state, now, refused)),)
    return (AskModel(state.steps + 1),)


def _tools(state: RunState, now: float, asking: tuple[PendingCall, ...]) -> tuple[Action, ...]:
    """Calls that may be made are made; then a person is asked for the others; then they are waited for."""
    held = tuple(call for call in state.pending if needs_approval(state, call))
    ready = tuple(call for call in state.pending if call not in held)
    if ready:
        within = affordable(state, ready, now)
        if within:
            return (CallTools(within),)
        refused = _refused(state, now, Doing.TOOL)
        return (Record(records.cut(state, now, refused)),)
    fresh = tuple(call for call in held if call.asked_at is None)
    if fresh:
        return (Record(tuple(records.approval_asked(state, call, now) for call in fresh)),)
    patience = state.spec.approvals.timeout_seconds
    if not patience:
        end = _runtime_end(state)
        return (Park() if end is None else WaitUntil(end),)
    late = tuple(call for call in asking if now >= (call.asked_at or 0) + patience)
    if late:
        return (Record(tuple(records.approval_timed_out(state, call) for call in late)),)
    ends = [(call.asked_at or 0) + patience for call in asking]
    end = _runtime_end(state)
    return (WaitUntil(min([*ends, end] if end is not None else ends)),)


def needs_approval(state: RunState, call: PendingCall) -> bool:
    """Whether a person has to say yes first: not for a call that was made already, or that cannot be made."""
    if call.intended or call.granted or call.problem:
        return False
    return state.spec.approvals.needed(call.tool)


def affordable(state: RunState, calls: tuple[PendingCall, ...], now: float) -> tuple[PendingCall, ...]:
    """The calls there is room for, in their order; one whose intent is on record has been paid for."""
    limits, spec = state.spec.limits, state.spec
    seconds = room(state.ledger, spec.budget, spec.run, now, Resource.WALL_SECONDS)
    if seconds is not None and seconds <= 0:
        return ()  # Nobody has time left, not even for what was paid for.
    left = room(state.ledger, spec.budget, spec.run, now, Resource.TOOL_CALLS)
    if limits.max_tool_calls:
        own = max(0, limits.max_tool_calls - state.status.totals.tool_calls)
        left = own if left is None else min(left, own)
    if _refused(state, now, Doing.TOOL):
        left = 0
    if left is None:
        return calls
    fresh = [call for call in calls if not call.intended][: int(left)]
    return tuple(call for call in calls if call.intended or call in fresh)


def _refused(state: RunState, now: float, doing: Doing) -> Refusal | None:
    return refusal(state.ledger, state.spec.budget, state.spec.run, now, doing)


def may_ask(state: RunState, now: float) -> bool:
    """Whether the budget still has room for a model call."""
    return _refused(state, now, Doing.MODEL) is None


def _between(state: RunState, now: float) -> tuple[Action, ...]:
    if over(state):
        return (End(),)
    held = () if state.requested else _suspension(state, state.suspended or state.hold_after)
    if held:
        return held
    reason = _spent(state, now)
    if reason:
        return (Record((records.event(state, EventType.BUDGET_EXHAUSTED, {"reason": reason}),)),)
    refused = _refused(state, now, Doing.START)
    if refused:
        if state.exhausted != refused.reason:
            return (Record((records.exhausted(state, refused),)),)
        return (Park() if refused.until is None else WaitUntil(refused.until),)
    due = due_at(state)
    if now < due and not state.requested:
        return (WaitUntil(due),)
    number = state.status.iteration + 1
    content: dict[str, Any] = {"goal": state.spec.goal}
    if state.requested:
        content |= {"requested": state.requested, "forced": state.suspended or state.hold_after}
    started = records.event(state, EventType.ITERATION_STARTED, content, iteration=number)
    kind = EventType.TASK_DELEGATION_RECEIVED if state.spec.delegated else EventType.USER_MESSAGE
    message = records.event(state, kind, state.spec.goal, iteration=number)
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
    if state.spec.repeat is Repeat.ONCE or ended_badly(state):
        return True
    # One that a limit of the run cut off needed no tools, perhaps, because it came to nothing: the limit is told first.
    cut_off = status.last_outcome == Outcome.BUDGET_EXHAUSTED and not status.stop_reason
    return not state.used_tools and not cut_off


def ended_badly(state: RunState) -> bool:
    """The last iteration failed, whichever process saw it."""
    return state.status.last_outcome in (Outcome.FAILED, Outcome.TIMED_OUT)


def due_at(state: RunState) -> float:
    """When the next iteration may start: the pause counts from the end of the last one."""
    return _due_at(state, state.status.failures)


def resumes_at(state: RunState) -> float:
    """When the next iteration may start for a process that takes the run up: its back-off begins anew."""
    return _due_at(state, 0)


def _due_at(state: RunState, failures: int) -> float:
    if not state.status.iteration:
        return 0.0
    return state.ended_at + pause(state.spec.limits.interval_seconds, failures, state.asked_pause)


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


def deadline(state: RunState, now: float) -> float | None:
    """When what the open iteration is doing must be cut off; None when nothing limits it."""
    limit = state.spec.limits.max_iteration_seconds
    ends = [state.active_since + limit] if limit else []
    left = room(state.ledger, state.spec.budget, state.spec.run, now, Resource.WALL_SECONDS)
    if left is not None:
        ends.append(now + left)
    end = _runtime_end(state)
    return min([*ends, end] if end is not None else ends, default=None)


def _suspension(state: RunState, wanted: bool) -> tuple[Action, ...]:
    paused = state.status.phase is LoopPhase.PAUSED
    if wanted and not paused:
        return (Record((records.event(state, EventType.PAUSED),)),)
    if wanted:
        return (Park(),)
    if paused:
        return (Record((records.event(state, EventType.RESUMED),)),)
    return ()
