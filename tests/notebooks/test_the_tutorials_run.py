"""The notebooks under plain papermill, as anybody runs them; nothing is left afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.testing.demo import AGENT_VIEW
from tests.e2e.conftest import torn_down
from tests.e2e.machine import BIN, REPOSITORY, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
NOTEBOOKS = REPOSITORY / "notebooks"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "machine")
    yield machine
    torn_down(machine)


def papermill(machine: Machine, notebook: Path, *words: str) -> list[dict[str, Any]]:
    """The outputs of the notebook as papermill saved it; papermill's own exit status says that no cell failed."""
    done = machine.folder / notebook.name
    machine.run(
        str(BIN / "papermill"), str(notebook), str(done), "--cwd", str(machine.folder), "--no-progress-bar",
        "--execution-timeout", "120", *words, timeout=200,
    )  # fmt: skip
    cells = json.loads(done.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert all(output["output_type"] != "error" for output in outputs)
    return outputs


def test_the_first_tutorial_runs_from_nothing_and_its_file_shows_the_agent_at_work(machine: Machine) -> None:
    outputs = papermill(machine, NOTEBOOKS / "01-autonomous-agent.ipynb", "-p", "namespace", "tutorial")
    (live,) = [output["data"] for output in outputs if AGENT_VIEW in output.get("data", {})]
    assert live[AGENT_VIEW]["totals"]["iterations"] >= 3
    assert live[AGENT_VIEW]["last_answer"] == "System check complete. Echo confirmed: checking system status."
    assert "auto-agent" in "".join(live["text/html"]) and "auto-agent" in "".join(live["text/plain"])


def test_the_published_example_passes_its_own_checks_after_up_in_a_terminal(machine: Machine) -> None:
    machine.kaos("up")
    papermill(machine, NOTEBOOKS / "compat" / "kaos-autonomous.ipynb")
    chosen = machine.kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}").out
    assert chosen == "autonomous-example"
