"""Rules for committed notebooks: each seeded breach is found, in its cell, and what is clean is let alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaos_ext.testing.lint import RULES, lint, lint_notebook
from tests.testing.notebooks import CLEAN, code, notebook, printed, shown, written

ROOT = Path(__file__).parents[2]
HERE = Path("n.ipynb")


def changed(change: Callable[[Any], object]) -> Any:
    made = copy.deepcopy(CLEAN)
    change(made)
    return made


def found(made: Any) -> list[tuple[str, int | None]]:
    return [(broke.rule, broke.cell) for broke in lint_notebook(HERE, made)]


def test_a_clean_notebook_breaks_no_rule() -> None:
    assert found(CLEAN) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_our_own_notebooks_are_clean(path: Path) -> None:
    assert [str(broke) for broke in lint(path)] == []


def parameter(source: str) -> Any:
    return notebook(code(source, printed("x"), tags=("parameters",)), "assert n")


SECRET = "sk-" + "a1b2c3d4" * 4
BREACHES: list[tuple[str, Any, tuple[str, int | None]]] = [
    ("kernel", changed(lambda n: n.metadata.kernelspec.update(name="my-env")), ("kernel", None)),
    ("an old format", changed(lambda n: n.update(nbformat_minor=4)), ("ids", None)),
    ("one id twice", changed(lambda n: n.cells[2].update(id=n.cells[1]["id"])), ("ids", 2)),
    ("an untyped parameter", parameter("n = 1  # how many"), ("parameters", 1)),
    ("a parameter without a word", parameter("n: int = 1"), ("parameters", 1)),
    ("a last cell that does not wait", notebook(code("x = 1", printed("1")), "watch"), ("last-waits", 2)),
    ("an unchecked command", notebook(code("!make", printed("x"))), ("shell", 1)),
    ("an unchecked captured command", notebook(code("files = !ls", printed("x")), "assert files"), ("shell", 1)),
    ("a path in a source", notebook(code("open('/home/ann/data.csv')\nassert 1", printed("x"))), ("paths", 1)),
    ("a path in an output", notebook(code("assert 1", printed("in /tmp/abc/x\n"))), ("paths", 1)),
    ("a secret in a source", notebook(code(f"key = '{SECRET}'\nassert 1", printed("x"))), ("secrets", 1)),
    ("a password", notebook(code("password = 'correct-horse-battery'\nassert 1", printed("x"))), ("secrets", 1)),
    ("a secret in an output", notebook(code("assert 1", shown("x", f"<b>{SECRET}</b>"))), ("secrets", 1)),
    ("a clock", notebook(code("assert 1", printed("at 12:31:07.120\n"))), ("timestamps", 1)),
    ("a date", notebook(code("assert 1", printed("2026-03-01T12:31 is now\n"))), ("timestamps", 1)),
    ("no outputs", notebook("assert 1"), ("outputs", None)),
    ("a duration", notebook(code("assert 1", printed("ready after 0.43 s\n"))), ("deterministic", 1)),
    ("a port", notebook(code("assert 1", printed("at http://127.0.0.1:31234\n"))), ("deterministic", 1)),
    ("an execution count", changed(lambda n: n.cells[2].update(execution_count=4)), ("deterministic", 2)),
    ("times of a run", changed(lambda n: n.cells[2].metadata.update(papermill={"duration": 1})), ("deterministic", 2)),
    ("widget states", changed(lambda n: n.metadata.update(widgets={"x": {}})), ("deterministic", None)),
    ("papermill's notes", changed(lambda n: n.metadata.update(papermill={"x": 1})), ("deterministic", None)),
    (
        "injected parameters",
        notebook(code("n: int = 1  # n", tags=("parameters",)), code("n = 2", tags=("injected-parameters",)),
                 code("assert n", printed("x"))),
        ("deterministic", None),
    ),
    ("an allowance of no rule", notebook(code("assert 1", printed("x")), kaos={"lint": {"no": "x"}}), ("lint", None)),
]  # fmt: skip


@pytest.mark.parametrize(("made", "expected"), [b[1:] for b in BREACHES], ids=[b[0] for b in BREACHES])
def test_a_breach_is_found_where_it_is(made: Any, expected: tuple[str, int | None]) -> None:
    rules = found(made)
    assert expected in rules
    assert {rule for rule, _ in rules} <= {expected[0], "timestamps", "deterministic"}


def test_every_rule_has_a_breach_and_says_what_it_is_for() -> None:
    assert {expected[0] for _, _, expected in BREACHES} >= set(RULES)
    assert all(rule.__doc__ for rule in RULES.values())


def test_a_breach_that_is_allowed_with_a_reason_is_let_alone() -> None:
    made = notebook(code("!make\nassert 1", printed("x")), kaos={"lint": {"shell": "that is what is shown"}})
    assert found(made) == []


def test_a_secret_is_never_repeated_in_what_is_told() -> None:
    (broke,) = lint_notebook(HERE, notebook(code(f"key = '{SECRET}'\nassert 1", printed("x"))))
    assert SECRET[:8] not in str(broke) + json.dumps(broke.as_json())


def test_a_file_says_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, notebook(code("!make", printed("x"))))
    (broke,) = lint(path)
    assert str(broke) == f"{path}: cell 2 (cell-1): a failing `!` would go unseen: !make [shell]"


def test_the_pre_commit_hooks_call_commands_that_are_there() -> None:
    from kaos_ext.commands import grammar

    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {hook["id"] for hook in hooks} == {"kaos-notebook-lint", "kaos-notebook-test"}
    for hook in hooks:
        assert grammar.find_verb(hook["entry"].split()[1:]) is not None
        assert hook["types"] == ["jupyter"]
