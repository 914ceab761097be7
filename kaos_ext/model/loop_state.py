"""Where a loop stands: the status of one run, as a fold of its events.

    status = fold(status, event)         # pure; a LoopState follows one run, and takes each of its events once

The end of an iteration carries the totals so far, so a fold may begin at any end of an iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType, seconds_of, timestamp
from kaos_ext.model.values import changed


class LoopPhase(StrEnum):
    """Where a loop stands."""

    IDLE = "idle"
    """No goal: the agent only answers."""
    RUNNING = "running"
    WAITING = "waiting"
    """Between two iterations; `next_run_at` says until when."""
    PAUSED = "paused"
    INPUT_REQUIRED = "input-required"
    """A tool call waits for a person."""
    STOPPED = "stopped"
    """The process ended cleanly (a restart goes on), or the run is over; `stop_reason` says why if a limit is."""


@dataclass(frozen=True)
class Totals:
    """What a run has done since its first event, restarts included."""

    iterations: int = 0
    model_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def to_json(self) -> dict[str, int]:
        return {
            "iterations": self.iterations,
            "model_calls": self.model_calls,
            "tool_calls": self.tool_calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Totals:
        return cls(**{name: int(value.get(name) or 0) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Waiting:
    """A tool call that waits for a person."""

    id: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    asked_at: float = 0.0
    expires_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "tool": self.tool,
            "arguments": dict(self.arguments),
            "asked_at": timestamp(self.asked_at),
            "expires_at": None if self.expires_at is None else timestamp(self.expires_at),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Waiting:
        expires = value.get("expires_at")
        return cls(
            str(value.get("id", "")),
            str(value.get("tool", "")),
            dict(value.get("arguments") or {}),
            seconds_of(value["asked_at"]) if value.get("asked_at") else 0.0,
            seconds_of(expires) if expires else None,
        )


@dataclass(frozen=True)
class LoopState:
    """The status of one run, a fold of its events. Times are seconds since the epoch."""

    run: str = LOOP_RUN
    seq: int = 0
    """Place of the last event that is folded in; earlier ones change nothing any more."""
    phase: LoopPhase = LoopPhase.IDLE
    goal: str = ""
    interval_seconds: float = 0
    session: str = ""
    iteration: int = 0
    """Number of the iteration that runs, or ran last; 0 before the first."""
    step: int = 0
    started_at: float | None = None
    """Start of the open iteration; None between iterations."""
    last_outcome: str = ""
    last_duration_seconds: float | None = None
    last_response: str = ""
    last_error: str = ""
    next_run_at: float | None = None
    failures: int = 0
    """Iterations that failed or timed out in a row; the pause grows with it."""
    totals: Totals = field(default_factory=Totals)
    stop_reason: str = ""
    """The limit that holds the loop, or ended its last iteration."""
    approvals: tuple[Waiting, ...] = ()
    """Tool calls that wait for a person."""

    @property
    def open(self) -> bool:
        return self.started_at is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "state": str(self.phase),
            "seq": self.seq,
            "goal": self.goal,
            "interval_seconds": self.interval_seconds,
            "session_id": self.session,
            "iteration": self.iteration,
            "step": self.step,
            "iteration_started_at": None if self.started_at is None else timestamp(self.started_at),
            "last_outcome": self.last_outcome,
            "last_duration_seconds": self.last_duration_seconds,
            "last_response": self.last_response,
            "last_error": self.last_error,
            "next_run_at": None if self.next_run_at is None else timestamp(self.next_run_at),
            "failures": self.failures,
            "totals": self.totals.to_json(),
            "stop_reason": self.stop_reason,
            "approvals": [waiting.to_json() for waiting in self.approvals],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoopState:
        started, upcoming = value.get("iteration_started_at"), value.get("next_run_at")
        return cls(
            seq=int(value.get("seq") or 0),
            phase=LoopPhase(value.get("state", "idle")),
            goal=str(value.get("goal") or ""),
            interval_seconds=float(value.get("interval_seconds") or 0),
            session=str(value.get("session_id") or ""),
            iteration=int(value.get("iteration") or 0),
            step=int(value.get("step") or 0),
            started_at=seconds_of(started) if started else None,
            last_outcome=str(value.get("last_outcome") or ""),
            last_duration_seconds=value.get("last_duration_seconds"),
            last_response=str(value.get("last_response") or ""),
            last_error=str(value.get("last_error") or ""),
            next_run_at=seconds_of(upcoming) if upcoming else None,
            failures=int(value.get("failures") or 0),
            totals=Totals.from_json(value.get("totals") or {}),
            stop_reason=str(value.get("stop_reason") or ""),
            approvals=tuple(Waiting.from_json(item) for item in value.get("approvals") or ()),
        )


def fold(state: LoopState, event: Event) -> LoopState:
    """The state after one more event; events of other runs, folded ones and unknown types change nothing."""
    if event.run != state.run or 0 < event.seq <= state.seq:
        return state
    fold = _FOLDS.get(event.type)
    changes = fold(state, event) if fold is not None else {}
    if event.seq:
        changes["seq"] = event.seq
    return changed(state, **changes) if changes else state


Changes = dict[str, Any]


def _loop_started(state: LoopState, event: Event) -> Changes:
    content = event.fields
    upcoming = content.get("next_at")
    return {
        "phase": LoopPhase.PAUSED if state.phase is LoopPhase.PAUSED else _at_work(state, state.approvals),
        "goal": str(content.get("goal", state.goal)),
        "interval_seconds": float(content.get("interval_seconds", state.interval_seconds)),
        "next_run_at": seconds_of(upcoming) if upcoming else state.next_run_at,
        "session": event.session or state.session,
        # Whoever takes the loop up may have mended what failed: the back-off begins anew.
        "failures": 0,
        "stop_reason": "" if event.run == LOOP_RUN else state.stop_reason,
    }


def _loop_stopped(state: LoopState, event: Event) -> Changes:
    return {"phase": LoopPhase.STOPPED, "next_run_at": None}


def _iteration_started(state: LoopState, event: Event) -> Changes:
    return {
        "phase": LoopPhase.RUNNING,
        "iteration": event.iteration,
        "step": 0,
        "started_at": event.time,
        "next_run_at": None,
        "session": event.session or state.session,
        "goal": str(event.fields.get("goal", state.goal)),
        "stop_reason": "",
        "approvals": (),
    }


def _iteration_ended(state: LoopState, event: Event) -> Changes:
    content = event.fields
    failed = event.type != EventType.ITERATION_FINISHED
    totals = content.get("totals")
    upcoming = content.get("next_at")
    return {
        "phase": LoopPhase.PAUSED if state.phase is LoopPhase.PAUSED else LoopPhase.WAITING,
        "iteration": event.iteration,
        "started_at": None,
        "session": event.session or state.session,
        "last_outcome": str(content.get("outcome", "")),
        "last_duration_seconds": content.get("duration_seconds"),
        "last_error": str(content.get("error", "")),
        "stop_reason": str(content.get("reason", "")),
        "approvals": (),
        "last_response": str(content.get("result", state.last_response)),
        "next_run_at": seconds_of(upcoming) if upcoming else None,
        "failures": int(content.get("failures", state.failures + 1)) if failed else 0,
        "totals": Totals.from_json(totals) if totals else changed(state.totals, iterations=state.totals.iterations + 1),
    }


def _model_asked(state: LoopState, event: Event) -> Changes:
    return {"step": event.step}


def _model_answered(state: LoopState, event: Event) -> Changes:
    given, totals = event.fields.get("usage"), state.totals
    usage = given if isinstance(given, dict) else {}
    return {
        "totals": changed(
            totals,
            model_calls=totals.model_calls + 1,
            input_tokens=totals.input_tokens + int(usage.get("prompt_tokens") or 0),
            output_tokens=totals.output_tokens + int(usage.get("completion_tokens") or 0),
        )
    }


def _tool_called(state: LoopState, event: Event) -> Changes:
    return {"totals": changed(state.totals, tool_calls=state.totals.tool_calls + 1)}


def _responded(state: LoopState, event: Event) -> Changes:
    return {"last_response": str(event.content)}


def _paused(state: LoopState, event: Event) -> Changes:
    return {"phase": LoopPhase.PAUSED}


def _resumed(state: LoopState, event: Event) -> Changes:
    return {"phase": _at_work(state, state.approvals)}


def _exhausted(state: LoopState, event: Event) -> Changes:
    content = event.fields
    changes: Changes = {"stop_reason": str(content.get("reason", ""))}
    if state.open:
        return changes
    until = content.get("until")
    if until:
        return {**changes, "phase": LoopPhase.WAITING, "next_run_at": seconds_of(until)}
    return {**changes, "phase": LoopPhase.STOPPED, "next_run_at": None}


def _approval_asked(state: LoopState, event: Event) -> Changes:
    content = event.fields
    expires = content.get("expires_at")
    call = Waiting(
        str(event.data.get("call_id", "")),
        str(content.get("tool", "")),
        dict(content.get("arguments") or {}),
        event.time,
        seconds_of(expires) if expires else None,
    )
    return _waiting_for(state, (*state.approvals, call))


def _approval_answered(state: LoopState, event: Event) -> Changes:
    answered = event.data.get("call_id")
    return _waiting_for(state, tuple(item for item in state.approvals if item.id != answered))


def _waiting_for(state: LoopState, approvals: tuple[Waiting, ...]) -> Changes:
    phase = LoopPhase.PAUSED if state.phase is LoopPhase.PAUSED else _at_work(state, approvals)
    return {"approvals": approvals, "phase": phase}


def _at_work(state: LoopState, approvals: tuple[Waiting, ...]) -> LoopPhase:
    if approvals:
        return LoopPhase.INPUT_REQUIRED
    return LoopPhase.RUNNING if state.open else LoopPhase.WAITING


_FOLDS: dict[str, Callable[[LoopState, Event], Changes]] = {
    EventType.LOOP_STARTED: _loop_started,
    EventType.LOOP_STOPPED: _loop_stopped,
    EventType.ITERATION_STARTED: _iteration_started,
    **dict.fromkeys(ITERATION_ENDS, _iteration_ended),
    EventType.MODEL_REQUEST: _model_asked,
    EventType.MODEL_RESPONSE: _model_answered,
    EventType.TOOL_CALL: _tool_called,
    EventType.AGENT_RESPONSE: _responded,
    EventType.PAUSED: _paused,
    EventType.RESUMED: _resumed,
    EventType.BUDGET_EXHAUSTED: _exhausted,
    EventType.APPROVAL_REQUESTED: _approval_asked,
    EventType.APPROVAL_GRANTED: _approval_answered,
    EventType.APPROVAL_DECLINED: _approval_answered,
    EventType.APPROVAL_TIMED_OUT: _approval_answered,
}
