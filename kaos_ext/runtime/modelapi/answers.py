"""Answers of an upstream without the key that it was asked with.

Some servers repeat the key in an error, and a model may be made to say what it was never told. An answer in one piece
is looked through as it is; of a stream each text is followed over its chunks, and what may be the beginning of the key
is held back until the next one. Lines in which there is nothing to hide are passed on byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kaos_ext.runtime.secrets import RedactedStream, Redactor


def cleaned(body: bytes, redactor: Redactor) -> bytes:
    text = body.decode("utf-8", "surrogateescape")
    shown = redactor.text(text)
    return body if shown == text else shown.encode("utf-8", "surrogateescape")


class CleanedStream:
    """Server-sent events of a chat completion: `feed` bytes as they come, `end` when there are no more."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._begun = b""
        self._texts: dict[tuple[Any, ...], RedactedStream] = {}

    def feed(self, part: bytes) -> bytes:
        *lines, self._begun = (self._begun + part).split(b"\n")
        return b"".join(self._line(line) + b"\n" for line in lines)

    def end(self) -> bytes:
        last, self._begun = self._begun, b""
        return self._line(last)

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(b"data:"):
            return cleaned(line, self._redactor)
        try:
            chunk = json.loads(line[5:])
        except ValueError:
            return cleaned(line, self._redactor)
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list):
            return cleaned(line, self._redactor)
        changed = [self._choice(choice) for choice in choices if isinstance(choice, dict)]
        return cleaned(b"data: " + json.dumps(chunk).encode() if any(changed) else line, self._redactor)

    def _choice(self, choice: dict[str, Any]) -> bool:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return False
        over = choice.get("finish_reason") is not None
        if over:
            delta.setdefault("content", "")
        changed = False
        for key, holder, name in list(_texts(choice.get("index"), delta)):
            stream = self._texts.setdefault(key, self._redactor.stream())
            shown = stream.feed(holder[name]) + (stream.end() if over else "")
            changed = changed or shown != holder[name]
            holder[name] = shown
        return changed


def _texts(index: Any, delta: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], str]]:
    """The texts of a delta: what tells them from others, and where each stands."""
    for name in ("content", "reasoning_content"):
        if isinstance(delta.get(name), str):
            yield (index, name), delta, name
    for call in delta.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield (index, "call", call.get("index")), function, "arguments"
