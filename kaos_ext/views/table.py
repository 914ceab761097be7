"""A list of things: columns, rows, and what to say when there are none."""

from __future__ import annotations

from collections.abc import Iterable
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
            return clean(f"{self.title}: {self.empty}" + (f"\n  → {self.hint}" if self.hint else ""))
        rows = [[one_line(column.upper(), 40) for column in self.columns]]
        rows += [[one_line(_plain(cell), 80) for cell in row] for row in self.rows]
        return aligned(rows, gap="   ")

    def html(self) -> str:
        title = look.head("", self.title, right=f"{len(self.rows)}" if self.rows else "")
        if not self.rows:
            return look.card(title, look.muted(self.empty), look.hint(self.hint) if self.hint else "")
        quiet = f"{look.MUTE};font-size:85%;border-bottom:1px solid {look.LINE};white-space:nowrap"
        numbers = [_numbers(row[i] for row in self.rows) for i in range(len(self.columns))]
        sides = [";text-align:right" if number else "" for number in numbers]
        top = look.tr(*(look.td(c, pad=_PAD, style=quiet + side) for c, side in zip(self.columns, sides, strict=True)))
        body = [look.tr(*(self._cell(c, side) for c, side in zip(row, sides, strict=True))) for row in self.rows]
        return look.card(title, look.table(top, *body, wide=False))

    def json(self) -> dict[str, Any]:
        values = [[clean(c) if isinstance(c, State) else c for c in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": values}

    def frame(self) -> dict[str, list[Any]]:
        """Column → values."""
        rows = self.json()["rows"]
        return {column: [row[i] for row in rows] for i, column in enumerate(self.columns)}

    @staticmethod
    def _cell(cell: Cell, side: str) -> Markup:
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
        return look.td(shown, pad=_PAD, style=side.lstrip(";"))


_PAD = "3px 28px 3px 0"


def _numbers(cells: Iterable[Cell]) -> bool:
    """A column of numbers is aligned at the right, its head as well."""
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in given)


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
