"""A2A tasks inside the agent: one model, whatever dialect a client speaks. A task is the fold of its run's events.

submitted → working → completed | failed | canceled | input-required      (terminal states are final)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from kaos_ext.model.events import Event, EventType

PREVIEW_CHARACTERS = 100


class TaskState(StrEnum):
    SUBMITTED = "submitted"
    WORKING = "working"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    INPUT_REQUIRED = "input-required"

    @property
    def terminal(self) -> bool:
        return self in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED)


@dataclass(frozen=True, slots=True)
class TaskMessage:
    role: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskNote:
    """Something that happened to a task, as its `events` list tells it."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    id: str
    session: str
    autonomous: bool = False
    budgets: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    state: TaskState = TaskState.SUBMITTED
    timestamp: str = ""
    message: str = ""
    history: tuple[TaskMessage, ...] = ()
    notes: tuple[TaskNote, ...] = ()
    output: str = ""
    waiting: tuple[str, ...] = ()
    """Tool calls that wait for a person."""


def task_of(events: Iterable[Event]) -> Task | None:
    """The task a run's events tell; None when they do not begin with its submission."""
    task: Task | None = None
    for event in events:
        if event.type == EventType.TASK_SUBMITTED:
            task = _submitted(event)
        elif task is not None:
            task = _fold(task, event)
    return task


def _submitted(event: Event) -> Task:
    content = event.content
    text = str(content["message"])
    task = Task(
        id=event.run,
        session=event.session,
        autonomous=bool(content.get("autonomous")),
        budgets=content.get("budgets") or {},
        metadata=content.get("metadata") or {},
        timestamp=event.timestamp,
        history=(TaskMessage("user", text),),
    )
    return _noted(task, event, "task.submitted", {"goal_preview": text[:PREVIEW_CHARACTERS]})


def _fold(task: Task, event: Event) -> Task:
    content = event.content if isinstance(event.content, Mapping) else {}
    match event.type:
        case EventType.TASK_WORKING:
            message = "Autonomous execution started" if task.autonomous else "Processing"
            return _noted(_moved(task, event, TaskState.WORKING, message), event, "task.working", {})
        case EventType.AGENT_RESPONSE:
            text = str(event.content)
            return replace(task, history=(*task.history, TaskMessage("agent", text)), output=text)
        case EventType.BUDGET_EXHAUSTED:
            return _noted(task, event, "autonomous.budget.exhausted", {"reason": content.get("reason", "")})
        case EventType.APPROVAL_REQUESTED:
            id, tool = str(event.data.get("call_id", "")), str(content.get("tool", ""))
            task = replace(task, waiting=(*task.waiting, id))
            task = _moved(task, event, TaskState.INPUT_REQUIRED, f"Waiting for approval of {tool}")
            asked = {"tool": tool, "arguments": content.get("arguments") or {}, "call_id": id}
            return _noted(task, event, "user_action_required", asked)
        case EventType.APPROVAL_GRANTED | EventType.APPROVAL_DECLINED | EventType.APPROVAL_TIMED_OUT:
            task = replace(task, waiting=tuple(id for id in task.waiting if id != event.data.get("call_id")))
            return task if task.waiting else _moved(task, event, TaskState.WORKING, "Processing")
        case EventType.TASK_COMPLETED:
            task = _moved(task, event, TaskState.COMPLETED, "Done")
            return _noted(task, event, "task.completed", {"output_preview": task.output[:PREVIEW_CHARACTERS]})
        case EventType.TASK_FAILED:
            error = str(content.get("error", ""))
            return _noted(_moved(task, event, TaskState.FAILED, error), event, "task.failed", {"error": error})
        case EventType.TASK_CANCELED:
            task = _moved(task, event, TaskState.CANCELED, "Canceled by request")
            return _noted(task, event, "task.canceled", {})
    return task


def _moved(task: Task, event: Event, state: TaskState, message: str) -> Task:
    return replace(task, state=state, timestamp=event.timestamp, message=message)


def _noted(task: Task, event: Event, kind: str, data: Mapping[str, Any]) -> Task:
    return replace(task, notes=(*task.notes, TaskNote(event.id, kind, event.timestamp, data)))
