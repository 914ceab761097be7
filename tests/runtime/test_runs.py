"""A run carries out what the loop decides: trouble of every kind is an event and a next step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec, RunState
from kaos_ext.model.budget import Budget
from kaos_ext.model.events import Event, EventType, Outcome
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, Call, Model, OnText, Question
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.agent.runner import Equipment, Run
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import FullError, Log, Sync


class Script:
    """A model that gives these answers in turn; an exception is raised."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[Question] = []

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        await asyncio.sleep(0)
        self.asked.append(question)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """A server whose one tool does what the test says."""

    name = "bench"

    def __init__(self, work: Callable[[Mapping[str, Any]], Any], *, repeatable: bool = False) -> None:
        self._work = work
        self._repeatable = repeatable
        self.calls = 0

    async def list_tools(self) -> list[Tool]:
        return [Tool("work", repeatable=self._repeatable)]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        self.calls += 1
        result = self._work(arguments)
        return str(await result if asyncio.iscoroutine(result) else result)


class Full(Journal):
    """A journal whose disk is full for the next `times` writes of events of one type."""

    trouble: tuple[str, int] = ("", 0)

    def record(self, events: Sequence[Event], *, sync: bool = False) -> list[Event]:
        kind, times = self.trouble
        if times and kind in [*(row["type"] for row in self._held), *(event.type for event in events)]:
            self.trouble = (kind, times - 1)
            raise FullError("the disk is full")
        return super().record(events, sync=sync)


WORK = Answer("", (Call("c1", "work"),))
DONE = Answer("done")


@pytest.fixture
def journal(tmp_path: Path) -> Full:
    return Full(Log.open(tmp_path / "events.db", SCHEMA, sync=Sync.NORMAL))


async def drive(journal: Journal, model: Model, *servers: Bench, repeat: Repeat = Repeat.ONCE, **limits: float) -> Run:
    spec = RunSpec("go", "r", "s", repeat, Limits(**limits))  # type: ignore[arg-type]
    run = Run(loop.begin(spec), Equipment(journal, model, ToolBox(servers), "Be brief."))
    await asyncio.wait_for(run.drive(Control(asyncio.Event())), 10)
    return run


def kinds(journal: Journal) -> list[str]:
    return [str(event.type) for event in journal.of_run("r")]


async def test_a_loop_without_a_pause_leaves_room_for_others(journal: Full) -> None:
    stopping = asyncio.Event()
    run = Run(loop.begin(RunSpec("go", "r", "s", Repeat.FOREVER)), Equipment(journal, Script(DONE), ToolBox([]), ""))
    work = asyncio.create_task(run.drive(Control(stopping)))
    turns = 0
    while run.state.status.totals.iterations < 20:
        await asyncio.sleep(0)
        turns += 1
    stopping.set()
    await work
    assert turns >= 20


async def test_an_iteration_without_room_for_its_first_question_is_not_begun_again_at_once(journal: Full) -> None:
    budget = Budget.from_json({"perIteration": {"modelCalls": 0}})
    stopping = asyncio.Event()
    spec = RunSpec("go", "r", "s", Repeat.FOREVER, budget=budget)
    run = Run(loop.begin(spec), Equipment(journal, Script(DONE), ToolBox([]), ""))
    work = asyncio.create_task(run.drive(Control(stopping)))
    async with asyncio.timeout(10):
        while kinds(journal).count("iteration_finished") < 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert kinds(journal).count("iteration_started") == 1
    assert loop.due_at(run.state) > run.state.ended_at + 1
    assert run.state.status.last_outcome == Outcome.BUDGET_EXHAUSTED
    stopping.set()
    await work


async def test_tool_calls_of_one_step_run_side_by_side(journal: Full) -> None:
    both = asyncio.Barrier(2)

    async def work(arguments: Mapping[str, Any]) -> str:
        await both.wait()
        return "met"

    two = Answer("", (Call("c1", "work"), Call("c2", "work")))
    run = await drive(journal, Script(two, DONE), Bench(work))
    assert run.state.status.last_response == "done"
    assert kinds(journal)[4:8] == ["tool_call", "tool_call", "tool_result", "tool_result"]


async def test_what_has_no_effect_between_is_one_transaction_and_an_intent_is_synced(
    journal: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[list[str], bool]] = []
    append = journal._log.append

    def told(rows: Any, *, sync: bool = False) -> list[int]:
        written.append(([row["type"] for row in rows if row["type"] != "session_started"], sync))
        return append(rows, sync=sync)

    monkeypatch.setattr(journal._log, "append", told)
    await drive(journal, Script(WORK, DONE), Bench(lambda arguments: "met"))
    assert written == [
        (["iteration_started", "user_message"], False),  # The tools have to be listed first.
        (["model_request"], False),
        (["model_response", "tool_call"], True),
        (["tool_result", "model_request"], False),
        (["model_response", "agent_response", "iteration_finished"], False),
    ]


async def test_a_bug_in_a_model_ends_the_iteration_not_the_process(journal: Full) -> None:
    run = await drive(journal, Script(KeyError("choices")))
    assert run.state.status.last_outcome == Outcome.FAILED
    assert "KeyError" in run.state.status.last_error and kinds(journal)[-2:] == ["error", "iteration_failed"]


async def test_a_bug_in_a_tool_client_leaves_its_call_unknown(journal: Full) -> None:
    def work(arguments: Mapping[str, Any]) -> str:
        raise RuntimeError("what now")

    run = await drive(journal, Script(WORK, DONE), Bench(work))
    assert run.state.status.last_outcome == Outcome.FAILED
    assert kinds(journal)[-4:] == ["tool_call", "outcome_unknown", "error", "iteration_failed"]


async def test_an_unknown_tool_and_arguments_that_are_none_are_told_to_the_model(journal: Full) -> None:
    bench = Bench(lambda arguments: "never")
    wrong = Answer("", (Call("c1", "wrok"), Call("c2", "work", {}, "the arguments are not valid JSON: x")))
    model = Script(wrong, DONE)
    run = await drive(journal, model, bench)
    assert bench.calls == 0 and run.state.status.last_outcome == Outcome.COMPLETED
    told = {message.call_id: message.text for message in model.asked[1].messages if message.role == "tool"}
    assert "there is no tool 'wrok' (tools: work)" in told["c1"] and "not valid JSON" in told["c2"]


@pytest.mark.parametrize(("repeatable", "calls"), [(False, 1), (True, 2)])
async def test_a_connection_lost_in_the_call_is_tried_again_only_if_that_is_harmless(
    journal: Full, repeatable: bool, calls: int
) -> None:
    bench: Bench

    def work(arguments: Mapping[str, Any]) -> str:
        if bench.calls == 1:
            raise ToolError("closed the connection", uncertain=True)
        return "fine"

    bench = Bench(work, repeatable=repeatable)
    await drive(journal, Script(WORK, DONE), bench)
    assert bench.calls == calls
    assert ("tool_result" if repeatable else "outcome_unknown") in kinds(journal)


async def test_a_call_that_was_certainly_not_made_is_an_error_not_an_unknown(journal: Full) -> None:
    def work(arguments: Mapping[str, Any]) -> str:
        raise ToolError("bench does not answer")

    await drive(journal, Script(WORK, DONE), Bench(work))
    assert "tool_error" in kinds(journal) and "outcome_unknown" not in kinds(journal)


@pytest.mark.parametrize("kind", [EventType.TOOL_CALL, EventType.TOOL_RESULT, EventType.MODEL_RESPONSE])
async def test_a_full_disk_delays_the_run_and_repeats_no_call(
    journal: Full, kind: EventType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaos_ext.runtime.agent.runner.STORE_TROUBLE_SECONDS", 0.01)
    journal.trouble = (kind, 2)
    bench = Bench(lambda arguments: "fine")
    run = await drive(journal, Script(WORK, WORK, WORK, DONE), bench, max_steps=9)
    assert loop.over(run.state) and not journal.trouble[1]
    called, known = kinds(journal).count("tool_call"), kinds(journal).count("tool_result")
    assert bench.calls == called == known + kinds(journal).count("outcome_unknown")


async def test_the_intent_of_a_call_that_must_not_be_repeated_is_synced_before_the_call(journal: Full) -> None:
    seen: list[tuple[list[str], bool]] = []
    record = journal.record

    def spy(events: Sequence[Event], *, sync: bool = False) -> list[Event]:
        seen.append(([str(event.type) for event in events], sync))
        return record(events, sync=sync)

    journal.record = spy  # type: ignore[method-assign]
    bench = Bench(lambda arguments: seen.append((["called"], False)) or "fine")
    await drive(journal, Script(WORK, DONE), bench)
    at = seen.index((["called"], False))
    assert seen[at - 1] == (["tool_call"], True)
    assert [sync for types, sync in seen if types != ["tool_call"]] == [False] * (len(seen) - 1)


async def test_it_stops_before_the_next_step_when_told_to(journal: Full) -> None:
    stopping = asyncio.Event()
    bench = Bench(lambda arguments: stopping.set() or "fine")
    spec = RunSpec("go", "r", "s", Repeat.ONCE)
    run = Run(loop.begin(spec), Equipment(journal, Script(WORK, DONE), ToolBox([bench]), ""))
    state: RunState = await asyncio.wait_for(run.drive(Control(stopping)), 10)
    assert kinds(journal)[-1] == "tool_result" and not loop.over(state)


async def test_waiting_ends_at_once_when_the_owner_suspends(journal: Full) -> None:
    control = Control(asyncio.Event())
    spec = RunSpec("go", "r", "s", Repeat.FOREVER, Limits(interval_seconds=3600))
    run = Run(loop.begin(spec), Equipment(journal, Script(DONE), ToolBox([]), ""))
    driving = asyncio.ensure_future(run.drive(control))
    async with asyncio.timeout(10):
        following = journal.follow(0)
        async for event in following:
            if event.type == EventType.ITERATION_FINISHED:
                control.suspend(True)
            if event.type == EventType.PAUSED:
                control.stopping.set()
                break
        await following.aclose()  # type: ignore[attr-defined]
        await driving
