"""Tools from Python source: the public functions that the source itself defines, in its order.

What it imports is no tool, nor is a name with a leading underscore. A function says that it may be repeated by an
attribute: `look.read_only = True` or `put.idempotent = True`.
"""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kaos_ext.model.errors import KaosError

FILE = "<tools>"
MODULE = "kaos_tools"


class SourceError(KaosError):
    """The source is no Python, fails when it runs, or defines no tool."""


@dataclass(frozen=True, slots=True)
class SourceTool:
    name: str
    function: Callable[..., Any]
    read_only: bool = False
    idempotent: bool = False


def tools_of(source: str) -> list[SourceTool]:
    """Run the source and return its tools; raises SourceError, naming the line."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    # A module like any other: dataclasses and annotations look their names up there.
    module = sys.modules[MODULE] = types.ModuleType(MODULE)
    try:
        exec(compile(source, FILE, "exec"), module.__dict__)  # noqa: S102  # to run it is the point
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise SourceError(f"line {error.lineno}: {error.msg}: {line}", hint="the tools must be valid Python") from error
    except BaseException as error:
        raise SourceError(f"line {_line(error)}: {type(error).__name__}: {error}") from error
    found: dict[int, SourceTool] = {}
    for name, value in vars(module).items():
        if not name.startswith("_") and inspect.isfunction(value) and _defined_here(value):
            tool = SourceTool(name, value, bool(getattr(value, "read_only", 0)), bool(getattr(value, "idempotent", 0)))
            found.setdefault(id(value), tool)
    if not found:
        raise SourceError("the source defines no function", hint="each function of the source becomes a tool")
    return list(found.values())


def _defined_here(function: Callable[..., Any]) -> bool:
    return bool(inspect.unwrap(function).__code__.co_filename == FILE)


def _line(error: BaseException) -> int:
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    return lines[-1] if lines else 0
