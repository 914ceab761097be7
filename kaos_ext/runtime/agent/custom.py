"""A user's own agent in the product's shell: its card, A2A, memory, loop, budget and replay around an async function.

    async def agent(message: str, context: Context) -> str:
        found = await context.call("search", query=message)
        return await context.ask(f"Say in a sentence: {found}")

    serve(agent)                # or a pydantic-ai agent, or a compiled LangGraph graph

The function stands where the model stands. A tool it calls through the context is a step of the loop like any other:
on record before it is made, counted against the budget, held for approval, never made twice. After a crash the function
runs again from its beginning and gets the results on record for the calls it made already, so it must make the same
calls in the same order; what it does beside them may happen twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.loop import Message, estimated_tokens
from kaos_ext.model import podenv
from kaos_ext.runtime.agent import app
from kaos_ext.runtime.agent.model import Answer, Call, Closes, Model, ModelError, OnText, Question
from kaos_ext.runtime.agent.settings import Settings

__all__ = ["Context", "Function", "FunctionModel", "ModelError", "ToolFailed", "serve"]

ERROR = "Error: "
log = logging.getLogger(__name__)


class ToolFailed(Exception):
    """A tool call of a function failed, was declined, or nobody knows what came of it."""


class Changed(ModelError):
    """A function that was taken up again makes other calls than before."""


class Context:
    """What a function may use beside its message."""

    def __init__(self, question: Question, settings: Settings, model: Model) -> None:
        self.agent = settings.name
        self.run = question.run
        self.iteration = question.iteration
        self.instructions = settings.instructions
        self.settings = settings
        goal = _goal_at(question.messages)
        self.history = [(m.role, m.text) for m in question.messages[:goal] if m.role in ("user", "assistant")]
        """Earlier messages of the session as (role, text), oldest first."""
        self.tools = tuple(question.tools)
        self._model = model
        self._past = _past(question.messages[goal + 1 :])
        self._made = 0
        self._usage: dict[str, int] = {}
        self._asked = 0
        """Questions to the model since the last step."""
        self._room = question.room
        self.asked: list[_Wanted] = []
        self.wanted = asyncio.Event()

    async def call(self, tool: str, **arguments: Any) -> str:
        """The text a tool gives; several calls gathered are made together. Raises ToolFailed."""
        self._made += 1
        id = f"call_{self._made}"
        if id in self._past:
            then, given, text = self._past[id]
            if (then, dict(given)) != (tool, arguments):
                raise Changed(
                    f"call {self._made} of the function is {tool}({arguments}), but before it was interrupted "
                    f"it was {then}({dict(given)})"
                )
        else:
            wanted = _Wanted(Call(id, tool, arguments), asyncio.get_running_loop().create_future())
            self.asked.append(wanted)
            self.wanted.set()
            text = await wanted.result
        if text.startswith(ERROR):
            raise ToolFailed(text[len(ERROR) :])
        return text

    async def ask(self, messages: str | Sequence[tuple[str, str]], *, instructions: str | None = None) -> str:
        """What the agent's model answers to a text, or to (role, text) messages; its tokens count as this agent's.

        Raises ModelError when the model fails, or when a limit of the budget leaves no room for the question.
        """
        if self._room is not None and (refused := self._room(self._usage, self._asked)):
            raise ModelError(refused)
        self._asked += 1
        said = [("user", messages)] if isinstance(messages, str) else list(messages)
        system = self.instructions if instructions is None else instructions
        lead = [Message("system", system)] if system else []
        question = [*lead, *(Message(role, text) for role, text in said)]
        answer = await self._model.ask(Question(question))
        reported = answer.usage if answer.usage.get("prompt_tokens") is not None else _estimate(question, answer)
        self.used(reported)
        return answer.text

    def used(self, usage: Mapping[str, int] | None = None, **tokens: int) -> None:
        """Count tokens that were used elsewhere: `used(prompt_tokens=…, completion_tokens=…)`."""
        for key, amount in {**(usage or {}), **tokens}.items():
            self._usage[key] = self._usage.get(key, 0) + amount

    def spent(self) -> tuple[dict[str, int], int]:
        """Tokens and questions since this was asked last."""
        spent, self._usage, self._asked = (self._usage, self._asked), {}, 0
        return spent


Function = Callable[[str, Context], Awaitable[str]]


@dataclass(slots=True)
class _Wanted:
    call: Call
    result: asyncio.Future[str]


@dataclass(slots=True)
class _Work:
    """One function under way."""

    context: Context
    task: asyncio.Task[str]
    iteration: int
    waiting: dict[str, asyncio.Future[str]] = field(default_factory=dict)


class FunctionModel:
    """A function in the model's place: a question starts it or brings the results it waits for."""

    def __init__(self, function: Function, settings: Settings, model: Model) -> None:
        self._function, self._settings, self._model = function, settings, model
        self._open: dict[str, _Work] = {}

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        work = self._taken_up(question) or self._begun(question)
        try:
            await self._until_it_waits(work)
            failure = work.task.exception() if work.task.done() else None
        except BaseException:
            self._end(question.run)
            raise
        if failure is not None:
            self._end(question.run)
            raise _failed(failure, work.context)
        name = getattr(self._function, "__name__", "function")
        if not work.task.done():
            calls = []
            for wanted in work.context.asked:
                work.waiting[wanted.call.id] = wanted.result
                calls.append(wanted.call)
            work.context.asked.clear()
            return self._answer("", calls, work, name)
        del self._open[question.run]
        text = work.task.result()
        if on_text is not None and text:
            await on_text(text)
        return self._answer(text, (), work, name)

    def _answer(self, text: str, calls: Sequence[Call], work: _Work, name: str) -> Answer:
        usage, asked = work.context.spent()
        # What a function does not tell of it did not use: nothing is estimated for it.
        usage = {"prompt_tokens": 0, "completion_tokens": 0, **usage}
        return Answer(text, tuple(calls), usage, name, max(1, asked))

    def _taken_up(self, question: Question) -> _Work | None:
        """The function that waits for what this question brings; None when it has to begin (again)."""
        work = self._open.get(question.run)
        if work is None:
            return None
        results = {m.call_id: m.text for m in question.messages if m.role == "tool"}
        if work.iteration != question.iteration or work.task.done() or not work.waiting.keys() <= results.keys():
            self._end(question.run)
            return None
        for id, result in work.waiting.items():
            result.set_result(results[id])
        work.waiting.clear()
        return work

    def _begun(self, question: Question) -> _Work:
        context = Context(question, self._settings, self._model)
        message = question.messages[_goal_at(question.messages)].text
        task = asyncio.ensure_future(_text(self._function, message, context))
        work = self._open[question.run] = _Work(context, task, question.iteration)
        return work

    async def _until_it_waits(self, work: _Work) -> None:
        while not work.task.done():
            waiting = asyncio.ensure_future(work.context.wanted.wait())
            await asyncio.wait({work.task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if work.context.asked:
                # Calls that were gathered are asked for within the same turns of the event loop.
                for _ in range(3):
                    await asyncio.sleep(0)
                work.context.wanted.clear()
                if not work.task.done():
                    return

    async def close(self) -> None:
        if isinstance(self._model, Closes):
            await self._model.close()

    def _end(self, run: str) -> None:
        work = self._open.pop(run, None)
        if work is not None:
            work.task.cancel()


async def _text(function: Function, message: str, context: Context) -> str:
    result: Any = await function(message, context)
    return result if isinstance(result, str) else str(result)


def _failed(failure: BaseException, context: Context) -> BaseException:
    """What ends the iteration: the function's error, with what its questions cost until then."""
    usage, asked = context.spent()
    if not asked or not isinstance(failure, Exception):
        return failure
    if isinstance(failure, ModelError):
        failure.usage, failure.asked = usage, asked
        return failure
    log.error("the function failed", exc_info=failure)
    error = ModelError(f"{type(failure).__name__}: {failure}", usage=usage, asked=asked)
    error.__cause__ = failure
    return error


def _estimate(question: Sequence[Message], answer: Answer) -> dict[str, int]:
    """For a model that does not report what it used."""
    return {
        "prompt_tokens": estimated_tokens(sum(len(message.text) for message in question)),
        "completion_tokens": estimated_tokens(len(answer.text)),
    }


def _goal_at(messages: Sequence[Message]) -> int:
    """Where the message the function works at stands: the last of a user; only steps follow it."""
    return max(index for index, message in enumerate(messages) if message.role == "user")


def _past(turns: Sequence[Message]) -> dict[str, tuple[str, Mapping[str, Any], str]]:
    """The calls of the open iteration that have an outcome on record, by their ids."""
    asked = {call.id: call for turn in turns for call in turn.calls}
    return {
        turn.call_id: (asked[turn.call_id].tool, asked[turn.call_id].arguments, turn.text)
        for turn in turns
        if turn.role == "tool" and turn.call_id in asked
    }


def serve(agent: Any, *, name: str | None = None, env: Mapping[str, str] | None = None) -> int:
    """Serve an agent until the process is told to stop; returns the exit status.

    `agent` is an async function of (message, context), a pydantic-ai agent or a compiled LangGraph graph. Everything
    else comes from the environment (`AGENT_NAME`, `AUTONOMOUS_GOAL`, `MCP_SERVERS`, …), as an operator sets it;
    `name` is for when nobody does.
    """
    from kaos_ext.runtime.agent.frameworks import function_of

    function = function_of(agent)
    given = dict(os.environ if env is None else env)
    if name is not None:
        given.setdefault(podenv.AGENT_NAME, name)

    def make(settings: Settings) -> Model:
        return FunctionModel(function, settings, app.model_of(settings))

    return app.serve(given, make_model=make)
