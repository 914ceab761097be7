"""An owner steers an agent with the real commands: holds it, moves it, turns it, answers it, bounds it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import Machine, eventually

pytestmark = pytest.mark.process
NAME = "auto-agent"


def loop(machine: Machine) -> dict[str, Any]:
    return dict(machine.object("agents.kaos.tools", NAME).get("status", {}).get("loop") or {})


def phase(machine: Machine, wanted: str, *, iteration: int = 0) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        status = loop(machine)
        return status if status.get("state") == wanted and status.get("iteration", 0) >= iteration else None

    found = eventually(f"status.loop.state {wanted} at iteration {iteration}", seen)
    assert found is not None
    return found


def spec(machine: Machine, patch: dict[str, Any]) -> None:
    machine.kubectl("patch", "agents.kaos.tools", NAME, "--type=merge", "-p", json.dumps({"spec": {"config": patch}}))


def kinds(machine: Machine, *types: str) -> list[str]:
    return [event["event_type"] for event in machine.events(NAME, "--type", ",".join(types))]


def condition(machine: Machine, type: str) -> dict[str, Any]:
    status = machine.object("agents.kaos.tools", NAME)["status"]
    return next((dict(item) for item in status["conditions"] if item["type"] == type), {})


def test_an_owner_holds_moves_and_turns_a_loop_and_is_told(machine: Machine) -> None:
    deploy_agent(machine)
    said = machine.kaos("agent", "pause", NAME)
    assert "Paused Agent" in said.out + said.err
    held = phase(machine, "paused")
    pod = machine.process_of_pod(f"agent={NAME}").pid
    assert condition(machine, "Paused")["status"] == "True"
    machine.kaos("agent", "run-now", NAME)
    one = phase(machine, "paused", iteration=held["iteration"] + 1)
    assert one["iteration"] == held["iteration"] + 1, "one iteration and no more"
    machine.kaos("agent", "resume", NAME)
    eventually("it goes on", lambda: max(machine.iterations(NAME)) > one["iteration"] + 1)
    machine.kaos("agent", "pause", NAME, "--after-iteration")
    phase(machine, "paused")
    assert machine.process_of_pod(f"agent={NAME}").pid == pod, "none of this needs another pod"
    machine.kaos("agent", "resume", NAME)
    machine.kaos("agent", "goal", NAME, "--text", "Say hello")
    eventually(
        "the new goal", lambda: any(e["content"] == "Say hello" for e in machine.events(NAME, "--type", "user_message"))
    )
    numbers = machine.iterations(NAME)
    assert numbers == list(range(1, len(numbers) + 1))
    marks = kinds(machine, "paused", "resumed", "run_requested")
    assert marks == ["paused", "run_requested", "paused", "resumed", "paused", "resumed"]
    told = machine.kubectl("get", "events", "-o", "json").json["items"]
    reasons = [event["reason"] for event in told if event["involvedObject"]["name"] == NAME]
    assert {"Paused", "NotPaused"} <= set(reasons)
    columns = machine.kubectl("get", "agents.kaos.tools").out.splitlines()[0].split()
    assert {"LOOP", "ITERATION"} <= set(columns), columns
    refused = machine.kaos("agent", "goal", NAME, "--text", " ", check=False)
    assert refused.status == 2


def test_a_person_approves_and_declines_and_an_answer_to_another_question_is_refused(machine: Machine) -> None:
    deploy_agent(machine, interval=0)
    spec(machine, {"approvals": {"tools": ["echo"]}})
    phase(machine, "input-required")
    eventually("a condition", lambda: condition(machine, "ApprovalRequired").get("status") == "True")

    def waits(*but: str) -> str:
        def one() -> str:
            listed = machine.kaos("agent", "approvals", NAME, "--json").json["approvals"]
            return next((str(item["id"]) for item in listed if item["id"] not in but), "")

        return eventually("a call waits", one)

    first = waits()
    machine.kaos("agent", "approve", NAME, "--call", first, "--reason", "looks fine")
    second = waits(first)
    late = machine.kaos("agent", "approve", NAME, "--call", first, check=False)
    assert late.status == 1 and "no tool call" in late.err, "the same call of an earlier iteration"
    assert machine.kaos("agent", "approve", NAME, "--call", "nothing", check=False).status == 1
    machine.process_of_pod(f"agent={NAME}").kill()
    eventually("it still waits", lambda: waits() == second)
    machine.kaos("agent", "decline", NAME, "--call", second, "--reason", "not now")
    waits(first, second)
    decided = machine.events(NAME, "--type", "approval_granted,approval_declined,tool_result,tool_error")
    assert [event["event_type"] for event in decided][-4:] == [
        "approval_granted", "tool_result", "approval_declined", "tool_error",
    ]  # fmt: skip
    assert decided[-4]["content"]["reason"] == "looks fine" and decided[-4]["content"]["by"]
    assert "not now" in decided[-1]["content"]["error"]


def test_a_budget_stops_the_loop_says_why_and_a_larger_one_lets_it_go_on(machine: Machine) -> None:
    deploy_agent(machine)
    spec(machine, {"budget": {"life": {"iterations": 3}}})
    stopped = phase(machine, "stopped", iteration=3)
    assert stopped["stopReason"] == "life.iterations"
    found = condition(machine, "BudgetExhausted")
    assert (found["status"], found["reason"]) == ("True", "LimitReached") and "life.iterations" in found["message"]
    at = stopped["iteration"]
    spec(machine, {"budget": {"life": {"iterations": at + 2}}})
    again = phase(machine, "stopped", iteration=at + 2)
    assert again["iteration"] == at + 2 and again["spent"]["life"]["iterations"] == at + 2
    prices = {"llama*": {"inputPerMillion": 1, "outputPerMillion": 1}}
    spec(machine, {"budget": {"perDay": {"cost": 1}, "life": None, "prices": prices}})

    def priced() -> bool:
        status = machine.object("agents.kaos.tools", NAME)["status"]
        return any(item["reason"] == "PriceUnknown" for item in status["conditions"])

    eventually("PriceUnknown", priced)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"budget": {"perDay": {"tokens": -1}}}, "spec.config.budget.perDay.tokens"),
        ({"budget": {"perIteration": {"iterations": 3}}}, "perIteration"),
        ({"budget": {"perDay": {"wine": 1}}}, "wine"),
        ({"approvals": {"tools": []}}, "tools"),
        ({"approvals": {"tools": ["x"], "onTimeout": "maybe"}}, "onTimeout"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(machine: Machine, config: dict[str, Any], words: str) -> None:
    agent = {
        "apiVersion": "kaos.tools/v1alpha1", "kind": "Agent", "metadata": {"name": "wrong"},
        "spec": {"modelAPI": "m", "model": "x", "config": config},
    }  # fmt: skip
    refused = machine.kubectl("create", "--validate=strict", "-f", "-", input=json.dumps(agent), check=False)
    assert refused.status != 0 and words in refused.err, refused


def test_an_agent_may_change_its_own_status_and_nothing_else(machine: Machine) -> None:
    deploy_agent(machine)
    deploy_agent(machine, "other")
    account = machine.object("deployment", f"agent-{NAME}")["spec"]["template"]["spec"]["serviceAccountName"]
    namespace = machine.object("agents.kaos.tools", NAME)["metadata"]["namespace"]
    me = f"--as=system:serviceaccount:{namespace}:{account}"

    def may(*what: str) -> bool:
        return machine.kubectl("auth", "can-i", *what, me, check=False).out.strip() == "yes"

    assert may("patch", f"agents.kaos.tools/{NAME}", "--subresource=status")
    assert may("get", f"agents.kaos.tools/{NAME}", "--subresource=status")
    for what in (
        ("patch", f"agents.kaos.tools/{NAME}"), ("update", f"agents.kaos.tools/{NAME}"),
        ("patch", "agents.kaos.tools/other", "--subresource=status"), ("list", "agents.kaos.tools"),
        ("get", "secrets"), ("create", "events"), ("create", "pods"),
    ):  # fmt: skip
        assert not may(*what), what
    patch = json.dumps({"status": {"loop": {"iteration": 999}}, "spec": {"model": "other"}})
    done = machine.kubectl(
        "patch", "agents.kaos.tools", NAME, "--subresource=status", "--type=merge", "-p", patch, me, check=False
    )
    assert done.status == 0 and machine.object("agents.kaos.tools", NAME)["spec"]["model"] == "gpt-4o"
    for words in (("agents.kaos.tools", "other", "--subresource=status"), ("agents.kaos.tools", NAME)):
        refused = machine.kubectl("patch", *words, "--type=merge", "-p", patch, me, check=False)
        assert refused.status == 1 and "orbidden" in refused.err, refused
