"""One thing said in a line, and an error: what, why, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, join, one_line, tag
from kaos_ext.views.view import View


@dataclass(frozen=True)
class Note:
    """A short answer: `✓ agent/auto-agent configured`."""

    kind: ClassVar[str] = "note"

    tone: Tone
    message: str
    hint: str = ""

    def text(self) -> str:
        return f"{look.GLYPH[self.tone]} {clean(self.message)}" + (f"\n  → {clean(self.hint)}" if self.hint else "")

    def html(self) -> str:
        glyph = tag("span", look.GLYPH[self.tone], style=f"color:{look.COLOUR[self.tone]};padding:0 6px 0 0")
        said = tag("span", self.message, style="white-space:pre-wrap")
        after = tag("div", look.muted("→ "), look.code(self.hint), style="margin:2px 0 0 17px") if self.hint else ""
        style = "font-size:13px;line-height:1.45;margin:2px 0"
        return tag("div", glyph, said, after, style=style, class_="tex2jax_ignore mathjax_ignore")

    def json(self) -> dict[str, Any]:
        return {"tone": self.tone.value, "message": clean(self.message), "hint": clean(self.hint)}


@dataclass(frozen=True)
class ErrorView:
    """Why it did not happen and what to do; details fold away."""

    kind: ClassVar[str] = "error"

    message: str
    hint: str = ""
    details: tuple[str, ...] = ()

    def text(self) -> str:
        lines = [f"✗ {clean(self.message)}"]
        lines += [f"  {one_line(detail, 200)}" for detail in self.details]
        if self.hint:
            lines.append(f"  → {clean(self.hint)}")
        return clean("\n".join(lines))

    def html(self) -> str:
        said = tag("span", f"✗ {self.message}", style=f"color:{look.COLOUR[Tone.FAILED]};font-weight:600")
        return look.card(
            tag("div", said),
            tag("div", look.muted("→ "), look.code(self.hint), style="margin-top:2px") if self.hint else "",
            look.fold("details", tag("div", "\n".join(self.details), style=f"white-space:pre-wrap;{look.MONO}"))
            if self.details
            else "",
        )

    def json(self) -> dict[str, Any]:
        return {"message": clean(self.message), "hint": clean(self.hint), "details": [clean(d) for d in self.details]}


@dataclass(frozen=True)
class Annotated:
    """A view with quiet lines below it, such as the context that was acted on."""

    view: View
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return self.view.kind

    def text(self) -> str:
        return "\n".join((self.view.text(), *(["  " + self._said] if self.notes else [])))

    def html(self) -> str:
        style = f"font-size:11px;{look.MUTE};margin:0 0 6px 17px"
        return join(Markup(self.view.html()), tag("div", self._said, style=style) if self.notes else "")

    @property
    def _said(self) -> str:
        return one_line(" · ".join(self.notes), 240)

    def json(self) -> dict[str, Any]:
        return self.view.json()
