"""Agent: a service that answers with a model and tools and, given a goal, works on it by itself."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kaos_ext.model.kinds.base import Part
from kaos_ext.model.kinds.shared import ContainerOverride, GatewayRoute, Int32, PodSpec, Status, Telemetry, Time


class ToolCallMode(StrEnum):
    AUTO = "auto"
    NATIVE = "native"
    STRING = "string"


class MemoryType(StrEnum):
    LOCAL = "local"
    REDIS = "redis"
    REMOTE = "remote"


class MemoryScope(StrEnum):
    AGENT = "agent"
    USER = "user"
    GROUP = "group"
    SESSION = "session"


class MemoryTools(StrEnum):
    ALL = "all"
    READ = "read"
    WRITE = "write"


class FailureMode(StrEnum):
    SOFT = "soft"
    STRICT = "strict"


class MemoryClientParams(Part):
    """How much of a remote memory goes into the prompt."""

    token_budget: Int32 | None = Field(None, ge=0)
    rolling_summary: bool | None = None


class Memory(Part):
    """What the agent remembers of its sessions."""

    enabled: bool = True
    type: MemoryType = MemoryType.LOCAL
    context_limit: Int32 = Field(6, ge=0, description="Messages of a session that are sent to the model.")
    max_sessions: Int32 = Field(1000, ge=1)
    max_session_events: Int32 = Field(500, ge=1)
    memory_store: str | None = Field(None, description="Name of a MemoryStore, for type remote.")
    scope: MemoryScope | None = None
    default_read_scope: MemoryScope | None = None
    read_scopes: list[MemoryScope] | None = None
    max_read_scope: MemoryScope | None = None
    client_params: MemoryClientParams | None = None
    tools: MemoryTools | None = None
    failure_mode: FailureMode | None = None


class Autonomous(Part):
    """The resident loop; a goal that is not blank switches it on."""

    goal: str | None = None
    interval_seconds: Int32 = Field(0, ge=0, le=3600, description="Pause between two iterations.")
    max_iter_runtime_seconds: Int32 = Field(60, ge=0, le=86400, description="Limit of one iteration; 0 is none.")
    suspend: bool = Field(False, description="Parks the loop after the running step, without a new pod.")


class TaskConfig(Part):
    """Budgets of asynchronous tasks; 0 is unlimited."""

    max_iterations: Int32 = Field(10, ge=0, le=1000)
    max_runtime_seconds: Int32 = Field(300, ge=0, le=86400)
    max_tool_calls: Int32 = Field(50, ge=0, le=10000)


class Bounds(Part):
    """Upper bounds; one that is absent does not bind."""

    steps: Int32 | None = Field(None, ge=1, description="Model calls that were answered.")
    model_calls: Int32 | None = Field(None, ge=1, description="Model calls that were made, lost ones included.")
    tool_calls: Int32 | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=1, json_schema_extra={"format": "int64"})
    cost: float | None = Field(None, ge=0.001, description="In the currency of the prices.")
    wall_seconds: Int32 | None = Field(None, ge=1, description="Time worked at iterations.")


class Limits(Bounds):
    """Upper bounds of more than one iteration."""

    iterations: Int32 | None = Field(None, ge=1)


class Price(Part):
    """Of one model, for a million tokens."""

    input_per_million: float = Field(ge=0)
    output_per_million: float = Field(ge=0)


class Budget(Part):
    """What the agent may use up; checked before each call, kept across restarts."""

    per_iteration: Bounds | None = None
    per_task: Limits | None = Field(None, description="Of one A2A task or chat request; the loop is none.")
    per_day: Limits | None = Field(None, description="From midnight to midnight, UTC; then the loop goes on.")
    life: Limits | None = Field(None, description="Since the agent was made; the loop then stops.")
    prices: dict[str, Price] | None = Field(None, description="By model name; a name may hold `*`.")
    currency: str | None = Field(None, max_length=16)


class Decision(StrEnum):
    DENY = "deny"
    ALLOW = "allow"


class Approvals(Part):
    """Tools that wait for a person."""

    tools: list[str] = Field(min_length=1, description="Tool names; `*` matches any part.")
    timeout_seconds: Int32 = Field(0, ge=0, description="How long to wait; 0 is for ever.")
    on_timeout: Decision = Decision.DENY


class AgentConfig(Part):
    """How the agent behaves."""

    description: str | None = None
    instructions: str | None = None
    system_prompt: str | None = None
    reasoning_loop_max_steps: Int32 = Field(5, ge=1, le=20, description="Model calls in one run.")
    tool_call_mode: ToolCallMode = ToolCallMode.AUTO
    memory: Memory | None = None
    telemetry: Telemetry | None = None
    autonomous: Autonomous | None = None
    task_config: TaskConfig | None = None
    budget: Budget | None = None
    approvals: Approvals | None = None


class AgentNetwork(Part):
    """Who reaches the agent, and whom it reaches."""

    expose: bool = Field(True, description="Make a Service and publish its address.")
    access: list[str] | None = Field(None, description="Agents of the namespace this one may delegate to.")


class AgentSpec(Part):
    """What is wanted."""

    model_api: str = Field(alias="modelAPI", min_length=1, description="Name of a ModelAPI in the namespace.")
    model: str = Field(min_length=1, description="A model that the ModelAPI offers.")
    mcp_servers: list[str] | None = Field(None, description="Names of MCPServers in the namespace.")
    agent_network: AgentNetwork | None = None
    wait_for_dependencies: bool = Field(True, description="Start only when ModelAPI and MCPServers are ready.")
    gateway_route: GatewayRoute | None = None
    container: ContainerOverride | None = None
    pod_spec: PodSpec | None = None
    config: AgentConfig | None = None


class LoopTotals(Part):
    """Counted over the life of the loop."""

    iterations: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Spending(Part):
    """What was used up, by resource."""

    iterations: int | None = None
    steps: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    wall_seconds: float | None = None


class Spent(Part):
    """What all runs of the agent have used up."""

    today: Spending | None = None
    life: Spending | None = None


class LoopStatus(Part):
    """The resident loop as the agent reports it."""

    state: str | None = None
    iteration: int | None = None
    last_outcome: str | None = None
    last_duration_seconds: float | None = None
    next_run_at: Time | None = None
    stop_reason: str | None = None
    waiting_for: str | None = Field(None, description="The tool calls that wait for approval.")
    totals: LoopTotals | None = None
    spent: Spent | None = None


class AgentStatus(Status):
    """What the operator saw, and what the agent reports of its loop."""

    linked_resources: dict[str, str] | None = None
    loop: LoopStatus | None = None


class Agent(Part):
    """An agent that serves HTTP and may run a resident loop."""

    spec: AgentSpec
    status: AgentStatus | None = None


_SCOPES = ("perIteration", "perTask", "perDay", "life")

RULES: dict[str, list[tuple[str, str]]] = {
    "spec.config.budget": [
        (
            "has(self.prices) || ("
            + " && ".join(f"(!has(self.{scope}) || !has(self.{scope}.cost))" for scope in _SCOPES)
            + ")",
            "a cost limit needs prices",
        ),
    ],
}
