"""`kaos doctor` says what is wrong so that a script can tell too."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaos_ext.model import names
from tests.commands.conftest import Machine


@pytest.fixture(autouse=True)
def _a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAOS_HOME", str(tmp_path))


async def test_what_is_to_mend_is_named_with_the_next_step_and_is_the_exit_status(machine: Machine) -> None:
    result = await machine.kaos("doctor")
    bad = {check["name"]: check["hint"] for check in result.data["checks"] if check["finding"] == "bad"}
    assert bad == {"operator": "kaos system status"}
    assert result.status == 1 and not result.data["ok"] and "1 to mend" in result.view.text()


async def test_when_all_is_well_the_exit_status_says_so(machine: Machine) -> None:
    ready = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1}
    path = f"/apis/apps/v1/namespaces/{names.SYSTEM_NAMESPACE}/deployments/{names.OPERATOR}"
    machine.cluster.put(path, {"metadata": {"name": names.OPERATOR, "generation": 1}, "status": ready})
    result = await machine.kaos("doctor")
    assert result.status == 0 and result.data["ok"] and "all well" in result.view.text()
