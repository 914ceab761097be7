"""A2A tasks beside the loop, over one journal: their limits, their ends, and what is left when a process dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.loop import Limits
from kaos_ext.model.approvals import Approvals
from kaos_ext.model.budget import Budget
from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent.a2a import rendered
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, Call, Model, ModelError, OnText, Question
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.agent.runner import Equipment
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tasks import Task, TaskState
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import FullError, Log

DEFAULTS = Settings("a", task_limits=Settings.from_env({"AGENT_NAME": "a"}).task_limits)


class Turns:
    """A model that answers from a list by how often the run has asked, around and around."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self._answers = answers

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        await asyncio.sleep(0)
        answer = self._answers[question.cursor % len(self._answers)]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Anvil:
    name = "anvil"

    def __init__(self, work: Callable[[], Any] = lambda: "struck") -> None:
        self._work = work
        self.struck: list[Any] = []

    async def list_tools(self) -> list[Tool]:
        return [Tool("strike")]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        self.struck.append(arguments.get("n"))
        result = self._work()
        return str(await result if asyncio.iscoroutine(result) else result)


def strike(n: int = 0) -> Answer:
    return Answer("", (Call("c", "strike", {"n": n}),), {"prompt_tokens": 3, "completion_tokens": 2})


DONE = Answer("done", (), {"prompt_tokens": 3, "completion_tokens": 2})


@asynccontextmanager
async def served(
    folder: Path, model: Model, anvil: Anvil | None = None, settings: Settings = DEFAULTS, past: Sequence[Event] = ()
) -> Any:
    """An agent's service in this process, on a journal that holds `past`."""
    journal = Journal(Log.open(folder / "events.db", SCHEMA))
    if past:
        journal.record([replace(event, seq=0) for event in past if event.type != EventType.SESSION_STARTED])
    stopping = asyncio.Event()
    equipment = Equipment(journal, model, ToolBox([anvil or Anvil()]), "Be brief.")
    service = AgentService(settings, equipment, stopping)
    service.resume_tasks()
    try:
        async with asyncio.timeout(20):
            yield service
    finally:
        stopping.set()
        await service.finish(0)
        with suppress(Exception):
            journal.close()


async def until(check: Callable[[], bool]) -> None:
    while not check():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.002)


async def over(service: AgentService, id: str) -> Task:
    await until(lambda: service.task(id).state.terminal)
    return service.task(id)


async def begin(service: AgentService, **budgets: float) -> str:
    task = await service.submit("go", "s", autonomous=True, budgets=budgets, metadata={})
    assert (task.state, task.message) == (TaskState.WORKING, "Autonomous execution started")
    return task.id


def notes(task: Task) -> list[str]:
    return [note.type for note in task.notes]


# -- limits ------------------------------------------------------------------------------------------------------------


async def slow() -> str:
    await asyncio.sleep(0.05)
    return "struck"


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ({"maxIterations": 5, "maxToolCalls": 20, "maxRuntimeSeconds": 300}, "max_iterations"),
        ({"maxIterations": 0, "maxToolCalls": 20, "maxRuntimeSeconds": 300}, "max_tool_calls"),
        ({"maxIterations": 0, "maxToolCalls": 0, "maxRuntimeSeconds": 1.5}, "max_runtime_seconds"),
        ({}, "max_iterations"),
    ],
)
async def test_each_limit_ends_a_task_with_its_reason_and_completes_it(
    tmp_path: Path, budgets: dict[str, float], reason: str
) -> None:
    anvil = Anvil(slow if reason == "max_runtime_seconds" else lambda: "struck")
    async with served(tmp_path, Turns(strike(), DONE), anvil) as service:
        task = await over(service, await begin(service, **budgets))
    assert task.state is TaskState.COMPLETED and task.message == "Done"
    assert notes(task) == ["task.submitted", "task.working", "autonomous.budget.exhausted", "task.completed"]
    assert task.notes[2].data == {"reason": reason}
    most = {"max_iterations": int(budgets.get("maxIterations") or 10), "max_tool_calls": 20}
    assert len(anvil.struck) == most.get(reason, len(anvil.struck)) > 0


def test_the_limits_of_a_task_are_the_agents_unless_it_brings_its_own() -> None:
    assert DEFAULTS.task_limits == Limits(
        max_steps=5, max_iterations=10, max_runtime_seconds=300, max_tool_calls=50, interval_seconds=0
    )
    given = {"TASK_MAX_ITERATIONS": "5", "TASK_MAX_RUNTIME_SECONDS": "300", "TASK_MAX_TOOL_CALLS": "20"}
    limits = Settings.from_env({"AGENT_NAME": "a", **given}).task_limits
    assert (limits.max_iterations, limits.max_runtime_seconds, limits.max_tool_calls) == (5, 300, 20)


async def test_the_whole_shape_of_an_asynchronous_task(tmp_path: Path) -> None:
    async with served(tmp_path, Turns(strike(), DONE)) as service:
        task = await over(service, await begin(service, maxIterations=1))
    shape = rendered(task)
    assert list(shape) == [
        "id", "sessionId", "status", "history", "artifacts", "metadata", "events", "autonomous", "output",
    ]  # fmt: skip
    assert shape["autonomous"] is True and shape["output"] == "done" and shape["sessionId"] == "s"
    assert shape["status"] == {"state": "completed", "timestamp": task.timestamp, "message": "Done"}
    assert shape["events"][0]["data"] == {"goal_preview": "go"}
    assert shape["events"][-1]["data"] == {"output_preview": "done"}
    assert all(set(event) == {"id", "type", "timestamp", "data"} for event in shape["events"])
    assert len({event["id"] for event in shape["events"]}) == len(shape["events"])


async def test_a_task_without_tool_calls_is_done_after_one_iteration_and_a_failing_one_fails(tmp_path: Path) -> None:
    async with served(tmp_path / "a", Turns(DONE)) as service:
        task = await over(service, await begin(service))
        assert notes(task) == ["task.submitted", "task.working", "task.completed"]
    async with served(tmp_path / "b", Turns(ModelError("no answer"))) as service:
        task = await over(service, await begin(service))
        assert (task.state, task.message) == (TaskState.FAILED, "no answer")
        assert notes(task)[-1] == "task.failed" and task.notes[-1].data == {"error": "no answer"}


# -- beside each other -------------------------------------------------------------------------------------------------


async def test_two_tasks_a_message_and_the_loop_hold_each_other_up_nowhere(tmp_path: Path) -> None:
    """Each of them needs the others to be under way at the same time."""
    meeting = asyncio.Barrier(4)

    async def meet() -> str:
        await meeting.wait()
        return "met"

    settings = replace(DEFAULTS, goal="go", loop_limits=Limits(interval_seconds=3600))
    async with served(tmp_path, Turns(strike(), DONE), Anvil(meet), settings) as service:
        looping = asyncio.ensure_future(service.run_loop())
        first, second = await begin(service, maxIterations=1), await begin(service, maxIterations=1)
        said = await service.chat("hello", "t")
        assert said.status.last_response == "done"
        assert {(await over(service, id)).state for id in (first, second)} == {TaskState.COMPLETED}
        await until(lambda: bool(service.loop_state.iteration) and not service.loop_state.open)
        # The loop pauses for an hour now; nobody waits for that.
        anvil_free = asyncio.ensure_future(service.chat("hello", "t"))
        others = [asyncio.ensure_future(service.chat("hello", f"t{n}")) for n in range(3)]
        await asyncio.gather(anvil_free, *others)
        assert service.loop_state.iteration == 1
        service._stopping.set()
        await looping


async def test_the_loop_keeps_its_beat_while_tasks_work(tmp_path: Path) -> None:
    settings = replace(DEFAULTS, goal="go", loop_limits=Limits(interval_seconds=0.1))
    async with served(tmp_path, Turns(strike(), DONE), settings=settings) as service:
        looping = asyncio.ensure_future(service.run_loop())
        busy = [await begin(service, maxIterations=0, maxToolCalls=0) for _ in range(2)]
        await until(lambda: service.loop_state.iteration >= 8)
        starts = [e.time for e in service.journal.of_run(LOOP_RUN) if e.type == EventType.ITERATION_STARTED]
        late = sorted(after - before - 0.1 for before, after in pairwise(starts))
        assert late[len(late) // 2] < 0.1, f"the loop is late by {late}"
        assert all(service.task(id).state is TaskState.WORKING for id in busy)
        for id in busy:
            assert (await service.cancel(id)).state is TaskState.CANCELED
        service._stopping.set()
        await looping


# -- cancelled ---------------------------------------------------------------------------------------------------------


async def test_a_task_is_cancelled_at_any_moment_and_only_once(tmp_path: Path) -> None:
    """A moment is a number of turns of the event loop after its submission."""
    for moment in range(40):
        anvil = Anvil(slow if moment % 2 else lambda: "struck")
        async with served(tmp_path / str(moment), Turns(strike(), DONE), anvil) as service:
            id = await begin(service, maxIterations=2)
            for _ in range(moment):
                await asyncio.sleep(0)
            first, second = await asyncio.gather(service.cancel(id), service.cancel(id))
            assert first == second == await service.cancel(id) == service.task(id)
            assert first.state in (TaskState.CANCELED, TaskState.COMPLETED)
            kinds = [event.type for event in service.journal.of_run(id)]
            assert sum(kind in (EventType.TASK_CANCELED, EventType.TASK_COMPLETED) for kind in kinds) == 1
            calls = kinds.count(EventType.TOOL_CALL)
            assert calls == kinds.count(EventType.TOOL_RESULT) + kinds.count(EventType.OUTCOME_UNKNOWN)
            assert not service.journal.unfinished_tasks()


# -- deaths ------------------------------------------------------------------------------------------------------------

STORIES: dict[str, tuple[list[Answer | Exception], dict[str, Any], dict[str, float] | None]] = {
    "three iterations": ([strike(), DONE], {}, {"maxIterations": 3}),
    "done": ([strike(), DONE, DONE], {}, {}),
    "a limit": ([strike()], {}, {"maxToolCalls": 3}),
    "the budget": ([strike(), DONE], {"budget": Budget.from_json({"perTask": {"tokens": 30}})}, {}),
    "a failure": ([strike(), ModelError("no answer")], {}, {}),
    "a message": ([strike(), DONE], {}, None),
    "a message that fails": ([strike(), ModelError("no answer")], {}, None),
    "a message beyond the budget": (
        [strike()], {"budget": Budget.from_json({"perIteration": {"toolCalls": 2}})}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
async def test_wherever_the_process_dies_the_next_one_ends_the_task_the_same_way(tmp_path: Path, story: str) -> None:
    answers, more, budgets = STORIES[story]
    settings = replace(DEFAULTS, **more)
    places: list[int] = []
    """Of the log, after each transaction."""
    async with served(tmp_path / "whole", Turns(*answers), settings=settings) as service:
        service.journal.observers.append(lambda events: places.append(places[-1] + len(events) if places else 2))
        autonomous = budgets is not None
        sent = await service.submit("go", "s", autonomous=autonomous, budgets=budgets or {}, metadata={})
        whole = await over(service, sent.id)
        log = service.journal.of_run(sent.id)
    assert places[-1] == len(log)
    for place in sorted(set(places)):
        anvil = Anvil()
        async with served(tmp_path / str(place), Turns(*answers), anvil, settings, log[:place]) as service:
            task = await over(service, sent.id)
            again = service.journal.of_run(sent.id)
        assert (task.state, task.message) == (whole.state, whole.message), f"after {log[place - 1]}"
        assert notes(task) == notes(whole) and task.notes[-2].data == whole.notes[-2].data
        numbers = [event.iteration for event in again if event.type == EventType.ITERATION_STARTED]
        assert numbers == list(range(1, len(numbers) + 1))
        intents = sum(event.type == EventType.TOOL_CALL for event in again)
        before = sum(event.type == EventType.TOOL_CALL for event in log[:place])
        assert len(anvil.struck) == intents - before, "no call whose intent was on record is made again"


async def test_a_task_older_than_any_list_is_taken_up_again(tmp_path: Path) -> None:
    done = [
        Event(kind, content, session="s", run=f"task_{n}")
        for n in range(1000)
        for kind, content in ((EventType.TASK_SUBMITTED, {"message": "x"}), (EventType.TASK_COMPLETED, {}))
    ]
    old = Event(EventType.TASK_SUBMITTED, {"message": "go", "autonomous": True}, session="s", run="task_old")
    async with served(tmp_path, Turns(DONE), past=[old, *done]) as service:
        assert (await over(service, "task_old")).output == "done"


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(EventType), ids=str)
async def test_a_disk_that_is_full_at_any_event_delays_the_task_and_no_more(
    tmp_path: Path, kind: EventType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("service", "runner"):
        monkeypatch.setattr(f"kaos_ext.runtime.agent.{module}.STORE_TROUBLE_SECONDS", 0.01)
    trouble = 2
    record = Journal.record

    def full(self: Journal, events: Sequence[Event], *, sync: bool = False) -> list[Event]:
        nonlocal trouble
        if trouble and any(event.type == kind for event in events) and kind != EventType.TASK_SUBMITTED:
            trouble -= 1
            raise FullError("the disk is full")
        return record(self, events, sync=sync)

    monkeypatch.setattr(Journal, "record", full)
    settings = replace(DEFAULTS, goal="go", loop_limits=Limits(interval_seconds=3600))
    anvil = Anvil()
    async with served(tmp_path, Turns(strike(), DONE), anvil, settings) as service:
        looping = asyncio.ensure_future(service.run_loop())
        if kind == EventType.TASK_WORKING:
            with pytest.raises(FullError):
                await begin(service)
            trouble = 0
        id = await begin(service, maxIterations=2)
        assert (await over(service, id)).state is TaskState.COMPLETED
        await until(lambda: bool(service.loop_state.iteration) and not service.loop_state.open)
        service._stopping.set()
        await looping
        assert service.loop_state.last_outcome == "Completed"
        kinds = [event.type for event in service.journal.of_run(id)]
        assert kinds.count(EventType.TOOL_CALL) == 2


# -- people ------------------------------------------------------------------------------------------------------------


async def test_of_two_calls_in_one_step_only_the_one_that_needs_it_waits_for_a_person(tmp_path: Path) -> None:
    both = Answer("", (Call("c1", "strike", {"n": 1}), Call("c2", "look", {})))

    class Two(Anvil):
        async def list_tools(self) -> list[Tool]:
            return [Tool("strike"), Tool("look")]

        async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
            if tool == "look":
                raise ToolError("dark")
            return await super().call(tool, arguments)

    anvil, settings = Two(), replace(DEFAULTS, approvals=Approvals(("strike",)))
    async with served(tmp_path, Turns(both, DONE), anvil, settings) as service:
        task = await service.submit("go", "s", autonomous=False, budgets={}, metadata={})
        assert task.state is TaskState.INPUT_REQUIRED and not anvil.struck
        kinds = [event.type for event in service.journal.of_run(task.id)]
        assert kinds.index(EventType.TOOL_ERROR) < kinds.index(EventType.APPROVAL_REQUESTED), "the other is made first"
        task = await service.answer_task(task.id, granted=True, by="ada", reason="")
        assert task.state is TaskState.COMPLETED and anvil.struck == [1]


async def test_a_task_that_waits_for_a_person_can_be_cancelled_and_is_never_made(tmp_path: Path) -> None:
    anvil, settings = Anvil(), replace(DEFAULTS, approvals=Approvals(("strike",)))
    async with served(tmp_path, Turns(strike(), DONE), anvil, settings) as service:
        id = await begin(service)
        await until(lambda: service.task(id).state is TaskState.INPUT_REQUIRED)
        assert (await service.cancel(id)).state is TaskState.CANCELED
        assert not service.runs.waiting() and not anvil.struck
