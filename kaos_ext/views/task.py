"""A Task at work: its plan, its iterations, its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.card import Line
from kaos_ext.views.columns import aligned
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, one_line


@dataclass(frozen=True)
class TaskView:
    """`plan` and `children` are lines; `iterations` is the limit, 0 where there is none."""

    kind: ClassVar[str] = "task"

    name: str
    phase: str
    tone: Tone
    iteration: int = 0
    iterations: int = 0
    elapsed: str = ""
    plan: tuple[Line, ...] = ()
    children: tuple[Line, ...] = ()
    hint: str = ""

    @property
    def share(self) -> float:
        """How far the plan is done; without a plan, how far the iterations are used."""
        if self.plan:
            return sum(item.tone is Tone.DONE for item in self.plan) / len(self.plan)
        return self.iteration / self.iterations if self.iterations else 0.0

    @property
    def count(self) -> str:
        limit = f" of {self.iterations}" if self.iterations else ""
        return f"iteration {self.iteration}{limit}" if self.iteration else ""

    def text(self) -> str:
        first = f"{look.GLYPH[self.tone]} task {self.name}"
        lines = [" · ".join(clean(part) for part in (first, self.phase, self.count, self.elapsed) if part)]
        rows = [("plan" if not i else "", *_row(x)) for i, x in enumerate(self.plan)]
        rows += [("child" if not i else "", *_row(x)) for i, x in enumerate(self.children)]
        if rows:
            lines.append(aligned(rows, indent="  "))
        if self.hint:
            lines.append(f"  → {clean(self.hint)}")
        return clean("\n".join(lines))

    def html(self) -> str:
        right = " · ".join(part for part in (self.count, self.elapsed) if part)
        plan = [_html("plan" if not i else "", x) for i, x in enumerate(self.plan)]
        children = [_html("child" if not i else "", x) for i, x in enumerate(self.children)]
        return look.card(
            look.head("task", self.name, look.pill(self.phase, self.tone), right),
            look.progress(self.share, self.tone),
            look.table(*plan, margin="0 0 8px") if plan else "",
            look.table(*children) if children else "",
            look.hint(self.hint) if self.hint else "",
        )

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "phase": self.phase,
            "iteration": self.iteration,
            "iterations": self.iterations,
            "plan": [{"state": x.tone.value, "name": x.name, "detail": x.detail} for x in self.plan],
            "children": [{"state": x.tone.value, "name": x.name, "detail": x.detail} for x in self.children],
        }


def _row(line: Line) -> tuple[str, str, str, str]:
    return look.GLYPH[line.tone], clean(line.name), one_line(line.detail), clean(line.right)


def _html(label: str, line: Line) -> Markup:
    return look.line(label, line.tone, line.name, one_line(line.detail, 240), line.right)
