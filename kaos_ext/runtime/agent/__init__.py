"""The agent: a service that answers (chat completions, A2A) and may run a resident loop, every step on record.

from kaos_ext.runtime.agent import Context, serve

async def agent(message: str, context: Context) -> str: ...

if __name__ == "__main__":
    serve(agent)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaos_ext.runtime.agent.custom import Context, ModelError, ToolFailed, serve

__all__ = ["Context", "ModelError", "ToolFailed", "serve"]


def __getattr__(name: str) -> Any:
    # The agent's own program starts without what only a user's agent needs.
    if name in __all__:
        from kaos_ext.runtime.agent import custom

        return getattr(custom, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
