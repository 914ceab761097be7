"""Something that gets ready: its steps, the one it waits for and why, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.columns import aligned
from kaos_ext.views.durations import duration
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, one_line


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


TONE = {
    StepState.PENDING: Tone.QUIET,
    StepState.RUNNING: Tone.WORKING,
    StepState.WAITING: Tone.WAITING,
    StepState.DONE: Tone.DONE,
    StepState.FAILED: Tone.FAILED,
}


@dataclass(frozen=True)
class Step:
    """`detail` says what was done or what is waited for; `seconds` how long it took or has taken so far."""

    name: str
    state: StepState = StepState.PENDING
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Steps:
    """`title` is the act (`starting`), `name` the thing (`kaos-default`)."""

    kind: ClassVar[str] = "steps"

    title: str
    name: str = ""
    steps: tuple[Step, ...] = ()
    seconds: float | None = None
    hint: str = ""

    @property
    def done(self) -> int:
        return sum(step.state is StepState.DONE for step in self.steps)

    @property
    def tone(self) -> Tone:
        states = {step.state for step in self.steps}
        if StepState.FAILED in states:
            return Tone.FAILED
        if states <= {StepState.DONE}:
            return Tone.DONE
        return Tone.WAITING if StepState.WAITING in states else Tone.WORKING

    @property
    def summary(self) -> str:
        return "ready" if self.tone is Tone.DONE else f"{self.done} of {len(self.steps)} ready"

    def text(self) -> str:
        title = f"{look.GLYPH[self.tone]} {self.title} {self.name}".rstrip()
        lines = [" · ".join(part for part in (clean(title), self.summary, duration(self.seconds)) if part)]
        rows = [(look.GLYPH[TONE[s.state]], clean(s.name), one_line(s.detail), _took(s)) for s in self.steps]
        if rows:
            lines.append(aligned(rows, indent="  "))
        if self.hint:
            lines.append(f"  → {clean(self.hint)}")
        return clean("\n".join(lines))

    def html(self) -> str:
        rows = [self._row(step) for step in self.steps]
        return look.card(
            look.head(self.title, self.name, look.pill(self.summary, self.tone), duration(self.seconds)),
            look.table(*rows) if rows else "",
            look.hint(self.hint) if self.hint else "",
        )

    def json(self) -> dict[str, Any]:
        steps = [
            {"name": clean(s.name), "state": s.state.value, "detail": clean(s.detail), "seconds": s.seconds}
            for s in self.steps
        ]
        return {"title": self.title, "name": self.name, "steps": steps, "seconds": self.seconds, "hint": self.hint}

    @staticmethod
    def _row(step: Step) -> Markup:
        tone = TONE[step.state]
        troubled = step.state in (StepState.WAITING, StepState.FAILED)
        detail = one_line(step.detail, 240)
        shown = look.coloured(detail, tone) if troubled else detail
        return look.line(None, tone, step.name, shown, _took(step))


def _took(step: Step) -> str:
    """Nothing for what took no time worth telling."""
    return duration(step.seconds) if step.seconds and step.seconds >= 0.005 else ""
