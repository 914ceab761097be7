"""Approvals: tools that wait for a person, and the decision a person gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

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

    def to_json(self) -> dict[str, Any]:
        """As `spec.config.approvals` says it; empty when no tool waits."""
        if not self.tools:
            return {}
        said = {"timeoutSeconds": self.timeout_seconds, "onTimeout": str(self.on_timeout)}
        return {"tools": list(self.tools), **said}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Approvals:
        tools = tuple(str(name) for name in value.get("tools") or ())
        return cls(tools, float(value.get("timeoutSeconds") or 0), Decision(value.get("onTimeout") or "deny"))

    @classmethod
    def parse(cls, text: str) -> Approvals:
        """Of the JSON of `spec.config.approvals`; the empty text asks for none."""
        if not text.strip():
            return cls()
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, AttributeError, TypeError) as error:
            raise UsageError(f"the approvals cannot be read: {error}", hint='{"tools": ["name"]}') from error
