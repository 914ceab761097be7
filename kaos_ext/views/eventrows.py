"""Events of an agent as rows a person reads.

A call and its answer become one row (a tool with its result, a model call with its tokens); the goal that every
iteration repeats is left out. Rows keep the order in which things began.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kaos_ext.model.events import Event
from kaos_ext.views.durations import duration, epoch, span
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import one_line


@dataclass(frozen=True)
class Row:
    """One line of the view; `key` joins an answer to its call, `at` is when it began."""

    at: float
    tone: Tone
    glyph: str
    what: str
    detail: str = ""
    took: str = ""
    iteration: int | None = None
    key: str = ""
    full: str = ""


_ANSWERS = {
    "tool_result": "tool_call",
    "tool_error": "tool_call",
    "model_response": "model_request",
    "delegation_response": "delegation_request",
    "delegation_error": "delegation_request",
}


def rows(events: Iterable[Event], goal: str = "") -> list[Row]:
    """The rows of `events`, oldest first."""
    found: list[Row] = []
    open_calls: dict[str, int] = {}
    for event in events:
        kind = str(event.event_type)
        if kind == "user_message" and goal and str(event.content).strip().startswith(goal.strip()):
            continue
        asked = _ANSWERS.get(kind)
        if asked is not None and (place := open_calls.pop(_key(event, asked), None)) is not None:
            found[place] = _answered(found[place], event)
            continue
        row = _row(event, kind)
        if kind in _ANSWERS.values():
            open_calls[_key(event, kind)] = len(found)
        found.append(row)
    return found


def _key(event: Event, kind: str) -> str:
    content = _mapping(event.content)
    name = content.get("call_id") or content.get("id") or content.get("tool") or content.get("agent") or ""
    meta = event.metadata
    return f"{kind}/{meta.get('session_id')}/{meta.get('iteration')}/{meta.get('step')}/{name}"


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
    took = duration(max(0.0, epoch(event.timestamp) - row.at))
    if event.event_type == "model_response":
        detail = " · ".join(part for part in (row.detail, _tokens(content)) if part)
        return replace(row, detail=detail, took=took)
    failed = event.event_type.endswith("_error")
    answer = content.get("error") if failed else content.get("result", content.get("response", ""))
    detail = f"{one_line(row.detail, 90)} → {one_line(_said(answer), 140)}"
    changed = replace(row, detail=detail, took=took, full=f"{row.full or row.detail}\n→ {_said(answer)}")
    return replace(changed, tone=Tone.FAILED, glyph="✗") if failed else changed


def _tokens(content: Mapping[str, Any]) -> str:
    usage = _mapping(content.get("usage"))
    asked = usage.get("prompt_tokens", usage.get("input_tokens"))
    given = usage.get("completion_tokens", usage.get("output_tokens"))
    return (
        f"{asked:,} → {given:,} tokens" if isinstance(asked, int) and isinstance(given, int) and asked + given else ""
    )


def _row(event: Event, kind: str) -> Row:
    content = _mapping(event.content)
    number = event.metadata.get("iteration")
    iteration = number if isinstance(number, int) else None
    tone, glyph, what, detail, took = _parts(kind, content, event.content, iteration)
    full = _said(event.content) if detail else ""
    return Row(epoch(event.timestamp), tone, glyph, what, detail, took, iteration, full=full)


def _parts(
    kind: str, content: Mapping[str, Any], raw: object, iteration: int | None
) -> tuple[Tone, str, str, str, str]:
    number = f"iteration {iteration}" if iteration is not None else "iteration"
    took = duration(content.get("duration_seconds")) if content else ""
    match kind:
        case "iteration_started":
            return Tone.WORKING, "●", number, "", "started"
        case "iteration_finished":
            return Tone.DONE, "✓", number, one_line(content.get("outcome", "")), took
        case "iteration_failed":
            return Tone.FAILED, "✗", number, one_line(content.get("error") or content.get("reason") or "failed"), took
        case "iteration_timed_out":
            limit = content.get("limit_seconds")
            why = f"took longer than {span(limit)}" if isinstance(limit, int | float) else "took too long"
            return Tone.FAILED, "✗", number, why, took
        case "model_request":
            return Tone.MODEL, "◆", "model", one_line(content.get("model", "")), ""
        case "model_response":
            return Tone.MODEL, "◆", "model", _tokens(content), took
        case "agent_response":
            return Tone.MODEL, "◆", "answer", one_line(_said(raw), 240), ""
        case "user_message" | "task_delegation_received":
            return Tone.QUIET, "▷", "asked", one_line(_said(raw), 240), ""
        case "tool_call" | "tool_result" | "tool_error":
            failed = kind == "tool_error"
            said = _said(content.get("error") if failed else content.get("arguments", content.get("result", raw)))
            tone = Tone.FAILED if failed else Tone.DONE
            return (
                tone,
                "✗" if failed else "▶",
                f"tool {one_line(content.get('tool', ''), 40)}",
                one_line(said, 200),
                took,
            )
        case "delegation_request" | "delegation_response" | "delegation_error":
            said = _said(content.get("task") or content.get("response") or content.get("error") or raw)
            failed = kind == "delegation_error"
            tone = Tone.FAILED if failed else Tone.WORKING
            return (
                tone,
                "✗" if failed else "↗",
                f"agent {one_line(content.get('agent', ''), 40)}",
                one_line(said, 200),
                took,
            )
        case "paused":
            return Tone.WAITING, "‖", "paused", one_line(content.get("reason", "")), ""
        case "resumed":
            return Tone.WORKING, "▶", "resumed", "", ""
        case "error":
            return Tone.FAILED, "✗", "error", one_line(_said(raw), 240), ""
    return Tone.QUIET, "○", one_line(kind.replace("_", " "), 40), one_line(_said(raw), 200) if raw else "", ""
