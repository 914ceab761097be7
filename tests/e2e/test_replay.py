"""Iterations of an agent on a cluster, with a person, an owner and a kill in them, replayed by command and in cells."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import Machine, eventually
from tests.e2e.test_kernel import Kernel

pytestmark = pytest.mark.process
ASKS = '{"spec":{"config":{"approvals":{"tools":["echo"],"timeoutSeconds":2,"onTimeout":"allow"}}}}'


def ended(machine: Machine) -> int:
    report = machine.kaos("agent", "replay", "auto-agent", "--json", check=False)
    return int(report.json["iteration"]) if report.status == 0 else 0


def test_every_iteration_is_the_same_again_whoever_had_a_hand_in_it(machine: Machine) -> None:
    deploy_agent(machine)
    eventually("an iteration of its own", lambda: ended(machine) >= 1)
    machine.kubectl("patch", "agents.kaos.tools", "auto-agent", "--type=merge", "-p", ASKS)
    for word in ("approve", "decline"):
        eventually(word, lambda word=word: machine.kaos("agent", word, "auto-agent", check=False).status == 0)
    machine.kaos("agent", "pause", "auto-agent")
    machine.process_of_pod("agent=auto-agent").kill()
    eventually("paused", lambda: "paused" in machine.kaos("agent", "status", "auto-agent").out.lower())
    machine.kaos("agent", "run-now", "auto-agent")
    machine.kaos("agent", "resume", "auto-agent")
    last = ended(machine)
    eventually("two more", lambda: ended(machine) >= last + 2, 60)
    last = ended(machine)
    reports = [
        machine.kaos("agent", "replay", "auto-agent", "--iteration", str(number), "--json").json
        for number in range(1, last + 1)
    ]
    assert [report["iteration"] for report in reports] == list(range(1, last + 1))
    assert all(report["same"] and report["network_calls"] == 0 and not report["unchecked"] for report in reports)
    begun = machine.kaos("agent", "memory", "auto-agent", "--type", "iteration_started", "--since", "0", "--json")
    second = begun.json["events"][1]["timestamp"]
    found = machine.kaos("agent", "memory", "auto-agent", "--since", second, "--type", "iteration_started",
                         "--type", "iteration_finished", "--limit", "2", "--json").json["events"]  # fmt: skip
    assert [(event["event_type"], event["metadata"]["iteration"]) for event in found] == [
        ("iteration_started", 2),
        ("iteration_finished", 2),
    ]
    wrong = machine.kaos("agent", "memory", "auto-agent", "--since", "yesterday", check=False)
    assert wrong.status == 1 and "since is 'yesterday'" in wrong.err
    missing = machine.kaos("agent", "replay", "auto-agent", "--iteration", "4000", check=False)
    assert missing.status == 1 and "no iteration 4000 on record yet" in missing.err


def test_a_divergence_is_exit_status_1_and_a_red_cell(machine: Machine) -> None:
    deploy_agent(machine)
    eventually("an iteration", lambda: ended(machine) >= 1)
    file = machine.folder / "one.json"
    machine.kaos("agent", "replay", "auto-agent", "--iteration", "1", "--save", str(file))
    recording: dict[str, Any] = json.loads(file.read_text())
    for event in recording["events"]:
        if event["event_type"] == "tool_result":
            event["content"]["result"] = "something else"
    file.write_text(json.dumps(recording))
    ran = machine.kaos("agent", "replay", "auto-agent", "--file", str(file), check=False)
    assert ran.status == 1 and "diverges" in ran.out and "content.prompt" in ran.out
    notebook = Kernel(machine)
    try:
        notebook.must("%load_ext kaos_ext")
        assert "the same again" in notebook.must("%kaos agent replay auto-agent --iteration 1")
        reply, shown = notebook.run(f"%kaos agent replay auto-agent --file {file}")
        assert reply["status"] == "error" and reply["ename"] == "Diverged"
        assert "content.prompt" in reply["evalue"] and "diverges" in shown
    finally:
        notebook.close()
