"""The lines a container wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.markup import Markup, clean, tag


@dataclass(frozen=True)
class LogView:
    """`source` names where the lines come from; the newest `shown` are drawn, older ones fold away and are counted."""

    kind: ClassVar[str] = "log"

    source: str
    lines: tuple[str, ...] = ()
    follow: bool = False
    shown: int = 200

    def text(self) -> str:
        return "\n".join(clean(line) for line in self.lines) or clean(f"{self.source}: no lines")

    def html(self) -> str:
        older, newest = self.lines[: -self.shown or None], self.lines[-self.shown :]
        if len(self.lines) <= self.shown:
            older, newest = (), self.lines
        badge = look.pill("following", look.Tone.WORKING) if self.follow else None
        count = f"{len(self.lines)} lines" if len(self.lines) != 1 else "1 line"
        return look.card(
            look.head("logs", self.source, badge, count),
            look.fold(f"{len(older)} earlier lines", _block(older)) if older else "",
            _block(newest) if newest else look.muted("no lines"),
        )

    def json(self) -> dict[str, Any]:
        return {"source": self.source, "lines": [clean(line) for line in self.lines]}


def _block(lines: tuple[str, ...]) -> Markup:
    return tag("div", "\n".join(lines), style=f"white-space:pre-wrap;line-height:1.35;{look.MONO}")
