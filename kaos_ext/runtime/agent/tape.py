"""The world of a replay: everything the loop touches, played from the events on record.

The tape stands at one event. What the loop writes must be that event, which moves it on; what the loop waits for comes
when the tape has come to it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from kaos_ext.loop import Ledger, ledger
from kaos_ext.model.events import ITERATION_ENDS, Event, EventType, Outcome
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, Call, ModelError, OnText, Question
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError

DECISIONS = frozenset({EventType.APPROVAL_GRANTED, EventType.APPROVAL_DECLINED})
"""A person's; they come at any time, while a call is under way as well."""
FROM_OUTSIDE = DECISIONS | {EventType.LOOP_STARTED, EventType.LOOP_STOPPED}
"""Written by a process that starts or stops, or for a person; not by the loop's decisions."""
OUTCOMES = frozenset({EventType.TOOL_RESULT, EventType.TOOL_ERROR, EventType.OUTCOME_UNKNOWN})
NOT_COMPARED = frozenset(
    {"duration_seconds", "next_at", "expires_at", "reserved", "cost", "spent", "retry_after_seconds", "billed"}
)
"""Told by the clock, by a price list that is not on record, or by the server that failed."""
IDLE_DECISIONS = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where the loop does something else."""

    seq: int
    where: str
    """Path of what differs, like `content.outcome`; empty when it is the event itself."""
    recorded: Any
    now: Any
    explanation: str = ""

    def __str__(self) -> str:
        text = f"{self.where or 'event'}: recorded {_short(self.recorded)}, now {_short(self.now)}"
        return f"{text} ({self.explanation})" if self.explanation else text

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq, "where": self.where, "recorded": self.recorded, "now": self.now,
            "explanation": self.explanation,
        }  # fmt: skip


class Parting(BaseException):
    """Loop and record part here. No Exception: the loop would make it an event."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


class Outside(BaseException):
    """What comes next on record came from outside: a process ended or began."""


class Spent(BaseException):
    """A budget ended the iteration here. What other runs had spent of it is not on record, so it is believed."""


class Tape(Journal):
    """A journal that writes nothing: each event must be the one on record."""

    def __init__(self, events: Sequence[Event], *, prompts: bool, totals: bool, spent: Ledger | None = None) -> None:
        self._events = list(events)
        self._unchecked = NOT_COMPARED | (frozenset() if prompts else {"prompt", "messages"})
        self._unchecked |= frozenset() if totals else {"totals"}
        self.place = 0
        self.decided: Callable[[Event], None] = lambda event: None
        """Told of what a person decided while the loop was at something else."""
        self.ledger = Ledger() if spent is None else spent
        self.moved = asyncio.Event()

    @property
    def peek(self) -> Event | None:
        return self._events[self.place] if self.place < len(self._events) else None

    @property
    def second(self) -> Event | None:
        return self._events[self.place + 1] if self.place + 1 < len(self._events) else None

    def intent(self, tool: str) -> Event | None:
        """The next intent to call a tool, or else the last one."""
        calls = [
            (place, event)
            for place, event in enumerate(self._events)
            if event.type == EventType.TOOL_CALL and event.content.get("tool") == tool
        ]
        upcoming = [event for place, event in calls if place >= self.place]
        return upcoming[0] if upcoming else calls[-1][1] if calls else None

    def now(self) -> float:
        """The time of the next event: what is decided now was decided then."""
        return self._events[min(self.place, len(self._events) - 1)].time

    def written(self, text: str) -> str:
        return text  # What is on record is without secrets already.

    def record(self, events: Sequence[Event], *, sync: bool = False) -> list[Event]:
        return [self._take(event) for event in events]

    def hold(self, events: Sequence[Event]) -> list[Event]:
        return self.record(events)

    def outside(self) -> Iterator[Event]:
        """What comes next from outside; the tape moves past it."""
        while self.peek is not None and self.outside_next:
            event = self.peek
            self._move()
            yield event

    @property
    def outside_next(self) -> bool:
        """What comes next is from outside, and came before the loop decided what to do."""
        return self.peek is not None and self.peek.type in FROM_OUTSIDE and not self._in_passing()

    def _in_passing(self) -> bool:
        """A person decided it just when calls were about to be made that had nothing to do with it."""
        event = self.peek
        if event is None or event.type not in DECISIONS:
            return False
        rest = (each for each in self._events[self.place :] if each.type not in DECISIONS)
        made = [each.data.get("call_id") for each in takewhile(lambda each: each.type == EventType.TOOL_CALL, rest)]
        return bool(made) and (event.type == EventType.APPROVAL_DECLINED or event.data.get("call_id") not in made)

    def upcoming(self) -> Event | None:
        """What comes next but for what a person decided in the meantime; the tape moves past that."""
        while self.peek is not None and self.peek.type in DECISIONS:
            event = self.peek
            self._move()
            self.decided(event)
        return self.peek

    def ahead(self, *types: str) -> Event | None:
        """The first event after the next ones of these types."""
        return next((event for event in self._events[self.place :] if event.type not in types), None)

    def difference(self, explanation: str, now: Any = None) -> Difference:
        recorded = self.peek
        told = None if recorded is None else str(recorded.type)
        return Difference(0 if recorded is None else recorded.seq, "", told, now, explanation)

    def _take(self, event: Event) -> Event:
        if event.type in OUTCOMES:
            self._bring_forward(event)
        recorded = self.upcoming()
        if recorded is None:
            raise Parting(Difference(0, "", None, str(event.type), "the record ends here"))
        if recorded.type != event.type and self._cut_by_budget(recorded):
            raise Spent
        if recorded.type != event.type:
            raise Parting(Difference(recorded.seq, "", _told(recorded), _told(event)))
        if event.type == EventType.TOOL_ERROR and _no_such_tool(recorded) and _no_such_tool(event):
            event = replace(event, content=recorded.content)
        for where, old, new in (
            ("iteration", recorded.iteration, event.iteration),
            ("step", recorded.step, event.step),
            ("content", recorded.content, _plain(event.content)),
            ("metadata", dict(recorded.data), _plain(dict(event.data))),
        ):
            found = self._differs(where, old, new)
            if found is not None:
                why = "the model would be shown something else" if found[0] == "content.prompt" else ""
                raise Parting(Difference(recorded.seq, *found, why))
        self._move()
        return replace(event, seq=recorded.seq, time=recorded.time)

    def _cut_by_budget(self, recorded: Event) -> bool:
        after = self.ahead(EventType.OUTCOME_UNKNOWN, EventType.BUDGET_EXHAUSTED)
        return (
            after is not None
            and after.type == EventType.ITERATION_FINISHED
            and after.content.get("outcome") == Outcome.BUDGET_EXHAUSTED
            and after.time == recorded.time
        )

    def _bring_forward(self, event: Event) -> None:
        """Calls made together may be answered in another order than then: that is the tools' doing, not the loop's."""
        for place in range(self.place, len(self._events)):
            candidate = self._events[place]
            if candidate.type not in OUTCOMES:
                return
            if candidate.data.get("call_id") == event.data.get("call_id"):
                self._events.insert(self.place, self._events.pop(place))
                return

    def _differs(self, where: str, old: Any, new: Any) -> tuple[str, Any, Any] | None:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in (*old, *(key for key in new if key not in old)):
                # Older records do not say what they showed the model.
                if key in self._unchecked or (key == "prompt" and key not in old):
                    continue
                found = self._differs(f"{where}.{key}", old.get(key), new.get(key))
                if found is not None:
                    return found
            return None
        return None if old == new else (where, old, new)

    def _move(self) -> None:
        # As recorded: with what was really reserved and paid.
        self.ledger = ledger.fold(self.ledger, replace(self._events[self.place], seq=0))
        self.place += 1
        self.moved.set()
        self.moved = asyncio.Event()


class TapeModel:
    """Answers what the model answered; fails, or says nothing, where it did."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        event = self._tape.upcoming()
        if event is None or event.type in FROM_OUTSIDE:
            raise Outside
        if event.type == EventType.ERROR:
            raise ModelError(str(event.content))
        if event.type != EventType.MODEL_RESPONSE:
            await asyncio.Event().wait()  # It never answered: something cut it off.
        content = event.content
        calls = tuple(
            Call(str(call["id"]), str(call["name"]), call.get("arguments") or {}, str(call.get("problem") or ""))
            for call in content.get("tool_calls") or ()
        )
        return Answer(
            str(content.get("text") or ""),
            calls,
            content.get("usage") or {},
            str(content.get("model") or ""),
            asked=int(content.get("model_calls") or 1),
        )


class TapeTools(ToolBox):
    """The tools that were listed then; a call gives what the same call gave."""

    def __init__(self, tape: Tape) -> None:
        super().__init__([])
        self._tape = tape
        self._listed: list[Tool] = []

    async def all(self, *, live: bool = False) -> list[Tool]:
        event = self._tape.peek
        if event is not None and event.type == EventType.ERROR:
            raise ModelError(str(event.content))
        if event is not None and event.type == EventType.MODEL_REQUEST:
            self._listed = [Tool(str(name)) for name in event.content.get("tools") or ()]
            self.problems = dict(event.content.get("unreachable") or {})
        return self._listed

    async def find(self, name: str) -> Tool | None:
        event = self._tape.intent(name)
        if event is not None:
            server, repeatable = str(event.data.get("server") or ""), bool(event.data.get("repeatable"))
            return Tool(name, repeatable=repeatable, server=server) if server else None
        return next((tool for tool in self._listed if tool.name == name), None)

    async def call(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        return await self._outcome(trace.CALL.get())

    async def _outcome(self, id: str) -> str:
        while True:
            event = self._tape.upcoming()
            if event is None or event.type in FROM_OUTSIDE:
                raise Outside
            if event.type == EventType.ERROR:
                raise ModelError(str(event.content))
            if event.type == EventType.OUTCOME_UNKNOWN:
                self._cut_off(event)
            if event.type in OUTCOMES and event.data.get("call_id") == id and not self._ended_together(event):
                break
            await self._tape.moved.wait()
        if event.type == EventType.TOOL_RESULT:
            return str(event.content.get("result"))
        raise ToolError(str(event.content.get("error")), uncertain=event.type == EventType.OUTCOME_UNKNOWN)

    def _cut_off(self, event: Event) -> None:
        """A call that is unknown because the whole iteration failed fails like that again."""
        after = self._tape.ahead(EventType.OUTCOME_UNKNOWN)
        if after is not None and after.type == EventType.ERROR and after.time == event.time:
            raise ModelError(str(after.content))

    def _ended_together(self, event: Event) -> bool:
        """It was given up in one write with the iteration, not answered."""
        after = self._tape.ahead(EventType.OUTCOME_UNKNOWN)
        return (
            event.type == EventType.OUTCOME_UNKNOWN
            and after is not None
            and after.type in ITERATION_ENDS
            and after.time == event.time
        )


class TapeControl(Control):
    """Stops, pauses and goes on where it did."""

    def __init__(self, tape: Tape, paused: Callable[[], bool], *, forced: bool) -> None:
        self._tape = tape
        self._paused, self._forced = paused, forced
        self._idle = (0, 0)
        super().__init__(_Stops(tape))

    @property
    def suspended(self) -> bool:
        # Asked once for each decision: a loop that decides again and again and writes nothing would never end.
        self._idle = (self._tape.place, self._idle[1] + 1 if self._idle[0] == self._tape.place else 0)
        if self._idle[1] > IDLE_DECISIONS:
            raise Parting(self._tape.difference("the loop goes around without writing anything"))
        # A wish may be for both at once: the one for an iteration is written down first.
        event = self._tape.peek
        if event is not None and event.type == EventType.RUN_REQUESTED:
            event = self._tape.second
        if event is not None and event.type in (EventType.PAUSED, EventType.RESUMED):
            return event.type == EventType.PAUSED
        return self._forced or self._paused()

    @suspended.setter
    def suspended(self, wanted: bool) -> None:
        """The owner's wish is on the tape."""

    @property
    def request(self) -> str:
        event = self._tape.peek
        return str(event.content["id"]) if event is not None and event.type == EventType.RUN_REQUESTED else ""

    @request.setter
    def request(self, wanted: str) -> None:
        """So is this one."""

    async def wait(self, seconds: float | None) -> None:
        event = self._tape.peek
        if event is None or event.type in FROM_OUTSIDE:
            raise Outside
        if event.type not in (EventType.PAUSED, EventType.RESUMED, EventType.RUN_REQUESTED):
            raise Parting(self._tape.difference("the loop would wait here", "wait"))


class _Stops(asyncio.Event):
    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def is_set(self) -> bool:
        return self._tape.peek is None or self._tape.outside_next


def _no_such_tool(event: Event) -> bool:
    """It names the tools that there were at that moment, which are not on record."""
    return str(event.content.get("error")).startswith(f"there is no tool {event.content.get('tool')!r} ")


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))


def _told(event: Event) -> str:
    """An event in a few words."""
    content = _plain(event.content)
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return f"{event.type} {_short(said)}" if said else str(event.type)


def _short(value: Any, most: int = 200) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]}…"
