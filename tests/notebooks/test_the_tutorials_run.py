"""The notebooks are tests: run through papermill, each on a cluster of its own, and nothing is left afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaos_ext.testing.demo import AGENT_VIEW
from kaos_ext.testing.leftovers import wait_until_none
from kaos_ext.testing.papermill import Run, run_notebook

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


def kaos(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "kaos_ext.cli.main", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder, a kubeconfig and a PATH of its own; what runs there afterwards is an error."""
    home = tmp_path / "kaos"
    monkeypatch.setenv("KAOS_HOME", str(home))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    yield home
    kaos("down", "--delete")
    assert wait_until_none(home) == []


def green(run: Run) -> Run:
    assert run.error == ""
    assert not [output for cell in run.cells for output in cell.get("outputs", ()) if output.output_type == "error"]
    return run


def test_the_first_tutorial_runs_and_its_file_shows_the_agent_at_work(home: Path, tmp_path: Path) -> None:
    run = green(run_notebook(ROOT / "notebooks" / "01-autonomous-agent.ipynb", tmp_path / "out", {}))
    (view,) = run.shown(AGENT_VIEW)
    assert view["totals"]["iterations"] >= 3
    assert view["last_answer"] == "System check complete. Echo confirmed: checking system status."
    page = run.html.read_text()
    assert "auto-agent" in page
    assert "Error displaying widget" not in page


def test_the_published_example_runs_after_up_in_a_terminal(home: Path, tmp_path: Path) -> None:
    kaos("up")
    green(run_notebook(ROOT / "notebooks" / "compat" / "kaos-autonomous.ipynb", tmp_path / "out", {}))


def test_an_unknown_parameter_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    from kaos_ext.model.errors import KaosError

    with pytest.raises(KaosError, match="has no parameter iteration") as error:
        run_notebook(ROOT / "notebooks" / "01-autonomous-agent.ipynb", tmp_path / "out", {"iteration": 1})
    assert "iterations" in error.value.hint
    assert not (tmp_path / "out").exists()
