"""The state of one run: what it was asked to do (`RunSpec`), where it stands (`LoopState`), and the open iteration.

An iteration is a conversation: the goal, then steps. One step is a model call and the tool calls it asked for. A tool
call is *pending* from the model's answer until a result, an error or "outcome unknown" is on record; its *intent* (a
`tool_call` event) is on record before it is made, so a call with an intent and no result is one whose process died or
was cut off: it may have happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kaos_ext.loop.ledger import Ledger
from kaos_ext.model import loop_state
from kaos_ext.model.approvals import Approvals
from kaos_ext.model.budget import Budget, Scope
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType, Outcome
from kaos_ext.model.loop_state import LoopState
from kaos_ext.model.values import changed

DIGEST_ITERATIONS = 5
DIGEST_CHARACTERS = 400


class Repeat(StrEnum):
    """When a run is over."""

    FOREVER = "forever"
    """The resident loop: never by itself."""
    UNTIL_DONE = "until-done"
    """An asynchronous task: when an iteration needed no tools, or a limit is reached."""
    ONCE = "once"
    """A chat request or a synchronous task: after one iteration."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a run; 0 is "no limit", except for steps."""

    max_steps: int = 5
    interval_seconds: float = 0
    max_iteration_seconds: float = 0
    max_iterations: int = 0
    max_runtime_seconds: float = 0
    max_tool_calls: int = 0


@dataclass(frozen=True)
class RunSpec:
    """What a run is asked to do. It comes from the settings or the request, not from the log."""

    goal: str
    run: str = LOOP_RUN
    session: str = ""
    repeat: Repeat = Repeat.FOREVER
    limits: Limits = field(default_factory=Limits)
    delegated: bool = False
    """The message came from another agent."""
    budget: Budget = field(default_factory=Budget)
    approvals: Approvals = field(default_factory=Approvals)


@dataclass(frozen=True)
class PendingCall:
    """A tool call the model asked for and that has no answer yet."""

    id: str
    tool: str
    arguments: Mapping[str, Any]
    intended: bool = False
    """Its intent is on record: it was made, or was about to be."""
    repeatable: bool = False
    """The tool says it is read-only or idempotent."""
    interrupted: bool = False
    """The process that made it is gone."""
    problem: str = ""
    """Why it cannot be made at all (arguments that are no JSON object)."""
    asked_at: float | None = None
    """When a person was asked whether it may be made."""
    granted: bool = False
    declined: str = ""
    """Why it may not be made, as the model is told."""


@dataclass(frozen=True)
class Turn:
    """One message of the open iteration's conversation, after the goal."""

    role: str
    text: str = ""
    calls: tuple[PendingCall, ...] = ()
    call_id: str = ""
    tool: str = ""


@dataclass(frozen=True)
class Past:
    """One earlier iteration, as the digest tells it."""

    iteration: int
    outcome: str
    text: str


@dataclass(frozen=True)
class RunState:
    """A fold of a run's events under its spec."""

    spec: RunSpec
    status: LoopState
    turns: tuple[Turn, ...] = ()
    pending: tuple[PendingCall, ...] = ()
    steps: int = 0
    """Model calls answered in the open iteration."""
    answer: str | None = None
    """The final text of the open iteration, once the model gave it."""
    iteration_goal: str = ""
    active_since: float = 0.0
    """From when the open iteration's time counts: its start, or when a process took it up again or it was resumed."""
    started_at: float | None = None
    """The run's first event."""
    ended_at: float = 0.0
    """End of the last iteration."""
    asked_pause: float = 0.0
    """Seconds for which the server that failed the last iteration wants to be left alone."""
    used_tools: bool = False
    """The open iteration, or the last one, asked for tools."""
    suspended: bool = False
    """Wanted by the owner; `status.phase` says whether it is on record."""
    hold_after: bool = False
    """Wanted by the owner: suspended, but only once the open iteration has ended."""
    requested: str = ""
    """Wanted by the owner: one iteration now; empty once it has begun."""
    last_request: str = ""
    """The newest wish of that kind that is on record."""
    forced: bool = False
    """The open iteration was begun by such a wish while the loop was suspended."""
    ledger: Ledger = field(default_factory=Ledger)
    """What the agent has spent so far, all its runs together."""
    exhausted: str = ""
    """Which limit ended the run."""
    digest: tuple[Past, ...] = ()


def begin(spec: RunSpec) -> RunState:
    """The state of a run before its first event."""
    return RunState(spec, LoopState(run=spec.run, session=spec.session, goal=spec.goal))


def interrupted(state: RunState) -> RunState:
    """The state once whoever made the calls under way is gone, without their answers."""
    return changed(state, pending=_cut_off(state))


def fold(state: RunState, event: Event) -> RunState:
    """The state after one more event; events of other runs change nothing."""
    if event.run != state.spec.run:
        return state
    fold = _FOLDS.get(event.type)
    changes = fold(state, event) if fold is not None else {}
    changes["status"] = loop_state.fold(state.status, event)
    if state.started_at is None:
        changes["started_at"] = event.time
    return changed(state, **changes)


Changes = dict[str, Any]


def _loop_started(state: RunState, event: Event) -> Changes:
    return {"pending": _cut_off(state), "active_since": event.time, **_unheld(state)}


def _resumed(state: RunState, event: Event) -> Changes:
    return {"active_since": event.time, **_unheld(state)}


def _run_requested(state: RunState, event: Event) -> Changes:
    id = str(event.fields.get("id", ""))
    return {"requested": id, "last_request": id}


def _iteration_started(state: RunState, event: Event) -> Changes:
    content = event.fields
    return {
        "requested": "",
        "forced": bool(content.get("forced")),
        "turns": (),
        "pending": (),
        "steps": 0,
        "answer": None,
        "iteration_goal": str(content.get("goal", state.spec.goal)),
        "active_since": event.time,
        "used_tools": False,
        **_unheld(state),
    }


def _model_answered(state: RunState, event: Event) -> Changes:
    content = event.fields
    calls = tuple(
        PendingCall(
            str(call["id"]), str(call["name"]), dict(call.get("arguments") or {}), problem=str(call.get("problem", ""))
        )
        for call in content.get("tool_calls") or ()
    )
    text = str(content.get("text") or "")
    return {
        "steps": state.steps + 1,
        "pending": calls,
        "turns": (*state.turns, Turn("assistant", text, calls)),
        "answer": None if calls else text,
        "used_tools": state.used_tools or bool(calls),
    }


def _tool_called(state: RunState, event: Event) -> Changes:
    return _call(state, event, intended=True, repeatable=bool(event.data.get("repeatable")))


def _tool_ended(state: RunState, event: Event) -> Changes:
    content, call_id = event.fields, str(event.data.get("call_id", ""))
    text = content.get("result") if event.type == EventType.TOOL_RESULT else f"Error: {content.get('error', '')}"
    return {
        "pending": tuple(call for call in state.pending if call.id != call_id),
        "turns": (*state.turns, Turn("tool", str(text), call_id=call_id, tool=str(content.get("tool", "")))),
    }


def _approval_asked(state: RunState, event: Event) -> Changes:
    return _call(state, event, asked_at=event.time)


def _approval_granted(state: RunState, event: Event) -> Changes:
    return {"active_since": event.time, **_call(state, event, granted=True)}


def _approval_declined(state: RunState, event: Event) -> Changes:
    why = str(event.fields.get("reason") or "")
    said = f"a person declined this call{': ' + why if why else ''}"
    return {"active_since": event.time, **_call(state, event, declined=said)}


def _approval_timed_out(state: RunState, event: Event) -> Changes:
    allowed = event.fields.get("decision") == "allow"
    said = "" if allowed else "nobody approved this call in time"
    return {"active_since": event.time, **_call(state, event, granted=allowed, declined=said)}


def _exhausted(state: RunState, event: Event) -> Changes:
    content = event.fields
    return {} if content.get("scope") == Scope.ITERATION else {"exhausted": str(content.get("reason", ""))}


def _iteration_ended(state: RunState, event: Event) -> Changes:
    content = event.fields
    text = str(content.get("error") or content.get("result") or "")
    past = Past(event.iteration, str(content.get("outcome", "")), text[:DIGEST_CHARACTERS])
    digest = state.digest
    if past.outcome != Outcome.SUPERSEDED:
        digest = (*digest, past)[-DIGEST_ITERATIONS:]
    return {
        "turns": (),
        "pending": (),
        "steps": 0,
        "answer": None,
        "ended_at": event.time,
        "asked_pause": float(content.get("retry_after_seconds") or 0),
        "digest": digest,
        "forced": False,
    }


_FOLDS: dict[str, Callable[[RunState, Event], Changes]] = {
    EventType.LOOP_STARTED: _loop_started,
    EventType.RESUMED: _resumed,
    EventType.RUN_REQUESTED: _run_requested,
    EventType.ITERATION_STARTED: _iteration_started,
    EventType.MODEL_RESPONSE: _model_answered,
    EventType.TOOL_CALL: _tool_called,
    EventType.TOOL_RESULT: _tool_ended,
    EventType.TOOL_ERROR: _tool_ended,
    EventType.OUTCOME_UNKNOWN: _tool_ended,
    EventType.APPROVAL_REQUESTED: _approval_asked,
    EventType.APPROVAL_GRANTED: _approval_granted,
    EventType.APPROVAL_DECLINED: _approval_declined,
    EventType.APPROVAL_TIMED_OUT: _approval_timed_out,
    EventType.BUDGET_EXHAUSTED: _exhausted,
    **dict.fromkeys(ITERATION_ENDS, _iteration_ended),
}


def _cut_off(state: RunState) -> tuple[PendingCall, ...]:
    return tuple(changed(call, interrupted=call.intended) for call in state.pending)


def _unheld(state: RunState) -> Changes:
    """What held the loop is looked at anew; a task that a limit ended stays ended."""
    return {"exhausted": ""} if state.spec.repeat is Repeat.FOREVER else {}


def _call(state: RunState, event: Event, **change: Any) -> Changes:
    """What is known of one pending call changes."""
    id = event.data.get("call_id")
    return {"pending": tuple(changed(call, **change) if call.id == id else call for call in state.pending)}
