"""list, get, logs, delete and the names that are not there."""

from __future__ import annotations

import json

import pytest
import yaml

from kaos_ext.commands.failures import view_of
from kaos_ext.kube.transport import Request
from kaos_ext.model.errors import KaosError, NotFoundError, NotReadyError
from kaos_ext.views import Card, LogView, Table, Tone
from tests.commands.conftest import Machine
from tests.kube.fake import FakeResponse

PODS = "/api/v1/namespaces/here/pods"


def agent(machine: Machine, name: str = "auto-agent") -> None:
    spec = {"modelAPI": "auto-api", "model": "gpt-4o", "config": {"autonomous": {"goal": "watch"}}}
    loop = {"iteration": 3, "lastOutcome": "Completed", "lastDurationSeconds": 0.25}
    machine.add("Agent", name, spec, phase="Ready", ready=True, message="Deployment ready replicas: 1/1", loop=loop)


async def test_a_list_is_a_table_and_its_data_a_list_of_whole_objects(machine: Machine) -> None:
    agent(machine)
    result = await machine.kaos("agent list")
    assert isinstance(result.view, Table)
    assert result.view.rows[0][:6] == ("auto-agent", "auto-api", "gpt-4o", 3, True, result.view.rows[0][5])
    assert result.data["kind"] == "List" and result.data["items"][0]["spec"]["modelAPI"] == "auto-api"
    wide = await machine.kaos("agent list -o wide -A")
    assert isinstance(wide.view, Table) and wide.view.columns[0] == "namespace" and wide.view.columns[-1] == "message"


async def test_an_empty_list_says_where_and_what_to_do(machine: Machine) -> None:
    result = await machine.kaos("mcp list")
    assert "none in namespace here" in result.view.text() and result.data["items"] == []


@pytest.mark.parametrize("line", ["agent list", "agent get a", "agent watch a"])
async def test_a_namespace_that_is_not_there_is_not_an_empty_one(machine: Machine, line: str) -> None:
    with pytest.raises(NotFoundError, match="no namespace `heer`") as caught:
        await machine.kaos(f"{line} -n heer")
    assert caught.value.hint == "did you mean `here`?" and caught.value.exit_status == 2


async def test_get_is_a_card_or_yaml_that_can_be_applied_again(machine: Machine) -> None:
    agent(machine)
    card = (await machine.kaos("agent get auto-agent")).view.text()
    assert "gpt-4o of auto-api" in card and "3 · Completed · 0.25 s" in card and "watch" in card
    shown = yaml.safe_load((await machine.kaos("agent get auto-agent -o yaml")).view.text())
    assert shown["kind"] == "Agent" and "managedFields" not in shown["metadata"]
    assert json.loads((await machine.kaos("agent get auto-agent -o json")).view.text()) == shown
    assert (await machine.kaos("agent list -o name")).view.text() == "agent/auto-agent"


async def test_a_list_has_no_column_that_nobody_fills(machine: Machine) -> None:
    machine.add("Agent", "a", {"modelAPI": "m", "model": "g"}, phase="Ready", ready=True)
    view = (await machine.kaos("agent list")).view
    assert isinstance(view, Table) and view.columns == ("name", "modelapi", "model", "ready", "phase", "age")


async def test_a_card_says_a_reason_once_and_nothing_good_of_what_failed(machine: Machine) -> None:
    why = 'unknown runtime "nope"'
    conditions = [
        {"type": "Ready", "status": "False", "reason": "Failed", "message": why},
        {"type": "Progressing", "status": "False", "reason": "Failed", "message": why},
        {"type": "Unsupported", "status": "True", "reason": "NoEffectYet", "message": "spec.params"},
    ]
    machine.add("MCPServer", "m", {"runtime": "nope"}, phase="Failed", message=why, conditions=conditions)
    view = (await machine.kaos("mcp get m")).view
    assert isinstance(view, Card)
    assert view.text().count(why) == 1 and {line.tone for line in view.lines} == {Tone.FAILED}


@pytest.mark.parametrize("verb", ["get", "logs", "delete", "pause", "wait", "status", "memory", "tools", "a2a list"])
async def test_a_name_that_is_not_there_is_answered_with_the_nearest_and_changes_nothing(
    machine: Machine, verb: str
) -> None:
    agent(machine)
    with pytest.raises(NotFoundError, match="no Agent `auto-agnet` in namespace here") as caught:
        await machine.kaos(f"agent {verb} auto-agnet")
    assert caught.value.hint == "did you mean `auto-agent`?"
    assert [request for request in machine.cluster.writes if "/proxy" not in request.path] == []


async def test_deleting_says_so_and_waits_when_asked(machine: Machine) -> None:
    agent(machine)
    result = await machine.kaos("agent delete auto-agent --wait")
    assert result.view.text() == "✅ Deleted Agent 'auto-agent'"
    assert json.loads(machine.cluster.writes[0].body or b"")["propagationPolicy"] == "Foreground"
    assert machine.notes == ["context kaos-default, namespace here"]


async def test_logs_are_of_the_newest_pod_that_stays(machine: Machine) -> None:
    agent(machine)
    labels = {"app": "agent", "agent": "auto-agent"}
    for name, made, more in (("old", "1", {"deletionTimestamp": "now"}), ("new", "2", {})):
        running = {"containerStatuses": [{"state": {"running": {}}}]}
        metadata = {"name": name, "labels": labels, "creationTimestamp": made, **more}
        machine.cluster.put(f"{PODS}/{name}", {"metadata": metadata, "status": running})

    def logs(request: Request) -> FakeResponse | None:
        if request.path.endswith("/log"):
            assert request.params["tailLines"] == "2"
            return FakeResponse(200, f"of {request.path.split('/')[-2]}\nand more".encode(), "text/plain")
        return None

    machine.cluster.refuse = logs
    result = await machine.kaos("agent logs auto-agent --tail 2")
    assert isinstance(result.view, LogView) and result.data == {"pod": "new", "lines": ["of new", "and more"]}
    updates = [update async for update in machine.stream("agent logs auto-agent -f --tail 2")]
    assert [update.text() for update in updates] == ["of new", "and more"]


async def test_logs_of_an_agent_without_a_pod_say_why(machine: Machine) -> None:
    machine.add("Agent", "a", phase="Waiting", message="ModelAPI m not found")
    with pytest.raises(NotReadyError, match="has printed nothing: ModelAPI m not found"):
        await machine.kaos("agent logs a")


async def test_pausing_changes_only_the_one_field_and_needs_a_loop(machine: Machine) -> None:
    agent(machine)
    await machine.kaos("agent pause auto-agent")
    sent = machine.cluster.writes[-1]
    assert json.loads(sent.body or b"") == {"spec": {"config": {"autonomous": {"suspend": True}}}}
    assert sent.headers["Content-Type"] == "application/merge-patch+json"
    await machine.kaos("agent resume auto-agent")
    assert machine.stored("Agent", "auto-agent")["spec"]["config"]["autonomous"] == {"goal": "watch", "suspend": False}
    machine.add("Agent", "quiet", {"modelAPI": "m"})
    with pytest.raises(NotReadyError, match="no goal"):
        await machine.kaos("agent pause quiet")


async def test_the_owners_wishes_are_written_on_the_agent(machine: Machine) -> None:
    agent(machine)
    await machine.kaos("agent pause auto-agent --after-iteration")
    stored = machine.stored("Agent", "auto-agent")
    assert stored["metadata"]["annotations"]["kaos.tools/suspend-after"] == "iteration"
    await machine.kaos("agent resume auto-agent")
    assert not machine.stored("Agent", "auto-agent")["metadata"]["annotations"].get("kaos.tools/suspend-after")
    await machine.kaos("agent run-now auto-agent")
    first = machine.stored("Agent", "auto-agent")["metadata"]["annotations"]["kaos.tools/run-now"]
    await machine.kaos("agent run-now auto-agent")
    assert machine.stored("Agent", "auto-agent")["metadata"]["annotations"]["kaos.tools/run-now"] != first
    await machine.kaos('agent goal auto-agent --text "look again"')
    assert machine.stored("Agent", "auto-agent")["spec"]["config"]["autonomous"]["goal"] == "look again"


def test_any_error_is_drawn_with_what_to_do() -> None:
    assert view_of(KaosError("no", hint="do it")).text() == "✗ no\n  → do it"
    assert "ValueError: odd" in view_of(ValueError("odd")).text()
