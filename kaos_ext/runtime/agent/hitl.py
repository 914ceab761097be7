"""Approvals as an A2A extension that other systems' clients know: asked for by header, structured both ways.

    A2A-Extensions: <URI>      a task that waits then says what for: `status.message` is a message whose metadata
                               holds {"type": "tool_approval_request", "hint", "tools": [{id, call_id, name, args}]}
    message to that task       with the URI in `extensions`, and in `metadata` under it
                               {"type": "tool_approval_response", "approvals": [{id, approved, rejection_reason}]}

Every call that waits has to be decided, each once, by its `id`; anything else is refused and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaos_ext.model.loop_state import Waiting

URI = "https://kagent.dev/extensions/hitl/v1"
HEADER = "A2A-Extensions"
DESCRIPTION = "Tool calls that need a person's approval wait as input-required, and take structured decisions."


class NotAnAnswer(ValueError):
    """The response does not decide what waits."""


@dataclass(frozen=True, slots=True)
class Verdict:
    granted: bool
    reason: str = ""


def wanted(header: str) -> bool:
    """Whether a request activates the extension."""
    return URI in (part.strip() for part in header.split(","))


def asked(waiting: Mapping[str, Waiting], hint: str) -> dict[str, Any]:
    """The message of a task that waits for these calls, by the ids they are decided by."""
    tools = [
        {"id": id, "call_id": call.id, "name": call.tool, "args": dict(call.arguments)} for id, call in waiting.items()
    ]
    return {
        "role": "agent",
        "parts": [{"type": "text", "text": hint}],
        "extensions": [URI],
        "metadata": {URI: {"type": "tool_approval_request", "hint": hint, "tools": tools}},
    }


def answered(message: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The response that a message carries; None when it is an ordinary one."""
    extensions, metadata = message.get("extensions"), message.get("metadata")
    if not isinstance(extensions, list) or URI not in extensions or not isinstance(metadata, dict):
        return None
    response = metadata.get(URI)
    return response if isinstance(response, dict) else None


def verdicts(response: Mapping[str, Any], waiting: Mapping[str, Waiting]) -> dict[str, Verdict]:
    """The decision of each call that waits; raises NotAnAnswer."""
    if response.get("type") != "tool_approval_response":
        raise NotAnAnswer(f"the response is of type {response.get('type')!r}, not tool_approval_response")
    listed = response.get("approvals")
    found: dict[str, Verdict] = {}
    for item in listed if isinstance(listed, list) else ():
        id, approved = (item.get("id"), item.get("approved")) if isinstance(item, dict) else (None, None)
        if not isinstance(id, str) or not isinstance(approved, bool):
            raise NotAnAnswer("each approval needs an id and approved, true or false")
        if id in found:
            raise NotAnAnswer(f"{id} is decided twice")
        if id not in waiting:
            raise NotAnAnswer(f"{id} does not wait for approval (any more)")
        found[id] = Verdict(approved, str(item.get("rejection_reason") or ""))
    missing = [id for id in waiting if id not in found]
    if missing:
        raise NotAnAnswer(f"no decision on {', '.join(missing)}: every call that waits has to be decided")
    return found
