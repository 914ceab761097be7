"""What stays on a terminal's screen after a program wrote to it: progress that was drawn over is gone, colours too.

A small terminal: carriage return, backspace, line feed, and the control sequences that progress bars use (cursor up and
down, erase line, erase below). Everything else that is not text is dropped.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"\x1b\[(?P<args>[0-9;?]*)(?P<final>[@-~])|\x1b[@-Z\\-_]|(?P<control>[\r\n\x08])|(?P<text>[^\x1b\r\n\x08]+)|\x1b"
)


def final_text(written: str) -> str:
    """The lines that are left, without trailing blanks; a last line feed is kept."""
    if "\x1b" not in written and "\r" not in written and "\x08" not in written:
        return written
    screen = _Screen()
    for token in _TOKEN.finditer(written):
        if token["text"] is not None:
            screen.put(token["text"])
        elif token["control"] is not None:
            screen.control(token["control"])
        elif token["final"] is not None:
            screen.sequence(token["final"], token["args"])
    return screen.text()


class _Screen:
    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self.row = self.column = 0

    def put(self, text: str) -> None:
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)

    def control(self, character: str) -> None:
        if character == "\n":
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        elif character == "\r":
            self.column = 0
        else:
            self.column = max(0, self.column - 1)

    def sequence(self, final: str, args: str) -> None:
        count = int(args) if args.isdigit() else 0
        if final == "A":
            self.row = max(0, self.row - max(1, count))
        elif final == "B":
            self.row = min(len(self.lines) - 1, self.row + max(1, count))
        elif final == "C":
            self.column += max(1, count)
        elif final == "D":
            self.column = max(0, self.column - max(1, count))
        elif final == "G":
            self.column = max(0, count - 1)
        elif final == "K":
            line = self.lines[self.row]
            self.lines[self.row] = {0: line[: self.column], 1: " " * self.column + line[self.column :], 2: ""}[count]
        elif final == "J" and count == 0:
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]

    def text(self) -> str:
        lines = [line.rstrip() for line in self.lines]
        while len(lines) > 1 and not lines[-1] and not lines[-2]:
            lines.pop()
        return "\n".join(lines)
