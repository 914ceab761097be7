"""What a committed notebook promises its reader, checked without running it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
COMPAT = sorted((ROOT / "notebooks" / "compat").glob("*.ipynb"))
EVERY = [*NOTEBOOKS, *COMPAT]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
    assert COMPAT


@pytest.mark.parametrize("path", EVERY, ids=names(EVERY))
def test_it_is_valid_and_runs_on_any_python_kernel(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", EVERY, ids=names(EVERY))
def test_it_begins_with_a_title_and_explains_its_cells(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 0.4 * sum(cell.cell_type == "code" for cell in cells)


@pytest.mark.parametrize("path", EVERY, ids=names(EVERY))
def test_nothing_of_the_machine_it_was_written_on_is_in_it(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"/home/|/Users/|/root/|/work/|/tmp/", text)
    assert "papermill" not in read(path).metadata
    assert "widgets" not in read(path).metadata


@pytest.mark.parametrize("path", EVERY, ids=names(EVERY))
def test_no_error_is_committed(path: Path) -> None:
    assert not [o for cell in code(path) for o in cell.outputs if o.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_its_parameters_are_typed_and_explained(path: Path) -> None:
    tagged = [cell for cell in code(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    for statement, line in zip(ast.parse(tagged[0].source).body, tagged[0].source.splitlines(), strict=True):
        assert isinstance(statement, ast.AnnAssign)
        assert re.search(r"  # \w+", line), line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_shell_lines_that_cannot_fail_are_left_to_compat(path: Path) -> None:
    assert not [cell.source for cell in code(path) if re.search(r"^\s*!", cell.source, re.MULTILINE)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_it_checks_what_it_claims_and_its_last_cell_waits(path: Path) -> None:
    sources = [cell.source for cell in code(path)]
    assert any("assert " in source for source in sources)
    assert "wait" in sources[-1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_what_it_shows_can_be_read_everywhere(path: Path) -> None:
    for cell in code(path):
        for output in cell.outputs:
            if "data" in output and any("kaos" in kind for kind in output.data):
                assert "text/html" in output.data
                assert "text/plain" in output.data
                assert "<script" not in output.data["text/html"]


COMMANDS = """\
!kubectl create namespace $NAMESPACE 2>/dev/null; echo "ok"
!kubectl config set-context --current --namespace=$NAMESPACE
!kaos modelapi deploy auto-api --mode Proxy --wait
!kaos mcp deploy auto-echo --runtime python-string --params "$ECHO_FUNC" --wait
!kaos agent deploy auto-agent --modelapi auto-api --model gpt-4o --mcp auto-echo \
--instructions "You are a test agent. Use the echo tool when asked." \
--mock-response "$MOCK1" --mock-response "$MOCK2" \
--autonomous "Use the echo tool to check system status and report the result" --auto-interval 1
["kubectl", "wait", "deployment/agent-auto-agent", "--for=condition=available", "--timeout=5s"]
["kaos", "agent", "memory", "auto-agent", "--json"]
["kaos", "agent", "status", "auto-agent", "--json"]
["kaos", "agent", "a2a", "send", "auto-agent", "--message", "Say hello via A2A", "--json"]
!kubectl delete namespace $NAMESPACE --wait=false
""".splitlines()


def test_the_published_commands_are_unchanged_and_in_order() -> None:
    text = "\n".join(cell.source for cell in code(ROOT / "notebooks" / "compat" / "kaos-autonomous.ipynb"))
    places = [text.find(command) for command in COMMANDS]
    assert -1 not in places, COMMANDS[places.index(-1)]
    assert places == sorted(places)
    assert " -n " not in text
