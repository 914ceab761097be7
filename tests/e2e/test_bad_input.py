"""Wrong words and wrong objects: a clear error, a next step, and nothing changed."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import ECHO, deploy_agent
from tests.e2e.machine import Machine, eventually

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("agnet", "list"), "agent"),
        (("agent", "deplo", "a"), "deploy"),
        (("agent", "list", "--al-namespaces"), "--all-namespaces"),
        (("agent", "deploy", "a", "--modelapi", "m", "--model", "x", "--auto-interval", "1.5"), "1 or 2"),
        (("agent", "deploy", "Not_A_Name", "--modelapi", "m", "--model", "x"), "Not_A_Name"),
        (("modelapi", "deploy", "m", "--mode", "Proxi"), "Proxy"),
    ],
)
def test_wrong_words_exit_2_say_what_is_near_and_change_nothing(
    machine: Machine, words: tuple[str, ...], said: str
) -> None:
    ran = machine.kaos(*words, check=False)
    assert ran.status == 2, ran
    assert said in ran.err and ran.out == "", ran
    assert machine.kubectl("get", "agents,modelapis,mcpservers", "-o", "name").out == ""


def test_a_name_that_is_not_there_is_answered_with_the_nearest_one(machine: Machine) -> None:
    machine.kaos("modelapi", "deploy", "auto-api")
    ran = machine.kaos("modelapi", "get", "auto-apo", check=False)
    assert ran.status == 2 and "auto-api" in ran.err, ran


def test_yaml_that_fails_its_schema_names_path_and_reason_and_nothing_is_made(machine: Machine) -> None:
    manifest = {
        "apiVersion": "kaos.tools/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "broken"},
        "spec": {"modelAPI": "m", "model": "x", "config": {"reasoningLoopMaxSteps": 99}},
    }
    for command in (["kaos", "apply", "-f", "-"], ["kubectl", "apply", "-f", "-"]):
        ran = machine.run(*command, check=False, input=json.dumps(manifest))
        assert ran.status == 1, ran
        assert "spec.config.reasoningLoopMaxSteps" in ran.err and "20" in ran.err, ran
    assert machine.kubectl("get", "agents", "-o", "name").out == ""


def test_a_source_that_does_not_compile_fails_with_its_line_and_the_agent_waits_saying_so(machine: Machine) -> None:
    source = "def fine(x: str) -> str:\n    return x\n\ndef broken(:\n    pass\n"
    manifest = {
        "apiVersion": "kaos.tools/v1alpha1",
        "kind": "MCPServer",
        "metadata": {"name": "bad"},
        "spec": {"runtime": "python-string", "params": source},
    }
    machine.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    machine.kaos("modelapi", "deploy", "auto-api", "--wait")
    machine.kaos("agent", "deploy", "a", "--modelapi", "auto-api", "--model", "gpt-4o", "--mcp", "bad")

    def failed() -> bool:
        status = machine.object("mcpserver", "bad").get("status", {})
        assert status.get("phase") == "Failed" and "line 4" in status["message"], status
        return True

    def waiting() -> bool:
        status = machine.object("agent", "a").get("status", {})
        assert status.get("phase") == "Waiting" and "bad" in status["message"], status
        return True

    eventually("the MCPServer is Failed with its line", failed)
    eventually("the Agent waits and says for what", waiting)


def test_a_model_the_modelapi_does_not_serve_fails_the_agent_and_mending_it_heals(machine: Machine) -> None:
    machine.kaos("modelapi", "deploy", "auto-api", "--model", "gpt-4o", "--wait")
    machine.kaos("agent", "deploy", "a", "--modelapi", "auto-api", "--model", "gpt-9")

    def failed() -> bool:
        status = machine.object("agent", "a").get("status", {})
        assert status.get("phase") == "Failed" and "gpt-9" in status["message"], status
        assert "gpt-4o" in status["message"], status
        return True

    eventually("the Agent is Failed, naming the model and what is served", failed)
    machine.kaos("agent", "deploy", "a", "--modelapi", "auto-api", "--model", "gpt-4o", "--wait")
    assert machine.object("agent", "a")["status"]["phase"] == "Ready"


def test_a_dry_run_prints_yaml_that_kubectl_accepts_and_changes_nothing(machine: Machine) -> None:
    ran = machine.kaos("mcp", "deploy", "e", "--runtime", "python-string", "--params", ECHO, "--dry-run")
    assert machine.kubectl("get", "mcpservers", "-o", "name").out == ""
    machine.kubectl("apply", "-f", "-", input=ran.out)
    assert machine.object("mcpserver", "e")["spec"]["params"] == ECHO


def test_an_agent_answers_messages_while_it_loops(machine: Machine) -> None:
    deploy_agent(machine, interval=3600)
    eventually("the first iteration", lambda: machine.iterations("auto-agent") == [1])
    sent = machine.kaos("agent", "a2a", "send", "auto-agent", "--message", "Say hello via A2A", "--json").json
    assert sent["result"]["status"]["state"] == "completed"
    assert machine.iterations("auto-agent") == [1]
