"""Where telemetry meets the code that is watched: what goes out with a request, and what came in with one.

Nothing of OpenTelemetry is imported here. While telemetry is off, `headers()` is an empty dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar

CALL: ContextVar[str] = ContextVar("kaos_tool_call", default="")
"""Id of the tool call this task makes."""
RUN: ContextVar[str] = ContextVar("kaos_run", default="")
"""The run this task works for."""
INCOMING: ContextVar[Mapping[str, str] | None] = ContextVar("kaos_incoming", default=None)
"""W3C trace context of the request this task answers."""

_NOTHING: dict[str, str] = {}
_source: Callable[[], dict[str, str]] | None = None


def headers() -> dict[str, str]:
    """W3C trace context to send with a request that is made now (`traceparent`, `tracestate`)."""
    return _source() if _source is not None else _NOTHING


def use(source: Callable[[], dict[str, str]] | None) -> None:
    """Let `headers()` be answered by this, or by nobody again."""
    global _source
    _source = source
