"""deploy: the object that is made, what is refused before anything is, and waiting with reasons."""

from __future__ import annotations

import json

import pytest
import yaml

from kaos_ext.commands.waiting import Verdict, verdict
from kaos_ext.kube.objects import Object
from kaos_ext.model.errors import KaosError, NotReadyError, UnknownNameError, UsageError
from kaos_ext.views import Steps
from tests.commands.conftest import GROUP, Machine
from tests.kube.fake import status


async def test_the_autonomous_agent_of_the_published_example(machine: Machine) -> None:
    first = '{"tool_calls":[{"id":"call_1","name":"echo","arguments":{"message":"checking system status"}}]}'
    result = await machine.kaos(
        "agent deploy auto-agent --modelapi auto-api --model gpt-4o --mcp auto-echo "
        '--instructions "You are a test agent. Use the echo tool when asked." '
        f"--mock-response '{first}' --mock-response Done. "
        '--autonomous "Use the echo tool" --auto-interval 1'
    )
    assert result.view.text() == "✅ Deployed Agent 'auto-agent' with ModelAPI 'auto-api'"
    spec = machine.stored("Agent", "auto-agent")["spec"]
    assert spec == {
        "modelAPI": "auto-api",
        "model": "gpt-4o",
        "mcpServers": ["auto-echo"],
        "container": {"env": [{"name": "DEBUG_MOCK_RESPONSES", "value": json.dumps([first, "Done."])}]},
        "config": {
            "instructions": "You are a test agent. Use the echo tool when asked.",
            "autonomous": {"goal": "Use the echo tool", "intervalSeconds": 1},
        },
    }
    assert machine.notes == ["context kaos-default, namespace here"]


async def test_every_flag_of_agent_deploy_has_its_field(machine: Machine) -> None:
    await machine.kaos(
        "agent deploy a -a m -m g -i img:1 -d about --sub-agent b --sub-agent c --expose -e A=1 --env A=2 -e B=x=y "
        "--otel-endpoint http://o:4317 --autonomous g --auto-interval 0 --auto-max-iter-runtime 5 "
        "--task-max-iterations 0 --task-max-runtime 7 --task-max-tool-calls 8"
    )
    spec = machine.stored("Agent", "a")["spec"]
    assert spec["container"] == {"image": "img:1", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "x=y"}]}
    assert spec["agentNetwork"] == {"expose": True, "access": ["b", "c"]}
    assert spec["config"] == {
        "description": "about",
        "telemetry": {"enabled": True, "endpoint": "http://o:4317"},
        "autonomous": {"goal": "g", "intervalSeconds": 0, "maxIterRuntimeSeconds": 5},
        "taskConfig": {"maxIterations": 0, "maxRuntimeSeconds": 7, "maxToolCalls": 8},
    }


@pytest.mark.parametrize(
    ("line", "spec"),
    [
        ("", {"mode": "Proxy", "proxyConfig": {"models": ["*"]}}),
        (
            "--model gpt-4o --model o/* --provider openai --base-url http://x/v1 --api-secret key:token",
            {
                "mode": "Proxy",
                "proxyConfig": {
                    "models": ["gpt-4o", "o/*"],
                    "provider": "openai",
                    "apiBase": "http://x/v1",
                    "apiKey": {"valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
                },
            },
        ),
        ("--mode hosted -m smollm2:135m", {"mode": "Hosted", "hostedConfig": {"model": "smollm2:135m"}}),
    ],
)
async def test_what_a_modelapi_becomes(machine: Machine, line: str, spec: Object) -> None:
    result = await machine.kaos(f"modelapi deploy m {line}")
    assert machine.stored("ModelAPI", "m")["spec"] == spec
    assert result.view.text().startswith("✅ Deployed ModelAPI 'm'")


async def test_the_source_of_a_tool_server_is_kept_exactly_and_its_runtime_guessed(machine: Machine) -> None:
    source = 'def echo(message: str) -> str:\n """Echo."""\n return f"Echo: {message}"'
    await machine.kaos("mcp deploy e", body=source)
    assert machine.stored("MCPServer", "e")["spec"] == {"runtime": "python-string", "params": source}
    await machine.kaos("mcp deploy own --image img:2 --sa reader")
    assert machine.stored("MCPServer", "own")["spec"] == {
        "runtime": "custom",
        "serviceAccountName": "reader",
        "container": {"image": "img:2"},
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("modelapi deploy m --mode Hosted", "exactly one --model"),
        ("modelapi deploy m --mode Hosted -m x --provider p", "--provider is for --mode Proxy"),
        ("modelapi deploy m --api-secret bare", "Invalid --api-secret format"),
        ("mcp deploy e", "needs --runtime"),
        ("mcp deploy e --runtime custom", "needs --image"),
        ("mcp deploy e --params-file /no/such/file", "cannot be read"),
        ("agent deploy a -a m -m g --env NAME", "not KEY=VALUE"),
    ],
)
async def test_what_cannot_be_is_refused_before_the_cluster_is_asked(machine: Machine, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        await machine.kaos(line)
    assert caught.value.hint and machine.cluster.requests == []


async def test_a_runtime_that_the_registry_does_not_have_is_a_wrong_word(machine: Machine) -> None:
    registry = {"data": {"runtimes.yaml": "runtimes: {kubernetes: {type: go}, python-string: {type: python}}"}}
    machine.cluster.put("/api/v1/namespaces/kaos-system/configmaps/kaos-mcp-runtimes", registry)
    with pytest.raises(UnknownNameError, match="no MCP runtime `kubernets`") as caught:
        await machine.kaos("mcp deploy e --runtime kubernets")
    assert caught.value.hint == "did you mean `kubernetes`?" and machine.cluster.writes == []
    await machine.kaos("mcp deploy e --runtime kubernetes")
    assert machine.stored("MCPServer", "e")["spec"]["runtime"] == "kubernetes"


async def test_where_the_registry_cannot_be_seen_the_operator_judges(machine: Machine) -> None:
    await machine.kaos("mcp deploy e --runtime own")
    assert machine.stored("MCPServer", "e")["spec"]["runtime"] == "own"


async def test_a_dry_run_is_yaml_of_the_object_and_asks_no_cluster(machine: Machine) -> None:
    source = "def f():\n    '''yes: {no}'''\n    return 1\n"
    result = await machine.kaos("mcp deploy e --dry-run", body=source)
    shown = yaml.safe_load(result.view.text() + "\n")
    assert shown == result.data and shown["spec"]["params"] == source
    assert "params: |" in result.view.text() and machine.cluster.requests == []


async def test_a_cluster_without_our_kinds_is_refused_with_the_next_step(machine: Machine) -> None:
    machine.cluster.installed = False
    for line in ("agent deploy a -a m -m g", "agent list", "agent get a", "agent delete a", "modelapi deploy m"):
        with pytest.raises(KaosError, match="does not have KAOS installed") as caught:
            await machine.kaos(line)
        assert "kaos system install" in caught.value.hint


async def test_a_namespace_that_is_not_there_is_answered_with_the_one_that_was_meant(machine: Machine) -> None:
    machine.cluster.put("/api/v1/namespaces/autonomous", {"metadata": {"name": "autonomous"}})
    missing = status(404, "NotFound", 'namespaces "autonomuos" not found', name="autonomuos", kind="namespaces")
    machine.cluster.refuse = lambda request: missing if request.method == "PATCH" else None
    with pytest.raises(KaosError, match="no namespace `autonomuos`") as caught:
        await machine.kaos("-n autonomuos agent deploy a -a m -m g")
    assert "autonomous" in caught.value.hint and caught.value.exit_status == 2


async def test_waiting_says_what_for_and_ends_when_this_generation_is_ready(machine: Machine) -> None:
    machine.add("Agent", "a", phase="Ready", ready=True, observedGeneration=1, message="of the old generation")

    def operator(path: str, item: Object) -> None:
        generation = item["metadata"]["generation"]
        waiting = {"phase": "Waiting", "message": "ModelAPI m is not ready", "observedGeneration": generation}
        machine.cluster.put(path, {**item, "status": waiting})
        machine.cluster.put(
            path, {**item, "status": {"phase": "Ready", "ready": True, "observedGeneration": generation}}
        )

    machine.cluster.on_write = operator
    result = await machine.kaos("agent deploy a -a m -m g --wait")
    steps = [progress.steps[0] for progress in machine.progress if isinstance(progress, Steps)]
    assert result.data["status"]["observedGeneration"] == 2
    assert steps[-1].state == "done" and steps[-1].detail == ""
    # What is said of the old generation is no reason; that nobody looked is one only when it lasts.
    assert {step.detail for step in steps[:-1]} <= {"starting", "ModelAPI m is not ready"}


@pytest.mark.parametrize(("rolling", "found"), [("True", Verdict.WAITING), ("False", Verdict.READY)])
def test_what_is_ready_of_the_settings_before_does_not_end_the_waiting(rolling: str, found: Verdict) -> None:
    progressing = {"type": "Progressing", "status": rolling}
    status = {"phase": "Ready", "ready": True, "observedGeneration": 2, "conditions": [progressing]}
    assert verdict({"status": status}, generation=2) is found


async def test_waiting_tells_the_reasons_of_the_pods_and_of_their_events(machine: Machine) -> None:
    pod = {
        "metadata": {"name": "agent-a-1", "labels": {"app": "agent", "agent": "a"}},
        "status": {
            "phase": "Pending",
            "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}},
                                   "lastState": {"terminated": {"exitCode": 3}}}],
        },
    }  # fmt: skip
    machine.cluster.put("/api/v1/namespaces/here/pods/agent-a-1", pod)
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"name": "agent-a-1"},
        "reason": "BackOff",
        "message": "restarting failed container",
    }
    machine.cluster.put("/api/v1/namespaces/here/events/e", event)
    machine.cluster.on_write = lambda path, item: (
        machine.cluster.put(path, {**item, "status": {"phase": "Pending", "message": "Deployment ready replicas: 0/1"}})
        and None
    )
    with pytest.raises(NotReadyError, match=r"not ready after 0\.2 s: Deployment ready replicas: 0/1") as caught:
        await machine.kaos("agent deploy a -a m -m g --wait --wait-timeout 0.2")
    assert caught.value.details == (
        "pod agent-a-1: CrashLoopBackOff: exit code 3",
        "BackOff: restarting failed container",
    )
    assert caught.value.hint == "kaos agent logs a"
    details = [progress.steps[0].detail for progress in machine.progress if isinstance(progress, Steps)]
    assert any("pod agent-a-1: CrashLoopBackOff" in detail for detail in details)


async def test_an_object_that_failed_ends_the_wait_at_once_with_its_reason(machine: Machine) -> None:
    machine.cluster.on_write = lambda path, item: (
        machine.cluster.put(path, {**item, "status": {"phase": "Failed", "message": "line 4: invalid syntax"}}) and None
    )
    with pytest.raises(NotReadyError, match="MCPServer e failed: line 4: invalid syntax"):
        await machine.kaos("mcp deploy e --wait", body="def broken(:")


async def test_a_redeploy_leaves_what_others_said_of_the_object(machine: Machine) -> None:
    machine.add("Agent", "a", {"config": {"autonomous": {"suspend": True}}})
    await machine.kaos("agent deploy a -a m -m g --autonomous goal")
    sent = json.loads(machine.cluster.writes[0].body or b"")
    assert sent["spec"]["config"]["autonomous"] == {"goal": "goal"}
    assert machine.cluster.writes[0].path == f"{GROUP}/agents/a"
