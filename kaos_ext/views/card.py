"""One object in full: labelled fields, conditions or other lines, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.columns import aligned
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import clean, one_line, tag


@dataclass(frozen=True)
class Line:
    """A condition, a skill, a child: glyph, name, detail, and something short at the right."""

    tone: Tone
    name: str
    detail: str = ""
    right: str = ""


@dataclass(frozen=True)
class Card:
    """`what` is the kind of thing (`agent`), `state` its pill."""

    kind: ClassVar[str] = "card"

    what: str
    name: str
    state: str = ""
    tone: Tone = Tone.QUIET
    fields: tuple[tuple[str, str], ...] = ()
    lines: tuple[Line, ...] = ()
    right: str = ""
    hint: str = ""

    def text(self) -> str:
        first = f"{look.GLYPH[self.tone]} {self.what} {self.name}".rstrip()
        lines = [" · ".join(clean(part) for part in (first, self.state, self.right) if part)]
        if self.fields:
            lines.append(aligned([(clean(label), one_line(value)) for label, value in self.fields], indent="  "))
        if self.lines:
            rows = [(look.GLYPH[x.tone], clean(x.name), one_line(x.detail), clean(x.right)) for x in self.lines]
            lines.append(aligned(rows, indent="  "))
        if self.hint:
            lines.append(f"  → {clean(self.hint)}")
        return clean("\n".join(lines))

    def html(self) -> str:
        badge = look.pill(self.state, self.tone) if self.state else None
        fields = [
            look.tr(
                look.td(label, pad="2px 18px 2px 0", style=f"{look.MUTE};white-space:nowrap"),
                look.td(tag("span", value, style="white-space:pre-wrap"), style="width:100%"),
            )
            for label, value in self.fields
        ]
        lines = [look.line(None, x.tone, x.name, one_line(x.detail, 240), x.right) for x in self.lines]
        return look.card(
            look.head(self.what, self.name, badge, self.right),
            look.table(*fields, margin="0 0 8px" if lines else "0") if fields else "",
            look.table(*lines) if lines else "",
            look.hint(self.hint) if self.hint else "",
        )

    def json(self) -> dict[str, Any]:
        lines = [{"tone": x.tone.value, "name": x.name, "detail": x.detail, "right": x.right} for x in self.lines]
        return {
            "what": self.what,
            "name": self.name,
            "state": self.state,
            "fields": [list(field) for field in self.fields],
            "lines": lines,
        }
