"""An agent at work.

One glance answers: is it alive, which iteration, when is the next one, what did it just do, is it within its budget.
The view is a fold of the agent's event stream: `with_event` adds one event, `at` moves the clock, and what was drawn
once can be drawn again from its fields. Older events fold away, are bounded, and are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, tzinfo
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.model.loop_state import LoopPhase, LoopState, fold
from kaos_ext.views import look
from kaos_ext.views.columns import aligned
from kaos_ext.views.durations import clock, countdown, duration, span
from kaos_ext.views.eventrows import Row, rows
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, one_line, tag

KEPT = 400
SHOWN = 10
FOLDED = 30
BARS = 20


class Link(StrEnum):
    """How fresh the view is: it follows the stream, waits to do so again, or has ended."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "reconnecting"
    ENDED = "ended"


@dataclass(frozen=True)
class Bar:
    """How long an iteration took, and how it ended."""

    iteration: int
    seconds: float
    tone: Tone


PHASE_TONE = {
    LoopPhase.RUNNING: Tone.WORKING,
    LoopPhase.WAITING: Tone.WORKING,
    LoopPhase.PAUSED: Tone.WAITING,
    LoopPhase.INPUT_REQUIRED: Tone.WAITING,
    LoopPhase.IDLE: Tone.QUIET,
    LoopPhase.STOPPED: Tone.QUIET,
}
BAR_TONE: dict[str, Tone] = {
    EventType.ITERATION_FINISHED: Tone.DONE,
    EventType.ITERATION_FAILED: Tone.FAILED,
    EventType.ITERATION_TIMED_OUT: Tone.WAITING,
}


@dataclass(frozen=True)
class AgentLive:
    """`state` and `events` come from the agent; `note` and `hint` say what its object waits for; `now` is the clock."""

    kind: ClassVar[str] = "agent"

    name: str
    namespace: str
    state: LoopState = field(default_factory=LoopState)
    events: tuple[Event, ...] = ()
    forgotten: int = 0
    bars: tuple[Bar, ...] = ()
    now: float = 0.0
    since: float | None = None
    link: Link = Link.CONNECTING
    note: str = ""
    hint: str = ""
    zone: tzinfo = UTC

    # -- building ------------------------------------------------------------------------------------------------

    def with_event(self, event: Event, now: float) -> AgentLive:
        """The view after `event`; one that was seen already changes nothing, one of a new log begins anew."""
        if self.events and event.seq <= self.events[-1].seq:
            if event.time <= self.events[-1].time:
                return replace(self, now=now)
            fresh = AgentLive(self.name, self.namespace, zone=self.zone)
            return fresh.with_event(event, now)
        events = (*self.events, event)
        over = max(0, len(events) - KEPT)
        return replace(
            self,
            state=fold(self.state, event),
            events=events[over:],
            forgotten=self.forgotten + over,
            bars=(*self.bars, *_bar(event))[-BARS:],
            now=now,
            since=self.since if self.since is not None else event.time,
            link=Link.LIVE,
            note="",
            hint="",
        )

    def at(self, now: float) -> AgentLive:
        """The same at another time; what does not depend on the clock is not worked out again."""
        moved = replace(self, now=now)
        vars(moved).update({name: vars(self)[name] for name in ("_rows", "_events_html") if name in vars(self)})
        return moved

    def waiting(self, note: str, hint: str = "", link: Link = Link.CONNECTING) -> AgentLive:
        """Nothing comes from the agent: say why."""
        return replace(self, note=note, hint=hint, link=link)

    # -- what it says --------------------------------------------------------------------------------------------

    @property
    def last_answer(self) -> str:
        """What the loop said last; answers in other sessions are theirs."""
        return self.state.last_response

    @property
    def next_in(self) -> float | None:
        at = self.state.next_run_at
        return None if at is None or self.state.phase is not LoopPhase.WAITING else max(0.0, at - self.now)

    @property
    def fresh(self) -> bool:
        return self.link in (Link.LIVE, Link.ENDED)

    @property
    def status(self) -> str:
        return self.state.phase.value if self.fresh else self.link.value

    @property
    def tone(self) -> Tone:
        if self.state.failures and self.fresh:
            return Tone.FAILED
        return PHASE_TONE[self.state.phase] if self.fresh else Tone.WAITING

    @property
    def trouble(self) -> str:
        """What keeps it from its work: its object waits for something, or its iterations fail."""
        if not self.fresh or not self.state.failures:
            return self.note
        times = "once" if self.state.failures == 1 else f"{self.state.failures} times in a row"
        return f"failed {times}: {self.state.last_error or self.state.last_outcome}"

    def rows(self) -> list[Row]:
        return self._rows

    @cached_property
    def _rows(self) -> list[Row]:
        return rows(self.events, self.state.goal)

    @cached_property
    def _events_html(self) -> tuple[Markup, Markup]:
        """The newest events, and the older ones folded."""
        shown, older = self._rows[-SHOWN:], self._rows[:-SHOWN]
        newest = look.table(*(self._line(row) for row in shown)) if shown else Markup("")
        return newest, look.fold(*self._older(older)) if older or self.forgotten else Markup("")

    # -- carriers ------------------------------------------------------------------------------------------------

    def text(self) -> str:
        count = f"iteration {self.state.iteration}" if self.state.iteration else ""
        wait = "" if self.next_in is None else f"next in {countdown(self.next_in)}"
        first = f"{look.GLYPH[self.tone]} agent {self.name} ({self.namespace})"
        lines = [" · ".join(clean(part) for part in (first, self.status, count, wait) if part)]
        if self.trouble:
            lines.append(f"  {look.GLYPH[self.tone]} {one_line(self.trouble)}")
        if self.hint:
            lines.append(f"  → {one_line(self.hint)}")
        if self.state.goal:
            lines.append(f"  goal  {one_line(self.state.goal)}")
        if self.last_answer:
            lines.append(f"  last  {one_line(self.last_answer)}")
        all_rows = self.rows()
        shown = all_rows[-SHOWN:]
        if len(all_rows) > SHOWN or self.forgotten:
            lines.append(f"  … {len(all_rows) - len(shown) + self.forgotten} earlier events")
        cells = [(clock(r.at, self.zone), r.glyph, one_line(r.what, 40), one_line(r.detail, 96), r.took) for r in shown]
        if cells:
            lines.append(aligned(cells, indent="  "))
        return clean("\n".join(lines))

    def html(self, *, folded: bool = True) -> str:
        """The card; without the older events when another place shows them."""
        newest, older = self._events_html
        return look.card(
            self._head(),
            self._numbers(),
            self._said("goal", self.state.goal) if self.state.goal else "",
            self._said("last result", self.last_answer) if self.last_answer else "",
            self._trouble() if self.trouble else "",
            newest,
            older if folded else "",
        )

    def older_html(self) -> str:
        """The events that the card folds away; nothing when it shows all."""
        older = self.rows()[:-SHOWN]
        return look.stack(*self._older(older)[1:]) if older or self.forgotten else ""

    def json(self) -> dict[str, Any]:
        drawn = [
            {"at": r.at, "tone": r.tone.value, "what": clean(r.what), "detail": clean(r.detail), "took": r.took}
            for r in self.rows()[-SHOWN:]
        ]
        return {
            "name": self.name,
            "namespace": self.namespace,
            "state": self.status,
            "iteration": self.state.iteration,
            "next_run_at": self.state.next_run_at,
            "goal": clean(self.state.goal),
            "last_answer": clean(self.last_answer),
            "totals": self.state.totals.to_json(),
            "iterations": [{"iteration": b.iteration, "seconds": b.seconds, "tone": b.tone.value} for b in self.bars],
            "events": drawn,
            "earlier": max(0, len(self.events) - len(drawn)) + self.forgotten,
        }

    def summary(self) -> str:
        """One line for a list, a status bar or a log."""
        wait = "" if self.next_in is None else f", next in {countdown(self.next_in)}"
        return f"agent {self.name} ({self.namespace}): {self.status}, iteration {self.state.iteration}{wait}"

    # -- pieces --------------------------------------------------------------------------------------------------

    def _head(self) -> Markup:
        right = [f"namespace {self.namespace}"] if self.namespace else []
        if self.since is not None and self.now >= self.since:
            right.append(span(self.now - self.since))
        if self.link is Link.ENDED:
            right.append(f"as of {clock(self.now, self.zone)[:8]}")
        return look.head("agent", self.name, look.pill(self.status, self.tone), " · ".join(right))

    def _numbers(self) -> Markup:
        cells: list[Markup] = [look.number("iteration", self.state.iteration or "–")]
        if self.next_in is not None:
            cells.append(look.number("next in", countdown(self.next_in)))
        elif self.state.last_duration_seconds is not None:
            cells.append(look.number("last took", duration(self.state.last_duration_seconds)))
        else:
            cells.append(look.number("next in", "–"))
        if self.bars:
            caption = tag("div", f"last {len(self.bars)}", style=f"font-size:80%;{look.MUTE}")
            cells.append(look.td(caption, tag("div", _spark(self.bars), style="margin-top:6px"), pad="0 26px 0 0"))
        totals = self.state.totals
        counts = [("model calls", totals.model_calls), ("tool calls", totals.tool_calls)]
        if tokens := totals.input_tokens + totals.output_tokens:
            counts.append(("tokens", tokens))
        for label, count in counts:
            small = tag("div", label, style=f"font-size:80%;{look.MUTE}")
            cells.append(look.td(small, tag("div", tag("b", f"{count:,}")), pad="0 26px 0 0"))
        return look.table(look.tr(*cells), wide=False, margin="0 0 10px")

    def _said(self, label: str, text: str) -> Markup:
        quiet = tag("div", label, style=f"{look.MUTE};font-size:85%;margin-bottom:2px")
        return tag("div", quiet, tag("div", one_line(text, 400)), style="margin-bottom:10px")

    def _trouble(self) -> Markup:
        why = look.coloured(f"{look.GLYPH[self.tone]} {one_line(self.trouble, 300)}", self.tone)
        return tag("div", why, look.hint(self.hint) if self.hint else "", style="margin-bottom:10px")

    def _line(self, row: Row) -> Markup:
        return look.line(clock(row.at, self.zone), row.tone, row.what, row.detail, row.took, glyph=row.glyph)

    def _older(self, older: list[Row]) -> tuple[str, Markup, Markup]:
        """Their count, how many are not here any more, and the newest of them."""
        drawn = older[-FOLDED:]
        hidden = len(older) - len(drawn) + self.forgotten
        before = f"{hidden} before these are in the agent's memory" if hidden else ""
        count = len(older) + self.forgotten
        summary = f"{count} earlier events" if count != 1 else "1 earlier event"
        lines = look.table(*(self._line(row) for row in drawn))
        return summary, tag("div", before, style=look.MUTE) if hidden else Markup(""), lines


def _bar(event: Event) -> tuple[Bar, ...]:
    tone = BAR_TONE.get(event.type)
    if tone is None or event.run != LOOP_RUN or not isinstance(event.content, dict):
        return ()
    seconds = event.content.get("duration_seconds")
    return (Bar(event.iteration, float(seconds), tone),) if isinstance(seconds, int | float) else ()


def _spark(bars: tuple[Bar, ...]) -> Markup:
    longest = max(bar.seconds for bar in bars) or 1.0
    block = "display:inline-block;width:6px;margin-right:2px;vertical-align:bottom;border-radius:1px"
    drawn = []
    for bar in bars:
        height = max(3, round(26 * bar.seconds / longest))
        style = f"{block};height:{height}px;background:{look.COLOUR[bar.tone]}"
        drawn.append(tag("span", style=style, title=f"iteration {bar.iteration}: {duration(bar.seconds)}"))
    return tag("span", *drawn, style="display:inline-block;vertical-align:middle;line-height:0")
