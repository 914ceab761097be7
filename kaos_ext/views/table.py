"""A list of things: columns, rows, and what to say when there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.columns import aligned
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, one_line, tag


@dataclass(frozen=True)
class State:
    """A cell that says a state: drawn with its glyph and colour."""

    text: str
    tone: Tone

    def __str__(self) -> str:
        return self.text


Cell = str | int | float | bool | State | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; `frame()` gives them as columns of plain values."""

    kind: ClassVar[str] = "table"

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = ()
    empty: str = "nothing here"
    hint: str = ""

    def text(self) -> str:
        if not self.rows:
            return f"{self.title}: {self.empty}" + (f"\n  → {self.hint}" if self.hint else "")
        rows = [[column.upper() for column in self.columns]]
        rows += [[one_line(_plain(cell), 80) for cell in row] for row in self.rows]
        return aligned(rows, gap="   ")

    def html(self) -> str:
        title = look.head("", self.title, right=f"{len(self.rows)}" if self.rows else "")
        if not self.rows:
            return look.card(title, look.muted(self.empty), look.hint(self.hint) if self.hint else "")
        rule = f"border-bottom:1px solid {look.LINE}"
        top = look.tr(
            *(look.td(c, pad="2px 18px 4px 0", style=f"{look.MUTE};font-size:85%;{rule}") for c in self.columns)
        )
        body = [look.tr(*(self._cell(cell) for cell in row)) for row in self.rows]
        return look.card(title, look.table(top, *body))

    def json(self) -> dict[str, Any]:
        values = [[clean(c) if isinstance(c, State) else c for c in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": values}

    def frame(self) -> dict[str, list[Any]]:
        """Column → values."""
        rows = self.json()["rows"]
        return {column: [row[i] for row in rows] for i, column in enumerate(self.columns)}

    @staticmethod
    def _cell(cell: Cell) -> Markup:
        if isinstance(cell, State):
            shown: object = tag(
                "span",
                tag("span", look.GLYPH[cell.tone], style=f"color:{look.COLOUR[cell.tone]}"),
                " ",
                cell.text,
                style="white-space:nowrap",
            )
        elif isinstance(cell, str) and "\n" in cell:
            shown = tag("div", cell, style=f"white-space:pre-wrap;{look.MONO}")
        else:
            shown = _plain(cell)
        right = isinstance(cell, int | float) and not isinstance(cell, bool)
        return look.td(shown, pad="3px 18px 3px 0", style="text-align:right" if right else "")


def _plain(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, State):
        return f"{look.GLYPH[cell.tone]} {cell.text}"
    if isinstance(cell, float):
        return f"{cell:g}"
    return str(cell)
