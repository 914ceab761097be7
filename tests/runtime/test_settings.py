"""What an agent reads from its environment."""

from __future__ import annotations

import pytest

from kaos_ext.model.errors import UsageError
from kaos_ext.runtime.agent.settings import Settings, ToolCallMode


def settings(**env: str) -> Settings:
    return Settings.from_env({"AGENT_NAME": "a", **env})


def test_the_published_defaults() -> None:
    found = settings()
    assert (found.description, found.instructions) == ("AI Agent", "You are a helpful assistant.")
    assert found.loop_limits.max_steps == 5 and found.loop_limits.interval_seconds == 0
    assert found.loop_limits.max_iteration_seconds == 60
    tasks = found.task_limits
    assert (tasks.max_iterations, tasks.max_runtime_seconds, tasks.max_tool_calls) == (10, 300, 50)
    assert found.context_limit == 6 and found.memory and found.mocks is None
    assert found.tool_call_mode is ToolCallMode.AUTO


def test_the_system_prompt_wins_over_instructions() -> None:
    assert settings(AGENT_INSTRUCTIONS="i", AGENT_SYSTEM_PROMPT="s").instructions == "s"


def test_mcp_servers_by_their_names_verbatim() -> None:
    env = {"MCP_SERVERS": "auto-echo, b", "MCP_SERVER_auto-echo_URL": "http://x:8000/", "MCP_SERVER_b_URL": "http://y"}
    assert settings(**env).mcp_servers == (("auto-echo", "http://x:8000"), ("b", "http://y"))
    with pytest.raises(UsageError, match="MCP_SERVER_gone_URL"):
        settings(MCP_SERVERS="gone")


@pytest.mark.parametrize(
    ("text", "mocks"),
    [
        ("", None),
        ("[]", None),
        ("just text", ("just text",)),
        ('{"a": 1}', ('{"a": 1}',)),
        ('["one", {"tool_calls": []}]', ("one", '{"tool_calls": []}')),
    ],
)
def test_mock_responses_are_a_json_array_or_else_one_response(text: str, mocks: tuple[str, ...] | None) -> None:
    assert settings(DEBUG_MOCK_RESPONSES=text).mocks == mocks


@pytest.mark.parametrize(
    ("name", "value"),
    [("AGENTIC_LOOP_MAX_STEPS", "0"), ("AUTONOMOUS_INTERVAL_SECONDS", "-1"), ("TASK_MAX_ITERATIONS", "ten")],
)
def test_numbers_that_make_no_sense_name_the_variable(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        settings(**{name: value})


def test_an_agent_needs_a_name() -> None:
    with pytest.raises(UsageError, match="AGENT_NAME"):
        Settings.from_env({})


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    found = settings(
        DB_PASSWORD="hunter22", OPENAI_API_KEY="sk-12345", KAOS_SECRET_VARIABLES="SALT, PEPPER", SALT="granular",
        MONKEY="banana-split", TOKEN="short", PATH_TO_KEYS="/etc/keys",
    )  # fmt: skip
    assert found.secrets == {"hunter22", "sk-12345", "granular"}
