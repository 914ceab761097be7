"""What an Agent becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kaos_operator.render import Context, desired_children, render

LOOP = {"autonomous": {"goal": "watch", "intervalSeconds": 1, "maxIterRuntimeSeconds": 60, "suspend": False}}
OWNER = {
    "apiVersion": "kaos.tools/v1alpha1",
    "kind": "Agent",
    "name": "auto-agent",
    "uid": "uid-Agent-auto-agent",
    "controller": True,
    "blockOwnerDeletion": True,
}


def test_an_agent_is_a_deployment_and_a_service_by_the_published_names(agent: Any, world: Any, of: Any) -> None:
    children = desired_children(agent(), world())
    assert [(child["kind"], child["metadata"]["name"]) for child in children] == [
        ("Deployment", "agent-auto-agent"),
        ("Service", "agent-auto-agent"),
    ]
    deployment = of.find(children, "Deployment")
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "agent", "agent": "auto-agent"}
    assert of.find(children, "Service")["spec"]["ports"][0]["port"] == 8000
    assert of.pod(children)["containers"][0]["name"] == "agent"
    assert all(child["metadata"]["ownerReferences"] == [OWNER] for child in children)
    assert all(child["metadata"]["namespace"] == "demo" for child in children)


def test_the_environment_is_the_published_contract(agent: Any, world: Any, of: Any) -> None:
    config = {
        "description": "d",
        "instructions": "i",
        "systemPrompt": "s",
        "reasoningLoopMaxSteps": 7,
        "toolCallMode": "native",
        "memory": {"enabled": True, "type": "local", "contextLimit": 6, "maxSessions": 10, "maxSessionEvents": 20},
        "taskConfig": {"maxIterations": 5, "maxRuntimeSeconds": 300, "maxToolCalls": 20},
        **LOOP,
    }
    env = of.environment(desired_children(agent(mcpServers=["auto-echo"], config=config), world()))
    assert env == {
        "AGENT_NAME": "auto-agent",
        "POD_NAMESPACE": "demo",
        "AGENT_DESCRIPTION": "d",
        "AGENT_INSTRUCTIONS": "i",
        "AGENT_SYSTEM_PROMPT": "s",
        "MODEL_API_URL": "http://modelapi-auto-api.demo.svc.cluster.local:8000",
        "MODEL_NAME": "gpt-4o",
        "AGENTIC_LOOP_MAX_STEPS": "7",
        "TOOL_CALL_MODE": "native",
        "MEMORY_ENABLED": "true",
        "MEMORY_TYPE": "local",
        "MEMORY_CONTEXT_LIMIT": "6",
        "MEMORY_MAX_SESSIONS": "10",
        "MEMORY_MAX_SESSION_EVENTS": "20",
        "TASK_MAX_ITERATIONS": "5",
        "TASK_MAX_RUNTIME_SECONDS": "300",
        "TASK_MAX_TOOL_CALLS": "20",
        "AUTONOMOUS_GOAL": "watch",
        "AUTONOMOUS_INTERVAL_SECONDS": "1",
        "AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS": "60",
        "MCP_SERVERS": "auto-echo",
        "MCP_SERVER_auto-echo_URL": "http://mcpserver-auto-echo.demo.svc.cluster.local:8000",
        "LOG_LEVEL": "INFO",
        "AGENT_STATE_DIR": "/var/lib/kaos",
        "AGENT_CONTROL_FILE": "/etc/kaos/control/control.json",
        "AGENT_REPORTS_STATUS": "true",
    }


def test_entries_of_the_container_win_over_generated_ones_and_may_come_from_secrets(
    agent: Any, world: Any, of: Any
) -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "token"}}
    resource = agent(
        container={
            "image": "mine:1",
            "resources": {"limits": {"cpu": "1"}},
            "env": [
                {"name": "DEBUG_MOCK_RESPONSES", "value": "[]"},
                {"name": "LOG_LEVEL", "value": "DEBUG"},
                {"name": "TOKEN", "valueFrom": secret},
            ],
        }
    )
    children = desired_children(resource, world())
    env = of.environment(children)
    assert (env["DEBUG_MOCK_RESPONSES"], env["LOG_LEVEL"], env["TOKEN"]) == ("[]", "DEBUG", secret)
    assert env["KAOS_SECRET_VARIABLES"] == "TOKEN"
    container = of.pod(children)["containers"][0]
    assert (container["image"], container["resources"]) == ("mine:1", {"limits": {"cpu": "1"}})
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))


def test_secrets_of_the_pod_spec_are_told_as_well(agent: Any, world: Any, of: Any) -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "token"}}
    resource = agent(container={"env": [{"name": "ONE", "valueFrom": secret}]})
    resource["spec"]["podSpec"] = {"containers": [{"name": "agent", "env": [{"name": "TWO", "valueFrom": secret}]}]}
    told = of.environment(desired_children(resource, world()))["KAOS_SECRET_VARIABLES"]
    assert set(told.split(",")) == {"ONE", "TWO"}


def test_an_agent_that_loops_keeps_its_events_on_a_claim_and_never_runs_twice(agent: Any, world: Any, of: Any) -> None:
    rendered = render(agent(config=LOOP), world())
    deployment = of.find(rendered.children, "Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert of.find(rendered.children, "PersistentVolumeClaim")["metadata"]["name"] == "agent-auto-agent-state"
    mounts = {mount["name"]: mount["mountPath"] for mount in of.pod(rendered.children)["containers"][0]["volumeMounts"]}
    assert mounts == {"state": "/var/lib/kaos", "control": "/etc/kaos/control"}
    assert [(v.status, v.reason) for v in rendered.verdicts if v.type == "Durable"] == [(True, "PersistentVolumeClaim")]


def test_a_blank_goal_is_no_goal(agent: Any, world: Any, of: Any) -> None:
    children = desired_children(agent(config={"autonomous": {"goal": "  ", "intervalSeconds": 1}}), world())
    assert {child["kind"] for child in children} == {"Deployment", "Service"}
    assert "AUTONOMOUS_GOAL" not in of.environment(children)
    assert of.find(children, "Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"


def test_without_a_storage_class_events_lie_in_the_pod_and_a_condition_says_so(agent: Any, world: Any, of: Any) -> None:
    rendered = render(agent(config=LOOP), world(storage=False))
    assert {"name": "state", "emptyDir": {}} in of.pod(rendered.children)["volumes"]
    assert [(v.status, v.reason) for v in rendered.verdicts if v.type == "Durable"] == [(False, "NoStorageClass")]


def test_a_claim_that_exists_is_kept_when_the_storage_class_goes(agent: Any, world: Any, of: Any) -> None:
    context = world(storage=False, claims=frozenset({"agent-auto-agent-state"}))
    assert of.find(desired_children(agent(config=LOOP), context), "PersistentVolumeClaim")


def test_suspending_changes_only_the_control_file(agent: Any, world: Any, of: Any) -> None:
    parked = {"autonomous": {**LOOP["autonomous"], "suspend": True}}
    before, after = desired_children(agent(config=LOOP), world()), desired_children(agent(config=parked), world())
    control = of.find(after, "ConfigMap")
    assert control["metadata"]["name"] == "agent-auto-agent-control"
    assert json.loads(control["data"]["control.json"]) == {"suspend": True}
    assert of.find(before, "Deployment") == of.find(after, "Deployment")


def test_another_prompt_is_another_pod(agent: Any, world: Any, of: Any) -> None:
    def annotation(instructions: str) -> str:
        deployment = of.find(desired_children(agent(config={"instructions": instructions}), world()), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["kaos.tools/pod-spec-hash"])

    assert annotation("one") == annotation("one") != annotation("two")
    assert len(annotation("one")) == 16


def test_new_content_of_a_referenced_secret_is_another_pod(agent: Any, world: Any, of: Any) -> None:
    source = {"secretKeyRef": {"name": "keys", "key": "token"}}
    resource = agent(container={"env": [{"name": "TOKEN", "valueFrom": source}]})

    def template(digest: str) -> Any:
        children = desired_children(resource, world(digests={("Secret", "keys"): digest, ("Secret", "other"): digest}))
        return of.find(children, "Deployment")["spec"]["template"]

    assert template("a") != template("b")
    plain = agent()
    one = desired_children(plain, world(digests={("Secret", "keys"): "a"}))
    assert one == desired_children(plain, world(digests={("Secret", "keys"): "b"}))


def test_an_agent_that_is_not_exposed_has_no_service_and_no_endpoint(agent: Any, world: Any) -> None:
    rendered = render(agent(agentNetwork={"expose": False}), world())
    assert [child["kind"] for child in rendered.children or []] == ["Deployment"]
    assert rendered.endpoint is None


def test_peers_that_have_an_endpoint_are_wired_and_the_others_are_named(
    agent: Any, modelapi: Any, world: Any, of: Any
) -> None:
    peer = agent("deep-thinker")
    peer["status"] = {"endpoint": "http://agent-deep-thinker.demo.svc.cluster.local:8000"}
    rendered = render(
        agent(agentNetwork={"access": ["deep-thinker", "absent"]}), world(modelapi(), peer, agent("absent"))
    )
    env = of.environment(rendered.children)
    assert env["PEER_AGENTS"] == "deep-thinker"
    assert env["PEER_AGENT_DEEP_THINKER_CARD_URL"] == peer["status"]["endpoint"]
    (verdict,) = [v for v in rendered.verdicts if v.type == "PeersResolved"]
    assert (verdict.status, "absent" in verdict.message) == (False, True)


def test_the_pod_spec_of_the_user_is_merged_by_container_name(agent: Any, world: Any, of: Any) -> None:
    patch = {
        "nodeSelector": {"disk": "fast"},
        "containers": [{"name": "agent", "env": [{"name": "EXTRA", "value": "1"}]}, {"name": "side", "image": "x"}],
    }
    children = desired_children(agent(podSpec=patch), world())
    spec = of.pod(children)
    assert [container["name"] for container in spec["containers"]] == ["agent", "side"]
    assert spec["nodeSelector"] == {"disk": "fast"}
    assert of.environment(children)["EXTRA"] == "1"
    assert of.environment(children)["AGENT_NAME"] == "auto-agent"


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("spec.config.memory.type", {"memory": {"type": "redis"}}),
        ("spec.config.memory.scope", {"memory": {"type": "local", "scope": "agent"}}),
    ],
)
def test_a_field_without_effect_is_named_in_a_condition(agent: Any, world: Any, field: str, config: Any) -> None:
    (verdict,) = [v for v in render(agent(config=config), world()).verdicts if v.type == "Unsupported"]
    assert verdict.status
    assert field in verdict.message


def test_a_plain_agent_has_nothing_unsupported(agent: Any, world: Any) -> None:
    assert not [v for v in render(agent(config=LOOP), world()).verdicts if v.type == "Unsupported"]


def test_rendering_changes_nothing_it_was_given(agent: Any, world: Any) -> None:
    resource = agent(config=LOOP, podSpec={"containers": [{"name": "agent", "env": [{"name": "A", "value": "1"}]}]})
    before = json.dumps(resource)
    desired_children(resource, world())
    assert json.dumps(resource) == before


def test_a_context_that_knows_nothing_leaves_the_agent_waiting(agent: Any) -> None:
    assert render(agent(), Context()).phase == "Waiting"


BUDGET = {"perDay": {"cost": 1.5}, "prices": {"gpt-4*": {"inputPerMillion": 1, "outputPerMillion": 2}}}


def test_an_agent_with_a_budget_keeps_its_state_and_may_write_its_own_status_only(
    agent: Any, world: Any, of: Any
) -> None:
    children = desired_children(agent(config={"budget": BUDGET, "approvals": {"tools": ["rm"]}}), world())
    env = of.environment(children)
    assert json.loads(env["AGENT_BUDGET"]) == BUDGET and json.loads(env["AGENT_APPROVALS"]) == {"tools": ["rm"]}
    by_kind = {child["kind"]: child for child in children}
    assert by_kind["Role"]["rules"] == [
        {
            "apiGroups": ["kaos.tools"],
            "resources": ["agents/status"],
            "resourceNames": ["auto-agent"],
            "verbs": ["get", "patch"],
        }
    ]
    assert of.pod(children)["serviceAccountName"] == by_kind["ServiceAccount"]["metadata"]["name"] == "agent-auto-agent"
    assert "PersistentVolumeClaim" in by_kind and by_kind["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_cost_limit_without_a_price_for_the_model_is_price_unknown(agent: Any, world: Any) -> None:
    config = {"budget": {"perDay": {"cost": 1}, "prices": {"other": {"inputPerMillion": 1, "outputPerMillion": 1}}}}
    rendered = render(agent(config=config), world())
    assert rendered.children is None and rendered.phase == "Failed"
    assert [v.reason for v in rendered.verdicts if v.type == "Accepted"] == ["PriceUnknown"]


@pytest.mark.parametrize(
    ("suspend", "notes", "wishes"),
    [
        (True, {}, {"suspend": True}),
        (True, {"kaos.tools/suspend-after": "iteration"}, {"suspend": "afterIteration"}),
        (False, {"kaos.tools/suspend-after": "iteration"}, {"suspend": False}),
        (False, {"kaos.tools/run-now": "x"}, {"suspend": False, "runNow": "x"}),
    ],
)
def test_the_owners_wishes_reach_the_control_file(
    agent: Any, world: Any, suspend: bool, notes: dict[str, str], wishes: dict[str, Any]
) -> None:
    resource = agent(config={"autonomous": {"goal": "watch", "suspend": suspend}})
    resource["metadata"]["annotations"] = notes
    (control,) = [child for child in desired_children(resource, world()) if child["kind"] == "ConfigMap"]
    assert json.loads(control["data"]["control.json"]) == wishes
