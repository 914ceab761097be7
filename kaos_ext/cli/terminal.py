"""Drawing on a terminal with rich, which is loaded only here."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from kaos_ext.views import State, Steps, Table, Tone
from kaos_ext.views.durations import duration
from kaos_ext.views.look import GLYPH
from kaos_ext.views.markup import clean, one_line
from kaos_ext.views.steps import TONE

STYLE = {
    Tone.DONE: "green",
    Tone.WORKING: "blue",
    Tone.WAITING: "yellow",
    Tone.FAILED: "red",
    Tone.MODEL: "magenta",
    Tone.QUIET: "dim",
}


WORTH_TELLING = 0.1
"""Seconds."""


class Terminal:
    """One stream; at most one thing on it moves."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._console = Console(file=stream, highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
        self._moving: Live | None = None

    def steps(self, steps: Steps) -> None:
        if self._moving is None:
            self._moving = Live(console=self._console, auto_refresh=False, transient=True)
            self._moving.start()
        self._moving.update(_drawn(steps), refresh=True)

    def table(self, table: Table) -> None:
        drawn = RichTable(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        for column in table.columns:
            drawn.add_column(column.upper(), overflow="fold")
        for row in table.rows:
            drawn.add_row(*(_cell(cell) for cell in row))
        self._console.print(drawn)

    def close(self) -> None:
        if self._moving is not None:
            self._moving.stop()
            self._moving = None


def _cell(cell: object) -> Text:
    if isinstance(cell, State):
        return Text(f"{GLYPH[cell.tone]} {clean(cell.text)}", style=STYLE[cell.tone])
    if isinstance(cell, bool):
        return Text("yes" if cell else "no")
    return Text("–" if cell is None else one_line(cell, 120))


def _drawn(steps: Steps) -> Text:
    """The steps as lines; what is waited for is said in full."""
    text = Text(overflow="fold")
    for number, step in enumerate(steps.steps):
        tone = TONE[step.state]
        text.append("\n" if number else "")
        text.append(f"{GLYPH[tone]} ", style=STYLE[tone])
        text.append(clean(step.name))
        took = duration(step.seconds) if (step.seconds or 0) >= WORTH_TELLING else ""
        for part in (one_line(step.detail, 200), took):
            text.append(f"  {part}" if part else "", style="dim")
    return text
