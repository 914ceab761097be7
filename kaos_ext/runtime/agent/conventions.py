"""The names of OpenTelemetry's conventions that an agent's telemetry uses, and which version of them.

The GenAI conventions have a registry of their own, all of it in development and without a release so far; so the commit
that these names are of is pinned here. Everything else is of the general conventions (`telemetry.SCHEMA_URL`).
"""

from __future__ import annotations

GENAI_COMMIT = "004902b8cb70aa5ae6ca4ae07132b7daabcd3e10"
"""Of https://github.com/open-telemetry/semantic-conventions-genai."""
PROVIDER = "openai"
"""The wire that is spoken; who answers behind a ModelAPI is its own affair."""

OPERATION = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
AGENT_NAME = "gen_ai.agent.name"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL = "gen_ai.tool.call.id"
TOOL_TYPE = "gen_ai.tool.type"
TOKEN_TYPE = "gen_ai.token.type"
ERROR_TYPE = "error.type"

TOKEN_USAGE = "gen_ai.client.token.usage"
OPERATION_DURATION = "gen_ai.client.operation.duration"
AGENT_DURATION = "gen_ai.invoke_agent.duration"
TOOL_DURATION = "gen_ai.execute_tool.duration"

SECONDS = tuple(0.01 * 2**power for power in range(14))
"""Bounds of the buckets of short durations."""
LONG_SECONDS = tuple(0.1 * 2**power for power in range(13))
TOKENS = tuple(4**power for power in range(14))
