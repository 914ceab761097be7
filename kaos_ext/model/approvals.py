"""Approvals: tools that wait for a person, and the decision a person gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from kaos_ext.model.errors import UsageError


class Decision(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Approvals:
    """Which tools wait (`*` in a name matches any part), how long (0: for ever), and what silence means."""

    tools: tuple[str, ...] = ()
    timeout_seconds: float = 0
    on_timeout: Decision = Decision.DENY

    def needed(self, tool: str) -> bool:
        return any(fnmatchcase(tool, pattern) for pattern in self.tools)

    @classmethod
    def parse(cls, text: str) -> Approvals:
        """Of the JSON of `spec.config.approvals`; the empty text asks for none."""
        if not text.strip():
            return cls()
        try:
            value = json.loads(text)
            tools = tuple(str(name) for name in value.get("tools") or ())
            return cls(tools, float(value.get("timeoutSeconds") or 0), Decision(value.get("onTimeout") or "deny"))
        except (ValueError, AttributeError, TypeError) as error:
            raise UsageError(f"the approvals cannot be read: {error}", hint='{"tools": ["name"]}') from error
