"""Agents of other frameworks as functions: one call of theirs is one step here, their own tools are their own affair.

They keep their model and their tools; what they used is counted here. Nothing of a framework is imported before its
agent is there.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from kaos_ext.model.errors import UsageError
from kaos_ext.runtime.agent.custom import Context, Function


def function_of(agent: Any) -> Function:
    """The agent as a function of (message, context)."""
    module = type(agent).__module__
    if module.startswith("pydantic_ai"):
        return _pydantic_ai(agent)
    if callable(getattr(agent, "ainvoke", None)):
        return _langgraph(agent)
    if callable(agent) and inspect.iscoroutinefunction(agent if inspect.isroutine(agent) else agent.__call__):
        if len(inspect.signature(agent).parameters) == 1:

            async def alone(message: str, context: Context) -> str:
                return str(await agent(message))

            alone.__name__ = getattr(agent, "__name__", "function")
            return alone
        function: Function = agent
        return function
    raise UsageError(
        f"{type(agent).__name__} is no agent that can be served",
        hint="an async function of (message, context), a pydantic-ai agent or a compiled LangGraph graph",
    )


def _pydantic_ai(agent: Any) -> Function:
    async def pydantic_ai(message: str, context: Context) -> str:
        from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

        history: list[Any] = [
            ModelRequest(parts=[UserPromptPart(text)]) if role == "user" else ModelResponse(parts=[TextPart(text)])
            for role, text in context.history
        ]
        result = await agent.run(message, message_history=history or None)
        usage = result.usage() if callable(result.usage) else result.usage
        context.used(prompt_tokens=usage.input_tokens or 0, completion_tokens=usage.output_tokens or 0)
        return str(result.output)

    return pydantic_ai


def _langgraph(graph: Any) -> Function:
    async def langgraph(message: str, context: Context) -> str:
        said = [{"role": role, "content": text} for role, text in context.history]
        state = await graph.ainvoke({"messages": [*said, {"role": "user", "content": message}]})
        messages = state["messages"] if isinstance(state, Mapping) else state.messages
        for answer in messages[len(said) + 1 :]:
            usage = getattr(answer, "usage_metadata", None) or {}
            context.used(prompt_tokens=usage.get("input_tokens", 0), completion_tokens=usage.get("output_tokens", 0))
        content = messages[-1].content
        if isinstance(content, str):
            return content
        return "".join(part.get("text", "") if isinstance(part, dict) else str(part) for part in content)

    return langgraph
