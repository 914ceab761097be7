"""Text that arrives in pieces, as lines and as server-sent events. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Lines:
    """Bytes in, whole lines out; `rest()` is the last one when it had no end. Pieces may split a character."""

    _pending: bytearray = field(default_factory=bytearray)

    def feed(self, chunk: bytes) -> Iterator[str]:
        # Only the new bytes are searched, so one long line in many pieces stays linear.
        start = len(self._pending)
        self._pending += chunk
        begin = 0
        while (end := self._pending.find(b"\n", max(start, begin))) >= 0:
            yield self._pending[begin:end].removesuffix(b"\r").decode(errors="replace")
            begin = end + 1
        del self._pending[:begin]

    def rest(self) -> str:
        text = self._pending.decode(errors="replace")
        self._pending.clear()
        return text


@dataclass(frozen=True, slots=True)
class ServerEvent:
    data: str
    event: str = "message"
    id: str = ""


@dataclass(slots=True)
class ServerEvents:
    """The event-stream format: `field: value` lines, an empty line sends, one that begins with a colon is nothing."""

    _lines: Lines = field(default_factory=Lines)
    _data: list[str] = field(default_factory=list)
    _event: str = ""
    _id: str = ""

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        for line in self._lines.feed(chunk):
            if line:
                self._field(line)
            elif self._data:
                yield ServerEvent("\n".join(self._data), self._event or "message", self._id)
                self._data, self._event = [], ""
            else:
                self._event = ""

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id":
                self._id = value
