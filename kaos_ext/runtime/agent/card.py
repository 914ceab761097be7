"""The agent card: who the agent is and what it can do now. Skills are its tools, asked for at the request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaos_ext import __version__
from kaos_ext.runtime.agent import hitl
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tools import Tool

JSON = ["application/json"]
SERVICE_PORT = 8000


def card(settings: Settings, tools: Sequence[Tool], *, asked_at: str) -> dict[str, Any]:
    """`asked_at` is the base URL the request came in by; inside a cluster the Service's own name is the better one."""
    url = asked_at
    if settings.namespace:
        url = f"http://agent-{settings.name}.{settings.namespace}.svc.cluster.local:{SERVICE_PORT}"
    return {
        "name": settings.name,
        "description": settings.description,
        "url": url,
        "version": __version__,
        "protocolVersion": "0.3.0",
        "preferredTransport": "JSONRPC",
        "supportedProtocols": ["jsonrpc"],
        "capabilities": {
            "streaming": True,
            "pushNotifications": False,
            "stateTransitionHistory": True,
            **_extensions(settings),
        },
        "skills": [
            {
                "id": tool.name,
                "name": tool.name,
                "description": tool.description,
                "tags": [tool.server] if tool.server else [],
                "inputModes": JSON,
                "outputModes": JSON,
            }
            for tool in tools
        ],
        "defaultInputModes": JSON,
        "defaultOutputModes": JSON,
    }


def _extensions(settings: Settings) -> dict[str, Any]:
    if not settings.approvals.tools:
        return {}
    return {"extensions": [{"uri": hitl.URI, "description": hitl.DESCRIPTION, "required": False}]}
