"""Events of an agent as rows a person reads.

A call and its answer become one row (a tool with its result, a model call with its tokens); the goal that every
iteration repeats is left out. Rows keep the order in which things began.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kaos_ext.model.events import LOOP_RUN, Event, EventType, seconds_of
from kaos_ext.views.durations import duration, span
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import one_line


@dataclass(frozen=True)
class Row:
    """One line of the view; `at` is when it began."""

    at: float
    tone: Tone
    glyph: str
    what: str
    detail: str = ""
    took: str = ""


_ANSWERS: dict[str, EventType] = {
    EventType.TOOL_RESULT: EventType.TOOL_CALL,
    EventType.TOOL_ERROR: EventType.TOOL_CALL,
    EventType.OUTCOME_UNKNOWN: EventType.TOOL_CALL,
    EventType.MODEL_RESPONSE: EventType.MODEL_REQUEST,
    EventType.DELEGATION_RESPONSE: EventType.DELEGATION_REQUEST,
    EventType.DELEGATION_ERROR: EventType.DELEGATION_REQUEST,
}
_BOOKKEEPING = frozenset(
    {EventType.TASK_SUBMITTED, EventType.TASK_WORKING, EventType.TASK_COMPLETED, "session_started"}
)
_ASKED = frozenset(_ANSWERS.values())


def rows(events: Iterable[Event], goal: str = "") -> list[Row]:
    """The rows of `events`, oldest first."""
    found: list[Row] = []
    open_calls: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        if _silent(event, goal):
            continue
        asked = _ANSWERS.get(event.type)
        if asked is not None and (places := open_calls[_key(event, asked)]):
            place = places.pop(0)
            found[place] = _answered(found[place], event)
            continue
        if event.type in _ASKED:
            open_calls[_key(event, event.type)].append(len(found))
        found.append(_row(event))
    return found


def _silent(event: Event, goal: str) -> bool:
    """Bookkeeping of chats and tasks, and the goal that the loop is told again and again."""
    if event.type == EventType.USER_MESSAGE:
        return event.run == LOOP_RUN and bool(goal) and goal.strip() in str(event.content)
    if event.type in _BOOKKEEPING:
        return True
    return event.run != LOOP_RUN and event.type in (EventType.ITERATION_STARTED, EventType.ITERATION_FINISHED)


def _key(event: Event, asked: str) -> str:
    """What an answer has in common with its call; without an id of the call, answers come in the order of the calls."""
    content = _mapping(event.content)
    call = event.data.get("call_id") or content.get("tool") or content.get("agent") or ""
    return f"{asked}/{event.run}/{event.session}/{event.iteration}/{event.step}/{call}"


def _mapping(content: object) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _said(content: object) -> str:
    if isinstance(content, str):
        return content
    try:
        return json.dumps(content, ensure_ascii=False, default=str)
    except ValueError:
        return str(content)


def _answered(row: Row, event: Event) -> Row:
    content = _mapping(event.content)
    took = duration(max(0.0, event.time - row.at))
    if event.type == EventType.MODEL_RESPONSE:
        return replace(row, detail=_model(content), took=took)
    failed = event.type in (EventType.TOOL_ERROR, EventType.DELEGATION_ERROR, EventType.OUTCOME_UNKNOWN)
    answer = content.get("error") if failed else content.get("result", content.get("response", ""))
    shown = "outcome unknown" if event.type == EventType.OUTCOME_UNKNOWN else _said(answer)
    changed = replace(row, detail=f"{one_line(row.detail, 90)} → {one_line(shown, 140)}", took=took)
    return replace(changed, tone=Tone.FAILED, glyph="✗") if failed else changed


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _model(content: Mapping[str, Any]) -> str:
    """Which model, how much of it, and what it wants."""
    calls = content.get("tool_calls")
    names = (
        [str(call.get("name", "")) for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    )
    wants = f"wants {one_line(', '.join(names), 80)}" if names else "answers"
    return _joined(one_line(content.get("model", ""), 60), _tokens(content), wants)


def _tokens(content: Mapping[str, Any]) -> str:
    usage = _mapping(content.get("usage"))
    asked, given = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(asked, int) or not isinstance(given, int) or not asked + given:
        return ""
    return f"{asked:,} → {given:,} tokens"


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _row(event: Event) -> Row:
    tone, glyph, what, detail, took = _parts(event, _mapping(event.content))
    return Row(event.time, tone, glyph, what, detail, took)


def _parts(event: Event, content: Mapping[str, Any]) -> tuple[Tone, str, str, str, str]:
    iteration = f"iteration {event.iteration}" if event.iteration else "iteration"
    took = duration(_seconds(content.get("duration_seconds")))
    match event.type:
        case EventType.ITERATION_STARTED:
            return Tone.WORKING, "●", iteration, "", "started"
        case EventType.ITERATION_FINISHED:
            return Tone.DONE, "✓", iteration, _joined(_words(content.get("outcome")), _next(event, content)), took
        case EventType.ITERATION_FAILED:
            why = one_line(content.get("error") or content.get("reason") or "failed")
            return Tone.FAILED, "✗", iteration, _joined(why, _next(event, content)), took
        case EventType.ITERATION_TIMED_OUT:
            return Tone.WAITING, "✗", iteration, _joined("took too long", _next(event, content)), took
        case EventType.MODEL_REQUEST:
            return Tone.MODEL, "◆", "model", "thinking …", ""
        case EventType.MODEL_RESPONSE:
            return Tone.MODEL, "◆", "model", _model(content), took
        case EventType.AGENT_RESPONSE:
            return Tone.MODEL, "◆", "answer", one_line(_said(event.content), 240), ""
        case EventType.USER_MESSAGE | EventType.TASK_DELEGATION_RECEIVED:
            return Tone.QUIET, "▷", "asked", one_line(_said(event.content), 240), ""
        case EventType.TOOL_CALL | EventType.TOOL_RESULT | EventType.TOOL_ERROR | EventType.OUTCOME_UNKNOWN:
            return _tool(event, content, took)
        case EventType.DELEGATION_REQUEST | EventType.DELEGATION_RESPONSE | EventType.DELEGATION_ERROR:
            said = _said(content.get("task") or content.get("response") or content.get("error") or event.content)
            failed = event.type == EventType.DELEGATION_ERROR
            what = f"agent {one_line(content.get('agent', ''), 40)}"
            return Tone.FAILED if failed else Tone.WORKING, "✗" if failed else "↗", what, one_line(said, 200), took
        case EventType.PAUSED:
            return Tone.WAITING, "‖", "paused", one_line(content.get("reason", "")), ""
        case EventType.RESUMED:
            return Tone.WORKING, "▶", "resumed", "", ""
        case EventType.LOOP_STARTED:
            return Tone.QUIET, "○", "loop", "started", ""
        case EventType.LOOP_STOPPED:
            return Tone.QUIET, "○", "loop", _joined("stopped", _words(content.get("reason"))), ""
        case EventType.ERROR | EventType.TASK_FAILED | EventType.BUDGET_EXHAUSTED:
            return Tone.FAILED, "✗", _words(event.type), one_line(_said(event.content), 240), ""
    return Tone.QUIET, "○", _words(event.type), one_line(_said(event.content), 200) if event.content else "", ""


def _tool(event: Event, content: Mapping[str, Any], took: str) -> tuple[Tone, str, str, str, str]:
    failed = event.type in (EventType.TOOL_ERROR, EventType.OUTCOME_UNKNOWN)
    part = "error" if failed else "result" if event.type == EventType.TOOL_RESULT else "arguments"
    said = one_line(_said(content.get(part, event.content)), 200)
    what = f"tool {one_line(content.get('tool', ''), 40)}"
    return Tone.FAILED if failed else Tone.DONE, "✗" if failed else "▶", what, said, took


def _next(event: Event, content: Mapping[str, Any]) -> str:
    upcoming = content.get("next_at")
    return f"next in {span(max(0.0, seconds_of(upcoming) - event.time))}" if isinstance(upcoming, str) else ""


def _words(name: object) -> str:
    """`StepsExhausted` and `steps_exhausted` as words."""
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in one_line(name or "", 60)).replace("_", " ")
    return " ".join(spaced.split())
