"""The notebooks, run by papermill as a user would run them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import BIN, REPOSITORY, Machine

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
NOTEBOOKS = REPOSITORY / "notebooks"


def papermill(machine: Machine, notebook: Path, *words: str) -> dict[str, Any]:
    done = machine.folder / f"{notebook.stem}.done.ipynb"
    machine.run(
        str(BIN / "papermill"), str(notebook), str(done), "--cwd", str(machine.folder), "--no-progress-bar",
        "--execution-timeout", "120", *words, timeout=240,
    )  # fmt: skip
    return dict(json.loads(done.read_text()))


def outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])


def text(notebook: dict[str, Any]) -> str:
    parts = []
    for output in outputs(notebook):
        found = output.get("text") or output.get("data", {}).get("text/plain") or ""
        parts.append("".join(found))
    return "\n".join(parts)


def test_the_published_example_passes_its_own_checks_with_the_real_kubectl(own_machine: Machine) -> None:
    done = papermill(own_machine, NOTEBOOKS / "compat" / "kaos-autonomous.ipynb")
    assert all(output["output_type"] != "error" for output in outputs(done))
    assert "ok" in text(done)
    current = own_machine.kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}").out
    assert current == "autonomous-example"


def test_the_tutorial_runs_from_nothing_and_its_live_view_is_right_in_the_saved_file(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    try:
        done = papermill(machine, NOTEBOOKS / "01-autonomous-agent.ipynb")
        live = [
            output["data"] for output in outputs(done) if "application/vnd.kaos.agent.v1+json" in output.get("data", {})
        ]
        assert live, "no live view was saved"
        saved = live[0]
        assert saved["application/vnd.kaos.agent.v1+json"]["state"]["iteration"] >= 1
        assert "iteration" in "".join(saved["text/html"]) and "iteration" in "".join(saved["text/plain"])
        assert all(
            "text/html" in output["data"] and "text/plain" in output["data"]
            for output in outputs(done)
            if any(kind.startswith("application/vnd.") for kind in output.get("data", {}))
        )
    finally:
        machine.kaos("down", "--delete", check=False)
    assert machine.processes() == []


def test_the_tutorial_takes_the_namespace_as_a_parameter(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    listed = machine.run(str(BIN / "papermill"), "--help-notebook", str(NOTEBOOKS / "01-autonomous-agent.ipynb"))
    assert "namespace" in listed.out and "str" in listed.out
