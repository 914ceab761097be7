"""The records of a run: what is written down when something of it begins, is asked, is given up or ends.

Pure: of the fold, and the time where it is told. `decide` says when; those who carry its actions out write down what
only they know (`failed`, `unknown`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaos_ext.loop.backoff import pause
from kaos_ext.loop.ledger import Refusal
from kaos_ext.loop.state import PendingCall, Repeat, RunState
from kaos_ext.model.budget import Scope
from kaos_ext.model.events import Event, EventType, Outcome, timestamp
from kaos_ext.model.values import changed

RESULT_CHARACTERS = 2000
NO_ROOM_SECONDS = 5.0
"""The pause after an iteration whose budget had no room for its first question: the next one will have none either."""
UNKNOWN = (
    "The call was made but its outcome is unknown (the connection or the process was lost before the answer). "
    "It may have taken effect; it was not repeated. Check before doing it again."
)


def unknown(state: RunState, call: PendingCall) -> Event:
    """The record of a call that was made and whose outcome nobody knows."""
    content = {"tool": call.tool, "error": UNKNOWN}
    return event(state, EventType.OUTCOME_UNKNOWN, content, data={"call_id": call.id})


def _given_up(state: RunState) -> list[Event]:
    """The records of the calls under way when an iteration ends; one that may be repeated leaves none."""
    return [unknown(state, call) for call in state.pending if call.intended and not call.repeatable]


def declined(state: RunState, call: PendingCall) -> Event:
    return event(state, EventType.TOOL_ERROR, {"tool": call.tool, "error": call.declined}, data={"call_id": call.id})


def approval_asked(state: RunState, call: PendingCall, now: float) -> Event:
    patience = state.spec.approvals.timeout_seconds
    content = {
        "tool": call.tool,
        "arguments": dict(call.arguments),
        "expires_at": timestamp(now + patience) if patience else None,
    }
    return event(state, EventType.APPROVAL_REQUESTED, content, data={"call_id": call.id})


def approval_timed_out(state: RunState, call: PendingCall) -> Event:
    approvals = state.spec.approvals
    content = {
        "tool": call.tool,
        "decision": str(approvals.on_timeout),
        "timeout_seconds": approvals.timeout_seconds,
    }
    return event(state, EventType.APPROVAL_TIMED_OUT, content, data={"call_id": call.id})


def exhausted(state: RunState, refused: Refusal) -> Event:
    content = {
        "reason": refused.reason,
        "scope": str(refused.scope),
        "resource": str(refused.resource),
        "spent": refused.spent,
        "limit": refused.limit,
        "until": None if refused.until is None else timestamp(refused.until),
    }
    return event(state, EventType.BUDGET_EXHAUSTED, content)


def cut(state: RunState, now: float, refused: Refusal | None = None) -> tuple[Event, ...]:
    """The records of an iteration that a limit ended."""
    text = state.turns[-1].text[:RESULT_CHARACTERS] if state.turns else ""
    events = _given_up(state)
    more: dict[str, Any] = {"result": text}
    if refused is not None:
        more["reason"] = refused.reason
        if not state.steps:
            more["retry_after_seconds"] = NO_ROOM_SECONDS
        # What holds the whole loop is told between iterations, with when it goes on.
        if refused.scope is Scope.ITERATION or state.spec.repeat is not Repeat.FOREVER:
            events.append(exhausted(state, refused))
    end = ended(state, now, EventType.ITERATION_FINISHED, Outcome.BUDGET_EXHAUSTED, **more)
    return (*events, end)


def failed(
    state: RunState,
    error: str,
    now: float,
    *,
    retry_after: float = 0,
    billed: bool = False,
    spent: Mapping[str, float] | None = None,
) -> tuple[Event, ...]:
    """The records of an iteration that an error ended; `billed` when what failed may have cost something all the same.

    `spent` is what it cost if that is known; `retry_after` are the seconds for which whoever failed wants to be left
    alone.
    """
    more: dict[str, Any] = {"error": error}
    if retry_after:
        more["retry_after_seconds"] = retry_after
    if billed:
        more["billed"] = True
    if spent:
        more["spent"] = dict(spent)
    end = ended(state, now, EventType.ITERATION_FAILED, Outcome.FAILED, **more)
    return (*_given_up(state), event(state, EventType.ERROR, error), end)


def timed_out(state: RunState, now: float, limit: float) -> tuple[Event, ...]:
    error = f"cut off after {limit:g} s, the most one iteration may run"
    return (*_given_up(state), ended(state, now, EventType.ITERATION_TIMED_OUT, Outcome.TIMED_OUT, error=error))


def finished(state: RunState, now: float, outcome: Outcome, text: str) -> tuple[Event, ...]:
    response = event(state, EventType.AGENT_RESPONSE, text)
    return (response, ended(state, now, EventType.ITERATION_FINISHED, outcome, result=text[:RESULT_CHARACTERS]))


def ended(state: RunState, now: float, kind: EventType, outcome: Outcome, **more: Any) -> Event:
    status = state.status
    content: dict[str, Any] = {"outcome": str(outcome), **more}
    content["duration_seconds"] = round(max(0.0, now - (status.started_at or now)), 3)
    failures = status.failures + 1 if kind != EventType.ITERATION_FINISHED else 0
    if failures:
        content["failures"] = failures
    if state.spec.repeat is Repeat.FOREVER:
        asked = float(more.get("retry_after_seconds") or 0)
        content["next_at"] = timestamp(now + pause(state.spec.limits.interval_seconds, failures, asked))
    totals = changed(status.totals, iterations=status.totals.iterations + 1)
    return event(state, kind, {**content, "totals": totals.to_json()})


def event(
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
