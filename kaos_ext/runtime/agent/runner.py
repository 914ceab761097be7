"""Carries out what `kaos_ext.loop` decides: writes events down, asks the model, calls tools, waits.

One `Run` is one run in this process. Whatever happens is an event first; the state is always the fold of the events.
Trouble of any kind (a model that fails, a bug, a full disk) ends the iteration or delays it, never the run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaos_ext import loop
from kaos_ext.loop import AskModel, CallTools, End, Message, Park, PendingCall, Record, RunState, WaitUntil
from kaos_ext.model.budget import Amounts, Price
from kaos_ext.model.events import ITERATION_ENDS, Event, EventType
from kaos_ext.model.values import changed
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, Model, ModelError, OnText, Question
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import DamagedError, StoreError

STORE_TROUBLE_SECONDS = 1.0
log = logging.getLogger(__name__)

OnCall = Callable[[int, str], Awaitable[None]]


def _tell(event: Event) -> None:
    """One line in the process's log for each iteration, and why if it did not end well."""
    outcome, error = event.content["outcome"], event.content.get("error", "")
    level = logging.WARNING if error else logging.INFO
    if not log.isEnabledFor(level):
        return
    told = f"{event.run} iteration {event.iteration}: {outcome} after {event.content['duration_seconds']:.3f} s"
    log.log(level, "%s", f"{told}: {error}" if error else told)


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every run of an agent works with."""

    journal: Journal
    model: Model
    tools: ToolBox
    instructions: str
    clock: Callable[[], float] = time.time
    price: Price | None = None
    """Of the model; None when the owner gave none."""


class Run:
    def __init__(
        self,
        state: RunState,
        equipment: Equipment,
        *,
        history: Sequence[tuple[str, str]] = (),
        on_text: OnText | None = None,
        on_call: OnCall | None = None,
    ) -> None:
        self.state = state
        self._with = equipment
        self._history = history
        self._on_text = on_text
        self._on_call = on_call
        self._waited = True
        """The event loop had a turn in the last iteration."""

    def record(self, *events: Event, sync: bool = False) -> None:
        self._fold(self._with.journal.record(events, sync=sync))

    def hold(self, *events: Event) -> None:
        """For what another event follows before anything is done; it is written with that one."""
        self._fold(self._with.journal.hold(events))

    def _fold(self, events: Sequence[Event]) -> None:
        for event in events:
            self.state = loop.fold(self.state, event)
            if event.type in ITERATION_ENDS:
                _tell(event)

    async def drive(self, control: Control) -> RunState:
        """Work until the run is over or the process is to stop; the current action is always finished first."""
        while not control.stopping.is_set():
            if not self.state.status.open:
                if not self._waited:
                    await asyncio.sleep(0)  # An iteration that asked nobody must leave room for requests as well.
                self._waited = False
            self.state = self._wished(control)
            try:
                if control.request and control.request != self.state.last_request:
                    self.record(self._event(EventType.RUN_REQUESTED, {"id": control.request}, 0))
                for action in loop.decide(self.state, self._with.clock()):
                    if isinstance(action, End):
                        return self.state
                    await self._carry_out(action, control)
            except StoreError as error:
                if isinstance(error, DamagedError):
                    raise  # Another process has to make a new file of it.
                # What was under way is not on record, so it must not be taken for "not done".
                log.error("cannot write events: %s", error)
                self.state = loop.interrupted(self.state)
                await control.wait(STORE_TROUBLE_SECONDS)
        return self.state

    def _wished(self, control: Control) -> RunState:
        """The state with what is known beside the run's own events: the owner's wishes, and the spending of all."""
        state, suspended, hold_after = self._with_ledger(), control.suspended, control.hold_after
        if (suspended, hold_after) == (state.suspended, state.hold_after):
            return state
        return changed(state, suspended=suspended, hold_after=hold_after)

    def _with_ledger(self) -> RunState:
        if not self.state.spec.budget:
            return self.state  # Nothing is decided by it.
        ledger = self._with.journal.ledger
        return self.state if self.state.ledger is ledger else changed(self.state, ledger=ledger)

    def answer(self, call: PendingCall, *, granted: bool, content: dict[str, Any]) -> None:
        """Put a person's decision on a call that waits for one on record."""
        kind = EventType.APPROVAL_GRANTED if granted else EventType.APPROVAL_DECLINED
        self.record(self._event(kind, {"tool": call.tool, **content}, self.state.steps, {"call_id": call.id}))

    async def _carry_out(self, action: loop.Action, control: Control) -> None:
        match action:
            case Record(events):
                # A beginning is followed by the first request; an end, in a loop without a pause, by a beginning.
                if events[0].type == EventType.ITERATION_STARTED or self._goes_on(events):
                    self.hold(*events)
                else:
                    self.record(*events)
            case AskModel(step):
                await self._bounded(self._ask(step))
            case CallTools(calls):
                await self._bounded(self._call(calls))
            case WaitUntil(until):
                await control.wait(max(0.0, until - self._with.clock()))
            case Park():
                await control.wait(None)
            case End():
                pass

    def _goes_on(self, events: Sequence[Event]) -> bool:
        return events[-1].type in ITERATION_ENDS and self.state.spec.repeat is loop.Repeat.FOREVER

    async def _bounded(self, work: Awaitable[None]) -> None:
        """Do one step's work, cut off when the iteration's time is up; any failure is the iteration's end."""
        end, limit = loop.deadline(self.state, self._with.clock()), None
        try:
            if end is None:
                await work
            else:
                async with asyncio.timeout(max(0.0, end - self._with.clock())) as limit:
                    await work
        except TimeoutError as error:
            if end is None or limit is None or not limit.expired():
                self._fail(error)
            else:
                # A call that was under way is not to be made again for want of an answer.
                self.state = loop.interrupted(self.state)
                # The loop's clock may be a hair ahead of the one that the next decision looks at.
                await asyncio.sleep(max(0.0, end - self._with.clock()) + 0.001)
        except ModelError as error:
            now, later, billed = self._with.clock(), error.retry_after, error.billed
            spent = self._underway(error.usage, error.asked).to_json() if error.asked else None
            self.record(*loop.failed(self.state, str(error), now, retry_after=later, billed=billed, spent=spent))
        except StoreError:
            raise
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        log.error("an iteration failed", exc_info=error)
        self.record(*loop.failed(self.state, f"{type(error).__name__}: {error}", self._with.clock()))

    async def _ask(self, step: int) -> None:
        tools = await self._with.tools.all()
        messages = loop.prompt(self.state, instructions=self._instructions(), history=self._history)
        asked: dict[str, Any] = {"messages": len(messages), "tools": [tool.name for tool in tools]}
        asked["prompt"] = loop.fingerprint(messages, self._with.journal.written)
        if self._with.tools.problems:
            asked["unreachable"] = dict(self._with.tools.problems)
        self.state = self._with_ledger()
        if not loop.may_ask(self.state, self._with.clock()):
            return  # Another run spent the rest meanwhile; the next decision says so.
        asked["reserved"] = reserved = self._reserved(messages)
        self.record(self._event(EventType.MODEL_REQUEST, asked, step))
        spec, status = self.state.spec, self.state.status
        made = status.totals.model_calls
        question = Question(messages, tools, made, spec.run, status.iteration, step, self._room)
        self._waited = True
        answer = await self._with.model.ask(question, self._on_text)
        content = answer.to_json()
        if self._with.price is not None:
            content["cost"] = round(self._cost(answer, reserved["tokens"]), 9)
        self.hold(self._event(EventType.MODEL_RESPONSE, content, step))

    def _room(self, usage: Mapping[str, int], asked: int) -> str:
        """Why the budget has no room for a call of the model within a step that used and made this much already."""
        ledger, spec, now = self._with.journal.ledger, self.state.spec, self._with.clock()
        refused = loop.refusal_beside(ledger, spec.budget, spec.run, now, self._underway(usage, asked))
        return "" if refused is None else refused.message

    def _underway(self, usage: Mapping[str, int], asked: int) -> Amounts:
        given, taken = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        cost = None if self._with.price is None else round(self._with.price.cost(given, taken), 9)
        # The request on record stands for the first call.
        return Amounts(model_calls=asked - 1, tokens=given + taken, cost=cost)

    def _reserved(self, messages: Sequence[Message]) -> dict[str, float]:
        """What a call costs at least, as far as can be known before it: its prompt."""
        tokens = loop.estimated_tokens(sum(len(message.text) for message in messages))
        if self._with.price is None:
            return {"tokens": tokens}
        return {"tokens": tokens, "cost": round(self._with.price.cost(tokens, 0), 9)}

    def _cost(self, answer: Answer, reserved: float) -> float:
        assert self._with.price is not None
        usage = answer.usage
        if usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None:
            return self._with.price.cost(int(reserved), loop.estimated_tokens(len(answer.text)))
        return self._with.price.cost(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))

    def _instructions(self) -> str:
        problems = self._with.tools.problems
        if not problems:
            return self._with.instructions
        lines = [f"- {name}: {problem}" for name, problem in sorted(problems.items())]
        return "\n".join([self._with.instructions, "", "Some tools are out of reach for now:", *lines])

    async def _call(self, calls: Sequence[PendingCall]) -> None:
        found = [(call, await self._with.tools.find(call.tool)) for call in calls]
        # Other runs may have spent meanwhile: what is left now counts.
        self.state = self._with_ledger()
        within = loop.affordable(self.state, tuple(calls), self._with.clock())
        found = [(call, tool) for call, tool in found if call in within]
        intents = [self._intent(call, tool) for call, tool in found if not call.intended]
        if intents:
            self.record(*intents, sync=any(not intent.data["repeatable"] for intent in intents))
        if len(found) == 1:
            await self._one(*found[0])
            return
        ended = await asyncio.gather(*(self._one(call, tool) for call, tool in found), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    def _intent(self, call: PendingCall, tool: Tool | None) -> Event:
        # A call that cannot be made is harmless to try again.
        repeatable = tool is None or bool(call.problem) or tool.repeatable
        data = {"call_id": call.id, "repeatable": repeatable, "server": tool.server if tool else ""}
        content = {"tool": call.tool, "arguments": dict(call.arguments)}
        return self._event(EventType.TOOL_CALL, content, self.state.steps, data)

    async def _one(self, call: PendingCall, tool: Tool | None) -> None:
        trace.CALL.set(call.id)
        if self._on_call is not None:
            await self._on_call(self.state.steps, call.tool)
        try:
            result = await self._made(call, tool)
        except ToolError as error:
            if error.uncertain and not (tool and tool.repeatable):
                self.hold(changed(loop.unknown(self.state, call), step=self.state.steps))
            else:
                self._answered(EventType.TOOL_ERROR, call, {"tool": call.tool, "error": str(error)})
        else:
            self._answered(EventType.TOOL_RESULT, call, {"tool": call.tool, "result": result})

    async def _made(self, call: PendingCall, tool: Tool | None) -> str:
        if call.problem:
            raise ToolError(call.problem)
        if tool is None:
            names = ", ".join(sorted(known.name for known in await self._with.tools.all())) or "none"
            reasons = "; ".join(self._with.tools.problems.values())
            raise ToolError(f"there is no tool {call.tool!r} (tools: {names})" + (f"; {reasons}" if reasons else ""))
        try:
            return await self._with.tools.call(tool, call.arguments)
        except ToolError as error:
            if not (error.uncertain and tool.repeatable):
                raise
        return await self._with.tools.call(tool, call.arguments)

    def _answered(self, kind: EventType, call: PendingCall, content: dict[str, Any]) -> None:
        self.hold(self._event(kind, content, self.state.steps, {"call_id": call.id}))

    def _event(self, kind: EventType, content: Any, step: int, data: dict[str, Any] | None = None) -> Event:
        spec, status = self.state.spec, self.state.status
        return Event(kind, content, 0, 0.0, spec.session, spec.run, status.iteration, step, data or {})
