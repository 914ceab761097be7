"""What a person or a program sees of a command.

standard output   the result: text (tables in colour on a terminal), or pure JSON with --json
standard error    progress, which context is acted on, errors
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from kaos_ext.cli.calm import Calm
from kaos_ext.views import Note, Table
from kaos_ext.views.markup import clean

if TYPE_CHECKING:
    import asyncio

    from kaos_ext.cli.terminal import Terminal
    from kaos_ext.commands.result import Result, Update
    from kaos_ext.commands.session import Progress


class Screen:
    """Two streams, each of which may be a terminal."""

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._calm = Calm()
        self._timer: asyncio.TimerHandle | None = None
        self._terminal: Terminal | None = None
        for stream in (self._out, self._err):
            # Text of models and tools may hold what this terminal's encoding cannot say.
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    # -- results -------------------------------------------------------------------------------------------------

    def result(self, result: Result) -> None:
        self.close()
        if self.as_json:
            self._print(json.dumps(result.data, indent=2, ensure_ascii=False, default=str))
        elif isinstance(result.view, Table) and result.view.rows and in_colour(self._out):
            self._live(self._out).table(result.view)
        else:
            self._print(clean(result.view.text()))

    def update(self, update: Update) -> None:
        """A piece of a stream, seen at once."""
        if self.as_json:
            if update.data is not None:
                self._print(json.dumps(update.data, ensure_ascii=False, default=str))
        elif update.line or update.end:
            self._print(clean(update.line), update.end)

    def _print(self, text: str, end: str = "\n") -> None:
        print(text, end=end, file=self._out, flush=True)

    # -- progress ------------------------------------------------------------------------------------------------

    def report(self, progress: Progress) -> None:
        if isinstance(progress, Note):
            self._say(clean(progress.message))
        elif is_terminal(self._err):
            self._live(self._err).steps(progress)
        else:
            self._changes(self._calm.report(progress))

    def _changes(self, lines: list[str]) -> None:
        """Without a terminal: lines, and a look later at what lasts although nothing new is reported."""
        for line in lines:
            self._say(clean(line))
        self._cancel()
        wait = self._calm.wait
        if wait is not None:
            import asyncio

            with suppress(RuntimeError):  # nothing comes later where no loop runs
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(wait, lambda: self._changes(self._calm.due()))

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.close()
        quiet = in_colour(self._err)
        print(f"\x1b[2m{text}\x1b[0m" if quiet else text, file=self._err, flush=True)

    def error(self, error: BaseException, verbose: bool) -> None:
        from kaos_ext.commands.failures import view_of

        self.close()
        if verbose:
            traceback.print_exception(error, file=self._err)
        text = clean(view_of(error).text())
        first, newline, rest = text.partition("\n")
        if in_colour(self._err):
            first = f"\x1b[31m{first}\x1b[0m"
        print(first + newline + rest, file=self._err, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was; nothing is said later."""
        self._cancel()
        if self._terminal is not None:
            self._terminal.close()

    def _live(self, stream: TextIO) -> Terminal:
        from kaos_ext.cli.terminal import Terminal

        if self._terminal is None or self._terminal.stream is not stream:
            self.close()
            self._terminal = Terminal(stream)
        return self._terminal


def is_terminal(stream: Any) -> bool:
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def in_colour(stream: Any) -> bool:
    """A terminal whose user has not asked for plain text (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")
