"""The wheel, alone in an empty environment elsewhere, does the main job."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import REPOSITORY, Machine, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def test_a_wheel_installed_elsewhere_runs_an_autonomous_agent(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(REPOSITORY)], check=True)
    (wheel,) = wheels.glob("*.whl")
    venv.create(tmp_path / "elsewhere", with_pip=True)
    python = tmp_path / "elsewhere" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True, cwd=tmp_path)
    machine = Machine(tmp_path / "machine")
    path = machine.environment["PATH"].split(":", 1)[1]
    machine.environment["PATH"] = f"{python.parent}:{path}"
    where = machine.run(
        "python", "-c", "import kaos_ext, kaos_operator; print(kaos_ext.__file__, kaos_operator.__file__)"
    )
    assert str(REPOSITORY) not in where.out
    try:
        machine.kaos("up")
        deploy_agent(machine)
        eventually("an iteration", lambda: machine.iterations("auto-agent"))
    finally:
        machine.kaos("down", "--delete", check=False)
    assert machine.processes() == []
