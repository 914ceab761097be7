"""The model: what an agent asks, and two that answer: any OpenAI-compatible server, and a list of mock responses.

    answer = await model.ask(Question(messages, tools, cursor), on_text)

An `Answer` holds text and tool calls, whichever way the model wrote them: as native tool calls or, in `string` mode, as
JSON in its text. `on_text` receives text as it is generated (streaming) when the caller wants that.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kaos_ext.loop import Message
from kaos_ext.model.errors import KaosError
from kaos_ext.runtime.agent.tools import Tool

OnText = Callable[[str], Awaitable[None]]


class ModelError(KaosError):
    """The model could not be asked, or answered what no model may answer."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after: float = 0,
        billed: bool = False,
        usage: Mapping[str, int] | None = None,
        asked: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.usage, self.asked = usage or {}, asked
        """Tokens and calls that it cost nevertheless, where that is known."""
        self.retry_after = retry_after
        """Seconds for which its server wants to be left alone."""
        self.billed = billed
        """It began to answer, so the call may have cost something."""


@dataclass(frozen=True, slots=True)
class Question:
    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    cursor: int = 0
    """Model calls this run has on record: where a list of mock responses goes on."""
    run: str = ""
    iteration: int = 0
    step: int = 1
    room: Callable[[Mapping[str, int], int], str] | None = None
    """For who asks a model on its own: why there is no room for one more call beside these tokens and calls."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as asked for; `problem` says why it cannot be made."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    text: str = ""
    calls: tuple[Call, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    asked: int = 1
    """Model calls that were made for it."""

    def to_json(self) -> dict[str, Any]:
        """The content of a `model_response` event; the iteration can be taken up again from it."""
        calls = [
            {"id": call.id, "name": call.name, "arguments": dict(call.arguments)}
            | ({"problem": call.problem} if call.problem else {})
            for call in self.calls
        ]
        more = {"model_calls": self.asked} if self.asked > 1 else {}
        return {"text": self.text, "tool_calls": calls, "usage": dict(self.usage), "model": self.model, **more}


class Model(Protocol):
    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        """Lets the event loop go on meanwhile, however soon it answers: a loop without a pause has no other rest."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A model that keeps connections open."""

    async def close(self) -> None: ...


class MockModel:
    """Answers from a list, in order, from the run's cursor on and around again."""

    def __init__(self, responses: Sequence[str]) -> None:
        self._responses = responses

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        await asyncio.sleep(0)
        text = self._responses[question.cursor % len(self._responses)]
        calls = calls_in_text(text) if text.lstrip().startswith("{") else ()
        answer = Answer("" if calls else text, calls, {"prompt_tokens": 0, "completion_tokens": 0}, "mock")
        if on_text and answer.text:
            for word in re.findall(r"\S+\s*|\s+", answer.text):
                await on_text(word)
        return answer


def numbered(calls: Sequence[Call]) -> tuple[Call, ...]:
    """The calls with ids that are there and differ: answers are told apart by them."""
    seen: dict[str, int] = {}
    result = []
    for call in calls:
        base = call.id or f"call_{call.name}"
        seen[base] = seen.get(base, 0) + 1
        id = base if seen[base] == 1 else f"{base}_{seen[base]}"
        result.append(Call(id, call.name, call.arguments, call.problem))
    return tuple(result)


def call_of(id: str, name: str, arguments: Any) -> Call:
    """A call whose arguments may be an object or its JSON text; what is neither is a problem told to the model."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            return Call(id, name, {}, f"the arguments are not valid JSON: {error}")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return Call(id, name, {}, "the arguments are not a JSON object")
    return Call(id, name, arguments)


FENCE = re.compile(r"```[a-zA-Z_]*\s*\n?(.*?)```", re.DOTALL)


def calls_in_text(text: str) -> tuple[Call, ...]:
    """Tool calls in JSON, bare or fenced: `{"tool_calls": [{"name", "arguments"}]}` or `{"tool", "arguments"}`."""
    for candidate in (text, *FENCE.findall(text)):
        try:
            value = json.loads(candidate.strip())
        except ValueError:
            continue
        calls = _calls_in_value(value)
        if calls:
            return numbered(calls)
    return ()


def _calls_in_value(value: Any) -> list[Call]:
    if not isinstance(value, dict):
        return []
    listed = value.get("tool_calls")
    if isinstance(listed, list):
        named = [item for item in listed if isinstance(item, dict) and isinstance(item.get("name"), str)]
        return [
            call_of(str(item.get("id") or f"mock_{item['name']}"), item["name"], item.get("arguments"))
            for item in named
        ]
    if isinstance(value.get("tool"), str):
        return [call_of(f"call_{value['tool']}", value["tool"], value.get("arguments"))]
    return []
