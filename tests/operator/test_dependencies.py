"""An Agent waits for what it needs, and says for what."""

from __future__ import annotations

from typing import Any

import pytest
from kaos_operator.render import render
from kaos_operator.render.modelapi import model_allowed

DEPLOYED = {"metadata": {"name": "agent-auto-agent"}, "spec": {"replicas": 1}}


def test_a_missing_modelapi_is_waited_for_by_name(agent: Any, mcpserver: Any, world: Any) -> None:
    rendered = render(agent(), world(mcpserver()))
    assert (rendered.phase, rendered.message) == ("Waiting", "ModelAPI auto-api not found")
    assert rendered.children is None


def test_a_modelapi_that_is_not_ready_is_waited_for(agent: Any, modelapi: Any, world: Any) -> None:
    rendered = render(agent(), world(modelapi(ready=False)))
    assert (rendered.phase, rendered.message) == ("Waiting", "ModelAPI is not ready")
    assert rendered.linked == {"modelapi": "auto-api"}


def test_missing_and_unready_mcp_servers_are_named(agent: Any, modelapi: Any, mcpserver: Any, world: Any) -> None:
    wanted = agent(mcpServers=["auto-echo"])
    assert render(wanted, world(modelapi())).message == "MCPServer auto-echo not found"
    assert render(wanted, world(modelapi(), mcpserver(ready=False))).message == "MCPServer auto-echo is not ready"


def test_why_a_dependency_failed_is_said_by_the_agent_that_waits(
    agent: Any, modelapi: Any, mcpserver: Any, world: Any
) -> None:
    broken = mcpserver(status={"ready": False, "phase": "Failed", "message": "line 3: invalid syntax"})
    rendered = render(agent(mcpServers=["auto-echo"]), world(modelapi(), broken))
    assert rendered.message == "MCPServer auto-echo is not ready: line 3: invalid syntax"


def test_an_impatient_agent_starts_before_its_dependencies_are_ready(
    agent: Any, modelapi: Any, mcpserver: Any, world: Any, of: Any
) -> None:
    wanted = agent(mcpServers=["auto-echo"], waitForDependencies=False)
    server = mcpserver(status={})
    server.pop("status")
    rendered = render(wanted, world(modelapi(ready=False), server))
    assert rendered.phase is None
    env = of.environment(rendered.children)
    assert env["MCP_SERVER_auto-echo_URL"] == "http://mcpserver-auto-echo.demo.svc.cluster.local:8000"


def test_an_agent_that_runs_is_kept_in_step_while_a_dependency_is_away(agent: Any, modelapi: Any, world: Any) -> None:
    rendered = render(agent(), world(modelapi(ready=False), deployment=DEPLOYED))
    assert rendered.phase == "Waiting"
    assert rendered.children


def test_a_model_that_is_not_offered_fails_the_agent(agent: Any, modelapi: Any, world: Any) -> None:
    rendered = render(agent(), world(modelapi(models=["gpt-5", "openai/*"])))
    assert rendered.phase == "Failed"
    assert rendered.message == 'model "gpt-4o" not supported by ModelAPI "auto-api" (supported: [gpt-5 openai/*])'


@pytest.mark.parametrize(
    ("model", "models", "allowed"),
    [
        ("gpt-4o", ["*"], True),
        ("gpt-4o", ["gpt-4o"], True),
        ("openai/gpt-4o", ["openai/*"], True),
        ("openai", ["openai/*"], False),
        ("gpt-4o-mini", ["gpt-4o"], False),
        ("gpt-4o", [], False),
    ],
)
def test_the_allow_list_matches_all_a_name_or_a_prefix(model: str, models: list[str], allowed: bool) -> None:
    assert model_allowed(model, models) is allowed


def test_a_hosted_modelapi_offers_its_model_on_the_engines_port(agent: Any, hosted: Any, world: Any, of: Any) -> None:
    hosted["status"] = {"ready": True}
    rendered = render(agent(modelAPI="local", model="smollm2:135m"), world(hosted))
    assert of.environment(rendered.children)["MODEL_API_URL"] == "http://modelapi-local.demo.svc.cluster.local:11434"
