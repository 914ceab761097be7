"""The evaluator: programs compiled once, run on plain values.

Only the extension module of the package `common-expression-language` is loaded: its own `__init__` brings a command
line along, which takes ten times as long.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from kaos_ext.cluster.apiserver.cel.functions import FUNCTIONS
from kaos_ext.cluster.apiserver.cel.syntax import Node, written


class EvaluationError(Exception):
    """An expression that could not be evaluated on these values."""


@cache
def _engine() -> ModuleType:
    package = importlib.util.find_spec("cel")
    if package is None or not package.submodule_search_locations:
        raise EvaluationError("the package common-expression-language is not installed")
    for folder in package.submodule_search_locations:
        for file in Path(folder).glob("cel.*.so"):
            spec = importlib.util.spec_from_file_location("cel.cel", file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module("cel")


def optional(*value: Any) -> Any:
    """An optional of a value, or of none."""
    kind = _engine().OptionalValue
    return kind.of(value[0]) if value else kind.none()


class Program:
    """One expression."""

    def __init__(self, tree: Node) -> None:
        try:
            self._program = _engine().compile(written(tree))
        except ValueError as error:
            raise EvaluationError(str(error)) from None

    def run(self, variables: Mapping[str, Any]) -> Any:
        context = _engine().Context(dict(variables), FUNCTIONS)
        try:
            return self._program.execute(context)
        except KeyError as error:
            raise EvaluationError(f"no such key: {error.args[0]}") from None
        except Exception as error:
            raise EvaluationError(str(error)) from None
