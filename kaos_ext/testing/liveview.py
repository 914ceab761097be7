"""The live view of a loop, in the one form that every run of it has.

Where a loop stands when a notebook ends depends on the moment: iteration 4 or 5, the second or the third row of it.
What does not: who it is, its goal, what it said, and what one whole iteration does. So the canonical view shows one
whole iteration, its number and the totals as `n`, and nothing of the clock. A failed row stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kaos_ext.model.loop_state import LoopPhase, LoopState, Totals
from kaos_ext.testing.masks import masked, masked_json
from kaos_ext.views.agent import AgentLive, Link
from kaos_ext.views.eventrows import Row
from kaos_ext.views.look import Tone

MIMETYPE = "application/vnd.kaos.agent.v1+json"
_N = 987654
_ITERATION = re.compile(r"^iteration (?:\d+|n)$")
_GLYPHS = {
    Tone.DONE: "✓", Tone.FAILED: "✗", Tone.WAITING: "‖", Tone.WORKING: "●", Tone.MODEL: "◆", Tone.QUIET: "○",
}  # fmt: skip
_BEGINS = ("iteration", "begins")
_PASSING = frozenset({"paused", "resumed", "asked", "loop"})
_MOVING = frozenset({"running", "waiting"})


@dataclass(frozen=True)
class _Drawn(AgentLive):
    """A view whose rows are given instead of folded from events."""

    drawn: tuple[Row, ...] = ()

    @cached_property
    def _rows(self) -> list[Row]:
        return list(self.drawn)


def canonical(data: dict[str, Any]) -> dict[str, Any]:
    """The bundle (json, html, text) that stands for the view whose JSON this is."""
    phase = LoopPhase.WAITING if data["state"] in _MOVING else data["state"]
    known = phase if phase in tuple(LoopPhase) else LoopPhase.IDLE
    state = LoopState(
        phase=LoopPhase(known),
        iteration=_N if data.get("iteration") != 0 else 0,
        goal=data.get("goal", ""),
        last_response=data.get("last_answer", ""),
        totals=Totals(_N, _N, _N),
    )
    view = _Drawn(
        name=data["name"],
        namespace=data.get("namespace", ""),
        state=state,
        link=Link.LIVE if known == phase else Link.CONNECTING,
        drawn=tuple(_row(row) for row in whole_iteration(data.get("events", []))),
    )
    shown = masked_json(view.json())
    shown |= {"iteration": None if state.iteration else 0, "iterations": [], "earlier": 0}
    shown["totals"] = dict.fromkeys(shown["totals"])
    return {MIMETYPE: shown, "text/html": _letters(view.html()), "text/plain": _letters(view.text())}


def whole_iteration(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one iteration, from its beginning to its end, whichever of them can be seen.

    Where the last rows of one and the first of the next are shown, they make a whole one together. What comes between
    (a pause, a question in another session) belongs to the moment.
    """
    last = _last_whole([row for row in rows if row["what"] not in _PASSING])
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in last:
        found.pop(_key(row), None)
        found[_key(row)] = row
    keys = list(found)
    begins = next((i for i, key in enumerate(keys) if key == _BEGINS), 0)
    return [found[key] for key in (*keys[begins:], *keys[:begins])]


def _last_whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the last beginning to its end, if both are seen; else all rows."""
    ends = [i for i, row in enumerate(rows) if _ITERATION.match(row["what"]) and _key(row) != _BEGINS]
    for end in reversed(ends):
        begins = [i for i in range(end) if rows[i]["what"] == rows[end]["what"] and _key(rows[i]) == _BEGINS]
        if begins:
            return rows[begins[-1] : end + 1]
    return rows


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    """What makes two rows the same thing, seen twice."""
    if _ITERATION.match(row["what"]):
        return _BEGINS if row["took"] == "started" else ("iteration", "ends")
    return row["what"], row["tone"], masked(row["detail"])


def _row(row: dict[str, Any]) -> Row:
    tone = Tone(row["tone"])
    what = "iteration n" if _ITERATION.match(row["what"]) else row["what"]
    glyph = "▶" if what.startswith("tool ") and tone is Tone.DONE else _GLYPHS[tone]
    return Row(0.0, tone, glyph, what, masked(row["detail"]), masked(row["took"]))


def _letters(text: str) -> str:
    return masked(text.replace(f"{_N:,}", "n").replace(str(_N), "n"))
