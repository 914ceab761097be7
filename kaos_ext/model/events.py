"""Events: the append-only record of what an agent did.

An `Event` belongs to a *run*: the resident loop (`LOOP_RUN`), a chat request or an A2A task. `seq` is its place in the
agent's log, given by the log, ascending, never used twice. What KAOS clients know as a memory event is `to_json()`:
`content` has the published shape of its type, everything of ours lies in `metadata` (the fields `session_id`, `run`,
`iteration`, `step` and whatever `data` holds).

The fold of them that tells where a loop stands is `kaos_ext.model.loop_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

LOOP_RUN = "loop"
"""The run of the resident loop; other runs are named after their task (`task_…`) or chat request (`chat_…`)."""


class EventType(StrEnum):
    """What happened. The first block are the types KAOS clients know; the rest is ours."""

    USER_MESSAGE = "user_message"
    AGENT_RESPONSE = "agent_response"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    TOOL_ERROR = "tool_error"
    DELEGATION_REQUEST = "delegation_request"
    DELEGATION_RESPONSE = "delegation_response"
    DELEGATION_ERROR = "delegation_error"
    TASK_DELEGATION_RECEIVED = "task_delegation_received"
    ERROR = "error"

    SESSION_STARTED = "session_started"
    LOOP_STARTED = "loop_started"
    """A process took up a run: for the first time, or after the one before it ended or died."""
    LOOP_STOPPED = "loop_stopped"
    JOURNAL_SALVAGED = "journal_salvaged"
    """The file of events was damaged; what could be read of it goes on in a new one."""
    ITERATION_STARTED = "iteration_started"
    ITERATION_FINISHED = "iteration_finished"
    ITERATION_FAILED = "iteration_failed"
    ITERATION_TIMED_OUT = "iteration_timed_out"
    MODEL_REQUEST = "model_request"
    MODEL_RESPONSE = "model_response"
    OUTCOME_UNKNOWN = "outcome_unknown"
    PAUSED = "paused"
    RESUMED = "resumed"
    BUDGET_EXHAUSTED = "budget_exhausted"
    RUN_REQUESTED = "run_requested"
    """The owner wants one iteration now."""
    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_GRANTED = "approval_granted"
    APPROVAL_DECLINED = "approval_declined"
    APPROVAL_TIMED_OUT = "approval_timed_out"
    TASK_SUBMITTED = "task_submitted"
    TASK_WORKING = "task_working"
    TASK_COMPLETED = "task_completed"
    TASK_FAILED = "task_failed"
    TASK_CANCELED = "task_canceled"


_TYPES: dict[str, str] = {member.value: member for member in EventType}
KAOS_TYPES = frozenset(
    {
        EventType.USER_MESSAGE,
        EventType.AGENT_RESPONSE,
        EventType.TOOL_CALL,
        EventType.TOOL_RESULT,
        EventType.TOOL_ERROR,
        EventType.DELEGATION_REQUEST,
        EventType.DELEGATION_RESPONSE,
        EventType.DELEGATION_ERROR,
        EventType.TASK_DELEGATION_RECEIVED,
        EventType.ERROR,
    }
)
ITERATION_ENDS = frozenset({EventType.ITERATION_FINISHED, EventType.ITERATION_FAILED, EventType.ITERATION_TIMED_OUT})


class Outcome(StrEnum):
    """How an iteration ended."""

    COMPLETED = "Completed"
    STEPS_EXHAUSTED = "StepsExhausted"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    SUPERSEDED = "Superseded"
    """The goal was changed while the iteration was open; the next one works at the new goal."""


def timestamp(seconds: float) -> str:
    """ISO 8601 in UTC of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def seconds_of(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time."""
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Event:
    """One record. `type` is an `EventType`, or the bare string of a type this version does not know."""

    type: str
    content: Any = ""
    seq: int = 0
    time: float = 0.0
    session: str = ""
    run: str = ""
    iteration: int = 0
    step: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"event_{self.seq:08x}"

    @property
    def fields(self) -> Mapping[str, Any]:
        """The content of those types that have fields; empty of those whose content is a text."""
        return self.content if isinstance(self.content, dict) else {}

    @property
    def timestamp(self) -> str:
        return timestamp(self.time)

    def to_json(self) -> dict[str, Any]:
        """The memory event as KAOS clients see it, with our fields added."""
        return {
            "seq": self.seq,
            "event_id": self.id,
            "timestamp": self.timestamp,
            "event_type": str(self.type),
            "content": self.content,
            "metadata": {
                "session_id": self.session,
                "run": self.run,
                "iteration": self.iteration,
                "step": self.step,
                **self.data,
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        """The event of a memory event; fields that a foreign agent does not send have their defaults."""
        data = dict(value.get("metadata") or {})
        kind = str(value.get("event_type", ""))
        return cls(
            type=_TYPES.get(kind, kind),
            content=value.get("content", ""),
            seq=int(value.get("seq") or 0),
            time=seconds_of(value["timestamp"]) if value.get("timestamp") else 0.0,
            session=str(data.pop("session_id", "")),
            run=str(data.pop("run", "")),
            iteration=int(data.pop("iteration", 0) or 0),
            step=int(data.pop("step", 0) or 0),
            data=data,
        )
