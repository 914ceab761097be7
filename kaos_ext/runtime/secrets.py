"""Values that came from Secrets: how they are known, and how they are kept out of everything that is written.

A value is looked for as it is and in the forms it takes on its way through tools and servers: without white space
around it, escaped in JSON, percent-encoded, in base64 (also inside of something longer), and each long line of a value
of many lines. What encrypts, hashes or spells it otherwise is not found.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TextIO
from urllib.parse import quote, quote_plus

SECRET_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)($|_)", re.IGNORECASE)
SECRET_VARIABLES = "KAOS_SECRET_VARIABLES"
"""Comma list of variables whose values came from Secrets; names that look like secrets are taken as such anyway."""
SECRET_LENGTH = 6
"""Shorter values are not redacted: they would blot out ordinary text."""
LINE_LENGTH = 20
"""Of a value of many lines, single lines that are shorter are not redacted."""
CUT_LENGTH = 200
"""Nothing shorter than this was cut off, perhaps in the middle of a secret."""
REDACTED = "[redacted]"


def secret_values(env: Mapping[str, str]) -> frozenset[str]:
    """Values that must never be written down."""
    named = _named(env)
    return _long_enough(value for name, value in env.items() if name in named or _looks_secret(name))


def values_from_secrets(env: Mapping[str, str]) -> frozenset[str]:
    """Only those that are known to come from Secrets; all that may be, where nobody says which do.

    For what others work with: a name like `SORT_KEY` is no reason to take a word out of a tool's answer.
    """
    if SECRET_VARIABLES not in env:
        return secret_values(env)
    return _long_enough(value for name, value in env.items() if name in _named(env))


def _named(env: Mapping[str, str]) -> set[str]:
    return {name.strip() for name in env.get(SECRET_VARIABLES, "").split(",")}


def _long_enough(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value for value in values if len(value.strip()) >= SECRET_LENGTH)


def _looks_secret(name: str) -> bool:
    return name != SECRET_VARIABLES and SECRET_NAME.search(name) is not None


def forms(secret: str) -> set[str]:
    """What a secret looks like when it is written."""
    plain = secret.strip()
    lines = {line.strip() for line in plain.splitlines()} if "\n" in plain else set()
    found = {plain, *(line for line in lines if len(line) >= LINE_LENGTH and not any(map(str.isspace, line)))}
    for text in tuple(found):
        for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            # JSON is often the text of other JSON.
            found |= {escaped, json.dumps(escaped)[1:-1], json.dumps(escaped, ensure_ascii=False)[1:-1]}
        found |= {quote(text, safe=""), quote(text), quote_plus(text)}
        found |= set(_in_base64(text.encode()))
    return {form for form in found if len(form) >= SECRET_LENGTH}


def _in_base64(secret: bytes) -> Iterator[str]:
    """The characters that stand for it wherever it begins: at each of three places within a group of four."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret).decode().rstrip("=")
        # Characters at either end are made of a neighbour's bits as well.
        first, last = -(-8 * before // 6), (8 * (before + len(secret))) // 6
        for text in (encoded[first:last], encoded[first:last].replace("+", "-").replace("/", "_")):
            if len(text) >= SECRET_LENGTH:
                yield text


class Redactor:
    """Takes secret values out of text and of JSON values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {form for secret in secrets for form in forms(secret)}
        # Longest first, so that a secret that contains another is replaced whole.
        self._forms = sorted(known, key=lambda form: (-len(form), form))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        if len(text) < SECRET_LENGTH:
            return text
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        if len(text) < CUT_LENGTH:
            return text
        kept = self._before_cut(text)
        return text if kept == len(text) else text[:kept] + REDACTED

    def value(self, value: Any) -> Any:
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and str(value) in self._forms:
            return REDACTED
        return value

    def stream(self) -> RedactedStream:
        return RedactedStream(self)

    def _before_cut(self, text: str) -> int:
        """How many characters there are before a secret of which at least the first few are at the very end."""
        end = len(text)
        for form in self._forms:
            at = text.find(form[:SECRET_LENGTH], max(0, len(text) - len(form) + 1))
            if at >= 0 and form.startswith(text[at:]):
                end = min(end, at)
        return end

    def before_beginning(self, text: str) -> int:
        """How many characters there are before what may be the beginning of a secret, however short."""
        longest = max(map(len, self._forms), default=0)
        end = len(text)
        for at in range(max(0, len(text) - longest + 1), len(text)):
            if any(form.startswith(text[at:]) for form in self._forms):
                end = at
                break
        # One that is there already may reach into it.
        crossing = [
            at
            for form in self._forms
            if 0 <= (at := text.find(form, max(0, end - len(form) + 1), end + len(form) - 1)) < end
        ]
        return min([end, *crossing]) if end < len(text) else end


class RedactedStream:
    """Text that comes in parts: what may be the beginning of a secret is held back until it is known."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, part: str) -> str:
        """What can be shown now."""
        if not self._redactor:
            return part
        text = self._held + part
        kept = self._redactor.before_beginning(text)
        self._held = text[kept:]
        return self._redactor.text(text[:kept])

    def end(self) -> str:
        """The rest."""
        held, self._held = self._held, ""
        return self._redactor.text(held)


class RedactedOutput(io.TextIOBase):
    """A text stream, like standard output, to which secret values do not get; bytes are the writer's own affair."""

    def __init__(self, out: TextIO, redactor: Redactor) -> None:
        self._out, self._redactor = out, redactor

    def write(self, text: str) -> int:
        self._out.write(self._redactor.text(text))
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._out.fileno()

    def isatty(self) -> bool:
        return self._out.isatty()

    @property
    def buffer(self) -> BinaryIO:
        return self._out.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._out.encoding


class RedactingFormatter(logging.Formatter):
    """Log lines, tracebacks included, without secret values."""

    def __init__(self, secrets: Iterable[str], form: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(form)
        self._redactor = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))
