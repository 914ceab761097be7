"""What an agent is told by its environment (`kaos_ext.model.podenv`), read once and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kaos_ext.loop import Limits
from kaos_ext.model import podenv
from kaos_ext.model.approvals import Approvals
from kaos_ext.model.budget import Budget
from kaos_ext.model.errors import UsageError
from kaos_ext.runtime.agent.retention import Retention
from kaos_ext.runtime.secrets import secret_values


class ToolCallMode(StrEnum):
    AUTO = "auto"
    NATIVE = "native"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Settings:
    name: str
    namespace: str = ""
    description: str = "AI Agent"
    instructions: str = "You are a helpful assistant."
    model_url: str = ""
    model: str = ""
    tool_call_mode: ToolCallMode = ToolCallMode.AUTO
    mocks: tuple[str, ...] | None = None
    mcp_servers: tuple[tuple[str, str], ...] = ()
    goal: str = ""
    suspended: bool = False
    control_file: Path | None = None
    state_dir: Path | None = None
    loop_limits: Limits = field(default_factory=Limits)
    task_limits: Limits = field(default_factory=Limits)
    memory: bool = True
    context_limit: int = 6
    secrets: frozenset[str] = frozenset()
    budget: Budget = field(default_factory=Budget)
    approvals: Approvals = field(default_factory=Approvals)
    retention: Retention = field(default_factory=Retention)
    reports_status: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        name = env.get(podenv.AGENT_NAME, "").strip()
        if not name:
            raise UsageError(f"{podenv.AGENT_NAME} is not set", hint="an agent needs a name")
        steps = _number(env, podenv.AGENTIC_LOOP_MAX_STEPS, 5, least=1)
        mode = (env.get(podenv.TOOL_CALL_MODE) or "auto").lower()
        if mode not in set(ToolCallMode):
            raise UsageError(f"{podenv.TOOL_CALL_MODE} is {mode!r}", hint="one of auto, native, string")
        budget = Budget.parse(env.get(podenv.AGENT_BUDGET, ""))
        budget.check(env.get(podenv.MODEL_NAME, ""))
        control, state = env.get(podenv.AGENT_CONTROL_FILE), env.get(podenv.AGENT_STATE_DIR)
        return cls(
            name=name,
            namespace=env.get(podenv.POD_NAMESPACE, ""),
            description=env.get(podenv.AGENT_DESCRIPTION) or "AI Agent",
            instructions=env.get(podenv.AGENT_SYSTEM_PROMPT)
            or env.get(podenv.AGENT_INSTRUCTIONS)
            or "You are a helpful assistant.",
            model_url=env.get(podenv.MODEL_API_URL, "").rstrip("/"),
            model=env.get(podenv.MODEL_NAME, ""),
            tool_call_mode=ToolCallMode(mode),
            mocks=_mocks(env.get(podenv.DEBUG_MOCK_RESPONSES, "")),
            mcp_servers=_servers(env),
            goal=env.get(podenv.AUTONOMOUS_GOAL, "").strip(),
            suspended=env.get(podenv.AGENT_SUSPENDED, "").lower() == "true",
            control_file=Path(control) if control else None,
            state_dir=Path(state) if state else None,
            loop_limits=Limits(
                max_steps=steps,
                interval_seconds=_number(env, podenv.AUTONOMOUS_INTERVAL_SECONDS, 0),
                max_iteration_seconds=_number(env, podenv.AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS, 60),
            ),
            task_limits=Limits(
                max_steps=steps,
                max_iterations=_number(env, podenv.TASK_MAX_ITERATIONS, 10),
                max_runtime_seconds=_number(env, podenv.TASK_MAX_RUNTIME_SECONDS, 300),
                max_tool_calls=_number(env, podenv.TASK_MAX_TOOL_CALLS, 50),
            ),
            memory=env.get(podenv.MEMORY_ENABLED, "true").lower() != "false",
            context_limit=_number(env, podenv.MEMORY_CONTEXT_LIMIT, 6),
            secrets=secret_values(env),
            budget=budget,
            approvals=Approvals.parse(env.get(podenv.AGENT_APPROVALS, "")),
            retention=Retention(
                events=_number(env, podenv.MEMORY_MAX_EVENTS, Retention().events),
                age_seconds=_number(env, podenv.MEMORY_MAX_AGE_SECONDS, 0),
                sessions=_number(env, podenv.MEMORY_MAX_SESSIONS, 0),
                session_events=_number(env, podenv.MEMORY_MAX_SESSION_EVENTS, 0),
            ),
            reports_status=env.get(podenv.AGENT_REPORTS_STATUS, "").lower() == "true",
        )


def _number(env: Mapping[str, str], name: str, default: int, *, least: int = 0) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(float(text))
    except ValueError:
        raise UsageError(f"{name} is {text!r}", hint="a whole number is needed") from None
    if value < least:
        raise UsageError(f"{name} is {value}", hint=f"at least {least} is needed")
    return value


def _mocks(text: str) -> tuple[str, ...] | None:
    """The mock responses: a JSON array, or any other text as a single one."""
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return (text,)
    if not isinstance(value, list):
        return (text,)
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in value) or None


def _servers(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    names = [name.strip() for name in env.get(podenv.MCP_SERVERS, "").split(",") if name.strip()]
    missing = [name for name in names if not env.get(podenv.mcp_server_url(name))]
    if missing:
        raise UsageError(f"{podenv.mcp_server_url(missing[0])} is not set", hint="each MCP server needs its URL")
    return tuple((name, env[podenv.mcp_server_url(name)].rstrip("/")) for name in names)
