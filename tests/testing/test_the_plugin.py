"""`pytest notebooks/`: an item for each verdict from one execution; other runs of pytest stay as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.notebooks import code, notebook, printed, written

pytestmark = pytest.mark.timeout(240)
INI = '[pytest]\nkaos_notebooks = true\nfilterwarnings =\n    ignore:Field "pytest_notebook:UserWarning\n'


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.process
def test_a_notebook_is_an_item_for_each_verdict_from_one_execution(tmp_path: Path) -> None:
    counted = tmp_path / "executions"
    source = f"with open({str(counted)!r}, 'a') as file:\n    _ = file.write('x')\nprint(41)"
    written(tmp_path, notebook(code(source, printed("42\n")), kaos={"cluster": False}), "wrong")
    (tmp_path / "pytest.ini").write_text(INI)
    done = run_pytest(tmp_path, "wrong", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert counted.read_text() == "x"
    for verdict in ("errors", "bundles", "page", "leftovers"):
        assert f"wrong/wrong.ipynb::{verdict} PASSED" in done.stdout
    assert "wrong/wrong.ipynb::outputs FAILED" in done.stdout
    assert "wrong/wrong.ipynb::budget SKIPPED" in done.stdout and "::cluster SKIPPED" in done.stdout
    assert "outputs: cell 2 (cell-1): its outputs are not the committed ones" in done.stdout
    assert "✓  1/1" in done.stdout  # progress, cell by cell


@pytest.mark.process
def test_other_runs_collect_no_notebook_and_load_nothing_of_ours_but_the_plugin(tmp_path: Path) -> None:
    written(tmp_path, notebook("raise ValueError"), "n")
    (tmp_path / "test_ordinary.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('kaos_')}\n"
        "    assert ours == {'kaos_ext', 'kaos_ext.testing', 'kaos_ext.testing.plugin'}, ours\n"
        "    assert not {'nbconvert', 'nbclient', 'kubernetes'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-p", "no:nb_regression", ".")
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.process
def test_pytest_notebook_is_not_doubled_when_it_is_asked_itself(tmp_path: Path) -> None:
    written(tmp_path, notebook("1"), "n")
    (tmp_path / "pytest.ini").write_text(INI)
    done = run_pytest(tmp_path, "--nb-test-files", "--collect-only", "-q", "n")
    assert "nbregression(n)" in done.stdout and "::errors" not in done.stdout
