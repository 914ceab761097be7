"""The `format`s of OpenAPI strings, and regular expressions of Go brought to Python."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_DURATION = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*|0"
    r"|\d+\s*(nanos?|micros?|millis?|seconds?|minutes?|hours?|days?|weeks?|[dw])",
)
_HOST = re.compile(
    r"(?=.{1,253}\Z)([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*|/\S*")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _matches(_DATETIME),
    "datetime": _matches(_DATETIME),
    "date": _parses(lambda text: datetime.strptime(text, "%Y-%m-%d")),
    "duration": _matches(_DURATION),
    "byte": _parses(lambda text: base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)),
    "hostname": _matches(_HOST),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": lambda text: "/" in text and _parses(lambda one: ipaddress.ip_network(one, strict=False))(text),
    "mac": _matches(_MAC),
    "uuid": _matches(_UUID),
    "uuid3": _matches(_UUID),
    "uuid4": _matches(_UUID),
    "uuid5": _matches(_UUID),
    "uri": _matches(_URI),
    "email": _matches(_EMAIL),
}
"""Those checked; every other format is taken as a note."""

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r"\t ",
    "digit": "0-9",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


@lru_cache(maxsize=4096)
def go_pattern(pattern: str) -> re.Pattern[str]:
    """A Go (RE2) pattern compiled for Python; `re.error` when it is none."""
    pattern = re.sub(r"\[:(\^?)(\w+):\]", lambda found: _POSIX.get(found[2], found[0]), pattern)
    pieces: list[str] = []
    at, in_class = 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\" and at + 1 < len(pattern):
            pieces.append(r"\Z" if pattern[at + 1] == "z" else pattern[at : at + 2])
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            if pattern[at + 1 : at + 2] == "]":
                pieces.append("[")
                character, at = "\\]", at + 1
        elif character == "$":
            character = r"\Z"
        pieces.append(character)
        at += 1
    return re.compile("".join(pieces), re.ASCII)
