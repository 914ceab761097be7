"""A recorded iteration runs again through the real loop, without a network, and says where it first does otherwise."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.model.errors import NotFoundError, UsageError
from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, Call, ModelError, OnText, Question
from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.agent.replay import Diverged, Report, replay
from kaos_ext.runtime.agent.runner import Equipment
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import Log, Sync

Step = Answer | Exception | None
"""What the model gives at each question; None is no answer at all."""

WORK = Answer("", (Call("c1", "work", {"n": 1}),), {"prompt_tokens": 3, "completion_tokens": 2}, "m")
BOTH = Answer("", (Call("c1", "work", {"n": 1}), Call("c2", "work", {"n": 2})), {}, "m")
DONE = Answer("done", (), {"prompt_tokens": 5, "completion_tokens": 1}, "m")


class Killed(BaseException):
    """The process is gone."""


class Script:
    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        await asyncio.sleep(0)
        step = self._steps.pop(0) if self._steps else DONE
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step


class Bench:
    name = "bench"

    def __init__(self, work: Callable[[Mapping[str, Any]], Any], repeatable: bool) -> None:
        self._work, self._repeatable = work, repeatable

    async def list_tools(self) -> list[Tool]:
        return [Tool("work", repeatable=self._repeatable)]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        result = self._work(arguments)
        return str(await result if asyncio.iscoroutine(result) else result)


class Dying(Journal):
    """A journal of a process that is killed when it comes to write an event of this type in this iteration."""

    at: tuple[str, int] = ("", 0)
    dead = False

    def record(self, events: Any, *, sync: bool = False) -> list[Event]:
        written = [*((row["type"], row["iteration"]) for row in self._held), *((e.type, e.iteration) for e in events)]
        if self.at in written or (self.dead and written):
            self.dead = True
            self._held.clear()
            raise Killed
        return super().record(events, sync=sync)

    def hold(self, events: Any) -> list[Event]:
        if self.dead:
            raise Killed
        return super().hold(events)

    def _write_held(self) -> None:
        with suppress(Killed):  # Whoever writes next is told.
            super()._write_held()


class Past:
    """An agent that lived: each `live` is one process over the same log."""

    def __init__(self, folder: Path, *, work: Callable[[Mapping[str, Any]], Any] = lambda given: f"met {given['n']}",
                 repeatable: bool = False, limit: float = 60, secrets: tuple[str, ...] = ()) -> None:  # fmt: skip
        self._path = folder / "events.db"
        self._bench = Bench(work, repeatable)
        self._limit, self._secrets = limit, secrets
        self.events: list[Event] = []

    async def live(self, *steps: Step, until: int = 1, killed_at: tuple[str, int] = ("", 0), goal: str = "watch",
                   instructions: str = "be brief", pause_at: int = 0, max_steps: int = 5) -> None:  # fmt: skip
        journal = Dying(Log.open(self._path, SCHEMA, sync=Sync.NORMAL), self._secrets)
        journal.at = killed_at
        settings = Settings(name="a", goal=goal, instructions=instructions)
        limits = replace(settings.loop_limits, max_iteration_seconds=self._limit, max_steps=max_steps)
        equipment = Equipment(journal, Script(list(steps)), ToolBox([self._bench]), instructions)
        stopping = asyncio.Event()
        service = AgentService(replace(settings, loop_limits=limits), equipment, stopping)
        work = asyncio.create_task(service.run_loop())
        held = False
        try:
            while not work.done() and service.loop_state.totals.iterations < until:
                await asyncio.sleep(0)
                state = service.loop_state
                held = held or state.phase == "paused"
                service.control.suspend(state.iteration == pause_at and state.open and not held)
            stopping.set()
            await work
        except Killed:
            pass
        finally:
            self.events = journal.of_run(LOOP_RUN)
            journal.close()

    def recording(self, iteration: int) -> Recording:
        return Recording.of(self.events, iteration)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any, **options: Any) -> None:
        raise AssertionError("a replay makes no connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)


def whole(past: Past, iteration: int) -> Report:
    recording = past.recording(iteration)
    report = replay(Recording.from_json(json.loads(json.dumps(recording.to_json()))))
    report.check()
    assert report.events == report.recorded == len(recording.events) and not report.unchecked
    return report


async def test_an_iteration_with_tools_is_the_same_again(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE, BOTH, DONE, WORK, DONE, until=3)
    counts = [(whole(past, n).model_calls, whole(past, n).tool_calls) for n in (1, 2, 3)]
    assert counts == [(2, 1), (2, 2), (2, 1)]


async def test_calls_answered_in_another_order_than_asked_are_answered_so_again(tmp_path: Path) -> None:
    second = asyncio.Event()

    async def work(arguments: Mapping[str, Any]) -> str:
        if arguments["n"] == 1:
            await second.wait()
        second.set()
        return f"met {arguments['n']}"

    past = Past(tmp_path, work=work)
    await past.live(BOTH, DONE)
    results = [e.content["result"] for e in past.events if e.type == EventType.TOOL_RESULT]
    assert results == ["met 2", "met 1"]
    whole(past, 1)


@pytest.mark.parametrize(
    "steps",
    [
        [ModelError("the model server answered 500: no")],
        [KeyError("choices")],
        [Answer("", (Call("c1", "wrok"), Call("c2", "work", {}, "the arguments are not valid JSON: x"))), DONE],
        [WORK, WORK, WORK, WORK, WORK],
        [WORK, ModelError("gone")],
    ],
    ids=["model error", "bug in a model", "unknown tool and bad arguments", "steps used up", "fails after a tool"],
)
async def test_trouble_comes_again_at_the_same_place(tmp_path: Path, steps: list[Step]) -> None:
    past = Past(tmp_path)
    await past.live(*steps)
    whole(past, 1)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("error", [ToolError("refused"), ToolError("broke off", uncertain=True), RuntimeError("bug")])
async def test_a_tool_that_fails_fails_again(tmp_path: Path, error: Exception, repeatable: bool) -> None:
    def work(arguments: Mapping[str, Any]) -> str:
        raise error

    past = Past(tmp_path, work=work, repeatable=repeatable)
    await past.live(WORK, DONE)
    whole(past, 1)


@pytest.mark.parametrize("hangs", ["model", "tool", "one of two tools"])
async def test_an_iteration_that_was_cut_off_by_the_clock_takes_no_time_to_replay(tmp_path: Path, hangs: str) -> None:
    async def work(arguments: Mapping[str, Any]) -> str:
        if arguments["n"] == (2 if hangs == "one of two tools" else 1):
            await asyncio.Event().wait()
        return "met"

    past = Past(tmp_path, work=work, limit=0.05)
    await past.live({"model": None, "tool": WORK}.get(hangs, BOTH))
    assert past.events[-2].type == EventType.ITERATION_TIMED_OUT
    past.events = [replace(e, content={**e.content, "max_iteration_seconds": 3600.05}) if "max_steps" in str(e.content)
                   else replace(e, time=e.time + 3600) if e.type in ("iteration_timed_out", "outcome_unknown") else e
                   for e in past.events]  # fmt: skip
    past.events = [
        replace(e, content={**e.content, "error": "cut off after 3600.05 s, the most one iteration may run"})
        if e.type == EventType.ITERATION_TIMED_OUT else e for e in past.events
    ]  # fmt: skip
    whole(past, 1)


BOUNDARIES = ["model_request", "model_response", "tool_call", "tool_result", "agent_response"]


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("at", BOUNDARIES)
async def test_an_iteration_that_outlived_a_kill_is_replayed_with_its_kill(
    tmp_path: Path, at: str, repeatable: bool
) -> None:
    past = Past(tmp_path, repeatable=repeatable)
    await past.live(WORK, DONE, BOTH, DONE, until=2, killed_at=(at, 2))
    # What opens an iteration is written with its first question.
    assert past.events[-1].iteration == (1 if at == "model_request" else 2)
    # An answer is written with the intents of the calls it asks for, or with the end of the iteration.
    again: list[Step] = [BOTH, DONE] if at in ("model_request", "model_response", "tool_call") else [DONE]
    await past.live(*again, until=2)
    whole(past, 2)


async def test_a_pause_within_the_iteration_comes_again(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE, WORK, DONE, until=2, pause_at=2)
    kinds = [event.type for event in past.recording(2).events]
    assert EventType.PAUSED in kinds and EventType.RESUMED in kinds
    whole(past, 2)


async def test_a_changed_goal_that_ended_the_iteration_ends_it_again(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, killed_at=("tool_result", 1))
    await past.live(until=1, goal="something new")
    whole(past, 1)


async def test_secrets_that_were_kept_out_of_the_log_make_no_difference(tmp_path: Path) -> None:
    past = Past(tmp_path, secrets=("hunter2secret",), work=lambda given: "it is hunter2secret")
    await past.live(WORK, DONE, instructions="the password is hunter2secret")
    assert "hunter2secret" not in json.dumps(past.recording(1).to_json())
    whole(past, 1)


async def test_other_instructions_are_told_at_the_first_question(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE)
    report = replay(past.recording(1), instructions="be long")
    assert report.divergence is not None and report.divergence.where == "content.prompt"
    assert report.divergence.explanation == "the model would be shown something else"
    first = next(e for e in past.events if e.type == EventType.MODEL_REQUEST)
    assert report.divergence.seq == first.seq
    with pytest.raises(Diverged, match=r"iteration 1 diverges at event \d+: content\.prompt"):
        report.check()


def _without(recording: Recording, kind: str) -> Recording:
    return replace(recording, events=tuple(event for event in recording.events if event.type != kind))


async def test_a_loop_that_would_do_something_else_is_told_where(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE)
    recording = past.recording(1)
    report = replay(_without(recording, EventType.TOOL_CALL))
    assert report.divergence is not None
    assert str(report.divergence.recorded).startswith("tool_result") and "tool_call" in str(report.divergence.now)
    report = replay(_without(recording, EventType.TOOL_RESULT))
    assert report.divergence is not None and "outcome_unknown" in str(report.divergence.now)
    outcome = tuple(
        replace(e, content={**e.content, "outcome": "Failed"}) if e.type == EventType.ITERATION_FINISHED else e
        for e in recording.events
    )
    report = replay(replace(recording, events=outcome))
    assert report.divergence is not None
    assert (report.divergence.where, report.divergence.recorded, report.divergence.now) == (
        "content.outcome", "Failed", "Completed",
    )  # fmt: skip


async def test_what_the_record_no_longer_holds_is_said_not_guessed(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE, WORK, DONE, until=2)
    report = replay(replace(past.recording(2), before=()))
    report.check()
    assert any("no longer on record" in what for what in report.unchecked)


async def test_a_recording_is_a_file_beside_a_test(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.live(WORK, DONE)
    past.recording(1).save(tmp_path / "one.json")
    loaded = Recording.load(tmp_path / "one.json")
    assert loaded.to_json() == past.recording(1).to_json()
    replay(loaded).check()
    with pytest.raises(NotFoundError, match="iteration 7 is not on record"):
        past.recording(7)
    with pytest.raises(UsageError, match="no recording"):
        Recording.from_json({"some": "json"})
