"""The JSONPath of printer columns and selectable fields: members, indices, `[*]`, filters, nothing more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Step = Callable[[list[Any]], list[Any]]

_FILTER = re.compile(r"@\.?([\w.\-\\/]*)\s*(?:(==|!=|<=|>=|<|>)\s*(.+))?")


@lru_cache(maxsize=1024)
def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """The function from an object to the values at `path` (none, one or several)."""
    steps = _steps(path.strip().removeprefix("{").removesuffix("}"))

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = step(found)
        return found

    return find


def _steps(path: str) -> list[Step]:
    steps: list[Step] = []
    at = 0
    while at < len(path):
        if path[at] == "[":
            end = _closing(path, at)
            steps.append(_bracket(path[at + 1 : end].strip()))
            at = end + 1
        elif path[at] == ".":
            name, at = _name(path, at + 1)
            if name == "*":
                steps.append(_all)
            elif name:
                steps.append(_member(name))
        else:
            name, at = _name(path, at)
            steps.append(_member(name))
    return steps


def _name(path: str, at: int) -> tuple[str, int]:
    name = ""
    while at < len(path) and path[at] not in ".[":
        if path[at] == "\\" and at + 1 < len(path):
            at += 1
        name += path[at]
        at += 1
    return name, at


def _closing(path: str, at: int) -> int:
    depth, quote = 0, ""
    for index in range(at, len(path)):
        character = path[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if depth == 0:
                return index
    return len(path)


def _member(name: str) -> Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _all(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    return found


def _bracket(inside: str) -> Step:
    if inside == "*":
        return _all
    if inside.startswith("?(") and inside.endswith(")"):
        keeps = _condition(inside[2:-1].strip())
        return lambda values: [item for item in _all(values) if keeps(item)]
    if inside[:1] in "'\"" and inside:
        return _member(inside[1:-1])
    try:
        index = int(inside)
    except ValueError:
        return lambda values: []
    return lambda values: [
        value[index] for value in values if isinstance(value, list) and -len(value) <= index < len(value)
    ]


def _condition(text: str) -> Callable[[Any], bool]:
    found = _FILTER.fullmatch(text)
    if found is None:
        return lambda item: False
    path, operator, literal = found.groups()
    find = compile_path("." + path) if path else lambda item: [item]
    if operator is None:
        return lambda item: bool(find(item))
    literal = literal.strip()
    if literal[:1] == "'":
        wanted: Any = literal[1:-1]
    else:
        try:
            wanted = json.loads(literal)
        except ValueError:
            wanted = literal

    def keeps(item: Any) -> bool:
        for value in find(item):
            if operator in ("==", "!="):
                return bool((value == wanted) == (operator == "=="))
            try:
                less, equal = value < wanted, value == wanted
            except TypeError:
                return False
            return bool({"<": less, "<=": less or equal, ">": not less and not equal, ">=": not less}[operator])
        return False

    return keeps
