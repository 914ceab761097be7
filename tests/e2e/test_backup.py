"""A backup taken while an agent loops: the restored one remembers all of it and goes on with the next number."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import Machine, eventually

pytestmark = pytest.mark.process


def test_an_agent_goes_on_after_a_restore_where_it_was_when_it_was_saved(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    own_machine.kaos("agent", "wait", "auto-agent", "--iterations", "3")
    before = own_machine.events("auto-agent")
    own_machine.kaos("backup", "a.kaos.tar.gz")
    last = max(own_machine.iterations("auto-agent"))
    own_machine.kaos("agent", "wait", "auto-agent", "--iterations", str(last + 2))
    own_machine.kaos("down", "--delete")

    own_machine.kaos("restore", "a.kaos.tar.gz")
    own_machine.kaos("up")
    own_machine.kaos("agent", "wait", "auto-agent", "--iterations", str(last + 2))
    numbers = eventually("its iterations", lambda: own_machine.iterations("auto-agent"))
    assert numbers == list(range(1, len(numbers) + 1)), "none skipped, doubled or renumbered"
    known = {event["event_id"] for event in own_machine.events("auto-agent")}
    assert {event["event_id"] for event in before} <= known, "what it had recorded then it knows now"


def test_a_magic_saves_and_restores_as_the_command_does(own_machine: Machine) -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'kaos_ext')\n"
        "saved = shell.run_line_magic('kaos', 'backup a.kaos.tar.gz')\n"
        "made = shell.run_line_magic('kaos', 'restore a.kaos.tar.gz copy')\n"
        "print('SAVED', saved is not None, 'MADE', made is not None)\n"
    )
    said = own_machine.run("python", "-c", code)
    assert "SAVED True MADE True" in said.out, said
    clusters = own_machine.kaos("status", "--json").json["clusters"]
    assert {found["name"]: found["state"] for found in clusters} == {"default": "running", "copy": "stopped"}
    own_machine.kaos("down", "copy", "--delete")
