"""The environment contract between the operator and the runtimes, by its exact names (era A of the KAOS wire).

The operator's renderers write these, the runtimes read them; a user's own image may rely on them. Names that carry a
resource's name are functions.
"""

from __future__ import annotations

AGENT_NAME = "AGENT_NAME"
AGENT_DESCRIPTION = "AGENT_DESCRIPTION"
AGENT_INSTRUCTIONS = "AGENT_INSTRUCTIONS"
AGENT_SYSTEM_PROMPT = "AGENT_SYSTEM_PROMPT"
AGENT_PORT = "AGENT_PORT"
AGENT_STATE_DIR = "AGENT_STATE_DIR"
"""Folder of the agent's event log, on its claim (ours; not part of the published contract)."""
AGENT_SUSPENDED = "AGENT_SUSPENDED"
"""`true` parks the resident loop (ours); the ConfigMap file below changes it without a new pod."""
AGENT_CONTROL_FILE = "AGENT_CONTROL_FILE"
"""Path of a mounted JSON file that the running loop follows (ours): `suspend` (true, false, or `"afterIteration"`), and
`runNow`, an id that is new for each iteration wanted at once."""
AGENT_BUDGET = "AGENT_BUDGET"
"""JSON of `spec.config.budget` (ours)."""
AGENT_APPROVALS = "AGENT_APPROVALS"
"""JSON of `spec.config.approvals` (ours)."""
AGENT_REPORTS_STATUS = "AGENT_REPORTS_STATUS"
"""`true`: the agent writes `status.loop` of its own Agent, with its pod's ServiceAccount (ours)."""
MODEL_API_URL = "MODEL_API_URL"
MODEL_NAME = "MODEL_NAME"
AGENTIC_LOOP_MAX_STEPS = "AGENTIC_LOOP_MAX_STEPS"
TOOL_CALL_MODE = "TOOL_CALL_MODE"
MEMORY_ENABLED = "MEMORY_ENABLED"
MEMORY_TYPE = "MEMORY_TYPE"
MEMORY_CONTEXT_LIMIT = "MEMORY_CONTEXT_LIMIT"
MEMORY_MAX_SESSIONS = "MEMORY_MAX_SESSIONS"
MEMORY_MAX_SESSION_EVENTS = "MEMORY_MAX_SESSION_EVENTS"
MEMORY_MAX_EVENTS = "MEMORY_MAX_EVENTS"
"""Events of all sessions and runs together that are kept (ours)."""
MEMORY_MAX_AGE_SECONDS = "MEMORY_MAX_AGE_SECONDS"
"""Older events are dropped; 0 keeps them (ours)."""
AUTONOMOUS_GOAL = "AUTONOMOUS_GOAL"
AUTONOMOUS_INTERVAL_SECONDS = "AUTONOMOUS_INTERVAL_SECONDS"
AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS = "AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS"
TASK_MAX_ITERATIONS = "TASK_MAX_ITERATIONS"
TASK_MAX_RUNTIME_SECONDS = "TASK_MAX_RUNTIME_SECONDS"
TASK_MAX_TOOL_CALLS = "TASK_MAX_TOOL_CALLS"
MCP_SERVERS = "MCP_SERVERS"
PEER_AGENTS = "PEER_AGENTS"
DEBUG_MOCK_RESPONSES = "DEBUG_MOCK_RESPONSES"
MCP_TOOLS_STRING = "MCP_TOOLS_STRING"
PROXY_API_BASE = "PROXY_API_BASE"
PROXY_API_KEY = "PROXY_API_KEY"
LOG_LEVEL = "LOG_LEVEL"
HOST = "HOST"
"""Address a runtime binds: all addresses inside a container image, the pod's own on the embedded cluster."""
PORT = "PORT"
POD_NAMESPACE = "POD_NAMESPACE"


def mcp_server_url(name: str) -> str:
    """`MCP_SERVER_<name>_URL`, the resource name verbatim, hyphens kept."""
    return f"MCP_SERVER_{name}_URL"


def peer_card_url(name: str) -> str:
    """`PEER_AGENT_<NAME>_CARD_URL`, upper-cased, hyphens turned to underscores."""
    return f"PEER_AGENT_{name.upper().replace('-', '_')}_CARD_URL"
