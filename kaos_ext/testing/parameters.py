"""Parameters of a notebook: papermill's cell tagged `parameters`, typed and explained; an unknown one is an error.

`-p fault=NAME` is the runner's own where the notebook does not have it (see `faults`).
"""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kaos_ext.model.errors import UsageError

TAG = "parameters"
RUNNERS_OWN = frozenset({"fault"})


def from_words(words: Iterable[str]) -> dict[str, Any]:
    """`name=value` each, with papermill's reading of numbers, booleans and null."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"`{word}` is not a parameter", hint="-p name=value")
        found[name] = _read(value)
    return found


def _read(value: str) -> Any:
    constants = {"true": True, "false": False, "none": None, "null": None}
    if value.lower() in constants:
        return constants[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def declared(notebook: Any) -> dict[str, Any]:
    """Names of the parameters cell and their values, where those are literals."""
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and TAG in cell.metadata.get("tags", ()):
            for statement in ast.parse(cell.source).body:
                found |= _assigned(statement)
    return found


def _assigned(statement: ast.stmt) -> dict[str, Any]:
    if isinstance(statement, ast.AnnAssign):
        targets: list[ast.expr] = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    else:
        return {}
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    try:
        value = ast.literal_eval(statement.value) if statement.value is not None else None
    except ValueError:
        value = None
    return dict.fromkeys(names, value)


def changed(notebook: Any, parameters: Mapping[str, Any]) -> list[str]:
    """Parameters that are given another value than the notebook has."""
    known = declared(notebook)
    return [name for name, value in parameters.items() if name in known and known[name] != value]


def parameterised(path: Path, notebook: Any, parameters: Mapping[str, Any]) -> Any:
    """A copy with the values injected after the parameters cell, by papermill."""
    known = declared(notebook)
    for name in parameters:
        if name not in known and name not in RUNNERS_OWN:
            meant = difflib.get_close_matches(name, known, n=1)
            there = f"did you mean {meant[0]}?" if meant else f"it has: {', '.join(known) or 'none'}"
            raise UsageError(f"{path.name} has no parameter {name}", hint=there)
    ours = {name: value for name, value in parameters.items() if name in known}
    result = copy.deepcopy(notebook)
    if not ours:
        return result
    from papermill.parameterize import parameterize_notebook

    result.metadata.setdefault("papermill", {})
    for cell in result.cells:
        cell.metadata.setdefault("tags", [])
    return parameterize_notebook(result, ours, kernel_name="python3", language="python")
