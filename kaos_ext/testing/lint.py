"""What is wrong with a committed notebook, told without running it. Each rule is a function of the notebook alone.

A rule that a notebook breaks on purpose is named, with the reason, in its metadata:
`"kaos": {"lint": {"shell": "the published commands, word for word"}}`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaos_ext.testing.cases import read
from kaos_ext.testing.normalise import VOLATILE_CELL, normalised
from kaos_ext.testing.parameters import TAG

Broken = Iterator[tuple[int | None, str]]
Rule = Callable[[Any], Broken]
RULES: dict[str, Rule] = {}

_PATH = re.compile(r"(?<![\w.:/])(?:/home/|/Users/|/root/|/work/|/mnt/|/tmp/|/var/folders/|[A-Z]:\\Users\\)[^\s\"'<>]*")
_STAMP = re.compile(r"\b20\d{2}-\d{2}-\d{2}[T ]\d{2}:\d{2}|\b\d{2}:\d{2}:\d{2}(?:\.\d+)?\b|\b1[6-9]\d{8}\.\d+")
_SECRETS = (
    re.compile(r"\bsk-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(
        r"""(?i)\b(?:api[_-]?key|password|passwd|secret|token)["']?\s*[:=]\s*["'](?!\$|\{|<|\.\.\.|x{3,}|\*{3,})[^"'\s]{12,}["']"""
    ),
)
_WAITS = re.compile(r"\bwait\b|\.stop\(|\bawait\b|\.result\(|\.join\(|^\s*!|^\s*%+kaos down|\bassert\b", re.MULTILINE)


@dataclass(frozen=True)
class Broke:
    """A rule that a notebook breaks, and where."""

    notebook: Path
    rule: str
    cause: str
    cell: int | None = None
    cell_id: str = ""

    @property
    def where(self) -> str:
        return "" if self.cell is None else f"cell {self.cell + 1} ({self.cell_id})"

    def __str__(self) -> str:
        place = ": ".join(part for part in (str(self.notebook), self.where) if part)
        return f"{place}: {self.cause} [{self.rule}]"

    def as_json(self) -> dict[str, Any]:
        return {
            "notebook": str(self.notebook),
            "rule": self.rule,
            "cause": self.cause,
            "cell": None if self.cell is None else self.cell + 1,
            "cell_id": self.cell_id,
        }


def lint(path: Path) -> list[Broke]:
    """Everything that is wrong with the notebook of this file."""
    return lint_notebook(path, read(path))


def lint_notebook(path: Path, notebook: Any) -> list[Broke]:
    allowed = (notebook.metadata.get("kaos") or {}).get("lint") or {}
    found = []
    for name, rule in RULES.items():
        if allowed.get(name):
            continue
        for index, cause in dict.fromkeys(rule(notebook)):
            cell_id = "" if index is None else notebook.cells[index].get("id", "")
            found.append(Broke(path, name, cause, index, cell_id))
    unknown = [name for name in allowed if name not in RULES]
    return found + [Broke(path, "lint", f"it allows a rule that does not exist: {name}") for name in unknown]


def rule(name: str) -> Callable[[Rule], Rule]:
    def add(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return add


@rule("kernel")
def _kernel(notebook: Any) -> Broken:
    """The kernelspec is `python3`, which every machine has."""
    name = (notebook.metadata.get("kernelspec") or {}).get("name")
    if name != "python3":
        yield None, f"its kernel is {name!r}, not 'python3'"


@rule("ids")
def _ids(notebook: Any) -> Broken:
    """Every cell has an id of its own, so that two versions can be compared."""
    seen: set[str] = set()
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) < (4, 5):
        yield None, "its format is older than 4.5: cells have no ids"
    for index, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell["id"] in seen:
            yield index, f"its id {cell.get('id', '')!r} is missing or another cell's"
        seen.add(cell.get("id", ""))


@rule("parameters")
def _parameters(notebook: Any) -> Broken:
    """`name: type = value  # what it is for`: that is the notebook's --help."""
    for index, cell in _code(notebook):
        if TAG not in cell.metadata.get("tags", ()):
            continue
        lines = cell.source.splitlines()
        for statement in ast.parse(cell.source).body:
            line = lines[statement.end_lineno - 1] if statement.end_lineno else ""
            if not isinstance(statement, ast.AnnAssign):
                yield index, f"a parameter without a type: {line.strip()}"
            elif not re.search(r"#\s*\w+", line):
                yield index, f"a parameter without a comment: {line.strip()}"


@rule("last-waits")
def _last_waits(notebook: Any) -> Broken:
    """What arrives after the last cell has ended is not saved, so the last cell waits for something."""
    code = list(_code(notebook))
    if code and not _WAITS.search(code[-1][1].source):
        yield code[-1][0], "the last cell waits for nothing: what is drawn after it is not saved"


@rule("shell")
def _shell(notebook: Any) -> Broken:
    """A failing `!command` is green in every other runner."""
    for index, cell in _code(notebook):
        for line in cell.source.splitlines():
            if re.match(r"\s*!", line) or re.match(r"\s*\w+\s*=\s*!", line):
                yield index, f"a failing `!` would go unseen: {line.strip()[:60]}"


@rule("paths")
def _paths(notebook: Any) -> Broken:
    """No path of the machine it was written on."""
    for index, text in _everything(notebook):
        for match in _PATH.findall(text):
            yield index, f"a path of a machine: {match}"


@rule("secrets")
def _secrets(notebook: Any) -> Broken:
    """Nothing that looks like a key, a token or a password."""
    for index, text in _everything(notebook):
        for pattern in _SECRETS:
            for match in pattern.finditer(text):
                yield index, f"something like a secret: {match[0][:6]}…"


@rule("timestamps")
def _timestamps(notebook: Any) -> Broken:
    """No clock in an output: it would be another one in the next run."""
    for index, cell in _code(notebook):
        times = [match for text in _texts(cell.outputs) for match in _STAMP.findall(text)]
        if times:
            more = f" and {len(times) - 1} more" if times[1:] else ""
            yield index, f"a time in its output: {times[0]}{more}"


@rule("outputs")
def _outputs(notebook: Any) -> Broken:
    """Outputs are committed, so that whoever only reads sees what happens."""
    shows = (notebook.metadata.get("kaos") or {}).get("compare") is not False
    code = list(_code(notebook))
    if shows and code and not any(cell.outputs for _, cell in code):
        yield None, "no outputs are committed"
    for index, cell in code:
        if any(output.output_type == "error" for output in cell.outputs):
            yield index, "an error is committed"


@rule("deterministic")
def _deterministic(notebook: Any) -> Broken:
    """Everything is in its committed form; `kaos notebook refresh` brings it there."""
    clean = normalised(notebook)
    if notebook.metadata.get("widgets"):
        yield None, "widget states are committed (metadata.widgets)"
    if notebook.metadata.get("papermill"):
        yield None, "papermill's notes are committed (metadata.papermill)"
    if len(clean.cells) != len(notebook.cells):
        yield None, "injected parameters are committed"
        return
    for index, (cell, wanted) in enumerate(zip(notebook.cells, clean.cells, strict=True)):
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            yield index, f"an execution count is committed: {cell.execution_count}"
        if set(VOLATILE_CELL) & set(cell.metadata):
            yield index, f"times of a run are committed ({', '.join(set(VOLATILE_CELL) & set(cell.metadata))})"
        if _same(cell.outputs) != _same(wanted.outputs):
            yield index, "an output that differs from run to run is committed"


def _same(outputs: Any) -> list[dict[str, Any]]:
    """Outputs without what another rule already names."""
    return [{k: v for k, v in output.items() if k not in ("execution_count", "traceback")} for output in outputs]


def _code(notebook: Any) -> Iterator[tuple[int, Any]]:
    return ((index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")


def _everything(notebook: Any) -> Iterator[tuple[int, str]]:
    for index, cell in enumerate(notebook.cells):
        yield index, cell.source
        for text in _texts(cell.get("outputs", ())):
            yield index, text


def _texts(outputs: Any) -> Iterator[str]:
    for output in outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join(output.traceback)
        else:
            for kind, value in output.data.items():
                if isinstance(value, str) and not kind.startswith("image/"):
                    yield value
                elif kind.endswith("json"):
                    yield repr(value)
