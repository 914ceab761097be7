"""Iterations that people, owners, limits and crashes had a hand in: replayed, each of them is the same again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.model.approvals import Approvals, Decision
from kaos_ext.model.budget import Budget
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent import retention as trimming
from kaos_ext.runtime.agent.control import Wish
from kaos_ext.runtime.agent.model import Answer, Call, ModelError
from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.agent.replay import Report, replay
from kaos_ext.runtime.agent.retention import Retention
from kaos_ext.runtime.agent.runner import Equipment
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import Log, Sync
from tests.runtime.test_replay import BOTH, DONE, WORK, Bench, Dying, Killed, Script, Step, no_network

__all__ = ["no_network"]
Act = Callable[[AgentService], object]


class Life:
    """An agent that lived under an owner: `act` looks at it before each of its steps and does something."""

    def __init__(self, folder: Path, *, approvals: Approvals | None = None, budget: dict[str, Any] | None = None,
                 work: Callable[[Mapping[str, Any]], Any] = lambda given: f"met {given['n']}",
                 repeatable: bool = False, retention: Retention | None = None) -> None:  # fmt: skip
        self._retention = retention
        self._path = folder / "events.db"
        self._approvals = approvals or Approvals()
        self._budget = Budget.parse(json.dumps(budget)) if budget else Budget()
        self._bench = Bench(work, repeatable)
        self.events: list[Event] = []

    async def live(
        self,
        *steps: Step,
        act: Act = lambda service: None,
        until: int = 1,
        limit: float = 60,
        pause: float = 0,
        killed_at: tuple[str, int] = ("", 0),
        goal: str = "watch",
        done: Act | None = None,
    ) -> None:
        journal = Dying(Log.open(self._path, SCHEMA, sync=Sync.NORMAL), retention=self._retention)
        journal.at = killed_at
        settings = Settings(
            name="a", goal=goal, instructions="be brief", approvals=self._approvals, budget=self._budget
        )
        limits = replace(settings.loop_limits, max_iteration_seconds=limit, interval_seconds=pause)
        equipment = Equipment(journal, Script(list(steps)), ToolBox([self._bench]), "be brief")
        stopping = asyncio.Event()
        service = AgentService(replace(settings, loop_limits=limits), equipment, stopping)
        work = asyncio.create_task(service.run_loop())

        def enough() -> object:
            return done(service) if done else service.loop_state.totals.iterations >= until

        try:
            async with asyncio.timeout(10):
                while not work.done() and not enough():
                    await asyncio.sleep(0)
                    act(service)
            stopping.set()
            await work
        except Killed:
            pass
        finally:
            self.events = journal.of_run(LOOP_RUN)
            journal.close()

    def kinds(self, iteration: int) -> list[str]:
        return [str(event.type) for event in Recording.of(self.events, iteration).events]

    def same(self, iteration: int, *, checked: bool = True) -> Report:
        recording = Recording.from_json(json.loads(json.dumps(Recording.of(self.events, iteration).to_json())))
        report = replay(recording)
        report.check()
        assert report.events == report.recorded
        assert not (checked and report.unchecked), report.unchecked
        return report


def answers(*decisions: bool) -> Act:
    """A person who decides what waits, one after the other."""
    left = list(decisions)

    def act(service: AgentService) -> None:
        for _, waiting in service.runs.waiting()[:1]:
            if left:
                service.runs.answer(waiting.id, granted=left.pop(0), by="ada", reason="because")

    return act


ASKING = Approvals(("work",))


@pytest.mark.parametrize("decisions", [(True, True), (False, False), (True, False), (False, True)])
async def test_what_a_person_decided_is_decided_again(tmp_path: Path, decisions: tuple[bool, ...]) -> None:
    life = Life(tmp_path, approvals=ASKING)
    await life.live(WORK, BOTH, DONE, WORK, DONE, act=answers(True, *decisions, True), until=2)
    assert life.kinds(1).count("approval_requested") == 3
    life.same(1)
    life.same(2)


@pytest.mark.parametrize("granted", [True, False])
@pytest.mark.parametrize("turns", range(12))
async def test_a_decision_may_come_at_any_moment_of_another_call(tmp_path: Path, turns: int, granted: bool) -> None:
    left = turns

    def act(service: AgentService) -> None:
        nonlocal left
        waiting = [call.id for _, call in service.runs.waiting()]
        if waiting == ["c1", "c2"]:
            service.runs.answer("c1", granted=True, by="ada", reason="")
        elif waiting == ["c2"]:
            left -= 1
            if left < 0:
                service.runs.answer("c2", granted=granted, by="ada", reason="")

    async def work(given: Mapping[str, Any]) -> str:
        for _ in range(4):
            await asyncio.sleep(0)
        return "met"

    life = Life(tmp_path, approvals=ASKING, work=work)
    await life.live(BOTH, DONE, act=act)
    life.same(1)


@pytest.mark.parametrize("silence", [Decision.ALLOW, Decision.DENY])
async def test_nobody_answers_again(tmp_path: Path, silence: Decision) -> None:
    life = Life(tmp_path, approvals=Approvals(("work",), 0.05, silence))
    await life.live(WORK, BOTH, DONE)
    assert life.kinds(1).count("approval_timed_out") == 3
    life.same(1)


async def test_one_of_two_is_answered_and_the_other_runs_out(tmp_path: Path) -> None:
    life = Life(tmp_path, approvals=Approvals(("work",), 0.05))
    await life.live(BOTH, DONE, act=answers(True))
    assert {"approval_granted", "approval_timed_out"} <= set(life.kinds(1))
    life.same(1)


@pytest.mark.parametrize("granted", [True, False])
async def test_a_question_outlives_a_kill_and_is_answered_in_the_next_process(tmp_path: Path, granted: bool) -> None:
    life = Life(tmp_path, approvals=ASKING)
    await life.live(WORK, done=lambda service: service.runs.waiting())
    assert life.events[-1].type == EventType.LOOP_STOPPED
    await life.live(DONE, act=answers(granted))
    life.same(1)


async def test_a_pause_while_a_person_is_asked_comes_again(tmp_path: Path) -> None:
    life = Life(tmp_path, approvals=ASKING)
    seen: list[str] = []

    def act(service: AgentService) -> None:
        phase = service.loop_state.phase
        if phase == "input-required" and not seen:
            service.control.suspend(True)
            seen.append("held")
        elif phase == "paused" and seen == ["held"]:
            service.control.suspend(False)
            seen.append("on")
        elif len(seen) == 2 and service.runs.waiting() and phase != "paused":
            answers(True)(service)

    await life.live(WORK, DONE, act=act)
    assert {"paused", "resumed", "approval_granted"} <= set(life.kinds(1))
    life.same(1)


async def test_an_answer_that_came_while_the_loop_was_paused(tmp_path: Path) -> None:
    life = Life(tmp_path, approvals=ASKING)
    held: list[bool] = []

    def act(service: AgentService) -> None:
        phase = service.loop_state.phase
        if phase == "input-required" and not held:
            held.append(True)
            service.control.suspend(True)
        elif phase == "paused" and service.runs.waiting():
            answers(True)(service)
        elif phase == "paused":
            service.control.suspend(False)

    await life.live(WORK, DONE, act=act)
    assert life.kinds(1).index("paused") < life.kinds(1).index("approval_granted") < life.kinds(1).index("resumed")
    life.same(1)


@pytest.mark.parametrize("held", [False, True])
async def test_an_iteration_that_was_asked_for(tmp_path: Path, held: bool) -> None:
    life = Life(tmp_path)

    def act(service: AgentService) -> None:
        if service.loop_state.iteration >= 1 and not service.loop_state.open:
            service.control.wish(Wish(suspend=held, run_now="please"))

    def done(service: AgentService) -> bool:
        return service.loop_state.totals.iterations >= 2

    await life.live(WORK, DONE, WORK, DONE, act=act, done=done, pause=0.01)
    assert [e.content["id"] for e in life.events if e.type == EventType.RUN_REQUESTED] == ["please"]
    life.same(1)
    life.same(2)


async def test_an_iteration_asked_for_while_another_was_open(tmp_path: Path) -> None:
    life = Life(tmp_path)

    def act(service: AgentService) -> None:
        if service.loop_state.iteration == 1 and service.loop_state.step == 1:
            service.control.wish(Wish(run_now="now"))

    await life.live(WORK, DONE, WORK, DONE, act=act, until=2)
    assert "run_requested" in life.kinds(1)
    for number in (1, 2):
        life.same(number)


@pytest.mark.parametrize(
    "budget",
    [
        {"perIteration": {"steps": 1}},
        {"perIteration": {"toolCalls": 1}},
        {"perIteration": {"toolCalls": 0}},
        {"perIteration": {"tokens": 4}},
        {"perDay": {"toolCalls": 1}},
        {"life": {"modelCalls": 1}},
    ],
    ids=str,
)
async def test_a_limit_that_ended_it_ends_it_again(tmp_path: Path, budget: dict[str, Any]) -> None:
    life = Life(tmp_path, budget=budget)
    await life.live(BOTH, WORK, DONE)
    end = Recording.of(life.events, 1).events[-1]
    assert end.content["outcome"] == "BudgetExhausted"
    report = life.same(1, checked=False)
    assert all("budget" in what for what in report.unchecked)


@pytest.mark.parametrize("repeatable", [True, False])
async def test_an_unknown_outcome_after_a_kill(tmp_path: Path, repeatable: bool) -> None:
    life = Life(tmp_path, repeatable=repeatable)
    await life.live(WORK, killed_at=("tool_result", 1))
    await life.live(DONE)
    assert ("outcome_unknown" in life.kinds(1)) is not repeatable
    life.same(1)


async def test_killed_twice_and_failing_in_the_end(tmp_path: Path) -> None:
    life = Life(tmp_path)
    await life.live(WORK, killed_at=("tool_result", 1))
    await life.live(WORK, killed_at=("tool_call", 1))
    await life.live(KeyError("choices"))
    life.same(1)


async def test_steps_used_up_with_tools_that_fail(tmp_path: Path) -> None:
    def work(given: Mapping[str, Any]) -> str:
        raise ToolError("no")

    life = Life(tmp_path, work=work)
    await life.live(WORK, BOTH, WORK, BOTH, WORK)
    assert Recording.of(life.events, 1).events[-1].content["outcome"] == "StepsExhausted"
    life.same(1)


async def test_the_same_call_with_the_same_arguments_twice_in_one_step(tmp_path: Path) -> None:
    count = iter(range(9))
    life = Life(tmp_path, work=lambda given: f"answer {next(count)}")
    twice = Answer("", (Call("c1", "work", {"n": 1}), Call("c2", "work", {"n": 1})), {}, "m")
    await life.live(twice, twice, WORK, DONE)
    life.same(1)


async def test_ids_of_calls_that_come_again_in_every_step(tmp_path: Path) -> None:
    """Mock answers, and some servers, count their calls anew in each answer."""
    count = iter(range(9))
    life = Life(tmp_path, work=lambda given: f"answer {next(count)}")
    await life.live(WORK, WORK, WORK, DONE)
    results = [e.content["result"] for e in life.events if e.type == EventType.TOOL_RESULT]
    assert results == ["answer 0", "answer 1", "answer 2"]
    life.same(1)


async def test_an_iteration_of_a_long_life(tmp_path: Path) -> None:
    life = Life(tmp_path)
    await life.live(*[WORK, DONE] * 12, until=12)
    for number in (1, 5, 6, 7, 12):
        life.same(number)


async def test_the_one_after_a_failure_is_shown_the_failure_again(tmp_path: Path) -> None:
    life = Life(tmp_path)
    await life.live(KeyError("x"), done=lambda service: service.loop_state.totals.iterations >= 1)
    await life.live(DONE, until=2)
    life.same(2)


async def test_every_iteration_of_a_life_full_of_trouble(tmp_path: Path) -> None:
    life = Life(tmp_path, approvals=Approvals(("work",), 0.02, Decision.ALLOW))
    await life.live(WORK, DONE, BOTH, killed_at=("tool_result", 2), until=3)
    await life.live(DONE, WORK, KeyError("x"), until=3)
    await life.live(WORK, None, until=4, limit=0.2)
    await life.live(WORK, DONE, until=5, goal="something else")
    ended = [event.iteration for event in life.events if event.type in ITERATION_ENDS]
    assert ended == [1, 2, 3, 4, 5]
    for number in ended:
        life.same(number)


async def test_a_limit_of_the_day_that_others_had_nearly_used_up(tmp_path: Path) -> None:
    """What others spent is not in the recording; what was left then is known from where it ended."""
    life = Life(tmp_path, budget={"perDay": {"toolCalls": 3, "tokens": 1000}})

    def act(service: AgentService) -> None:
        if service.loop_state.iteration == 1 and service.loop_state.step == 1 and service.journal.ledger.life.steps:
            others = [Event(EventType.TOOL_CALL, {"tool": "x"}, session="s", run="chat_1")]
            if not service.journal.of_run("chat_1"):
                service.journal.record(others * 2)

    async def slow(given: Mapping[str, Any]) -> str:
        for _ in range(5):
            await asyncio.sleep(0)
        return "met"

    life._bench = Bench(slow, False)
    await life.live(WORK, BOTH, WORK, DONE, act=act)
    end = Recording.of(life.events, 1).events[-1]
    assert (end.content["outcome"], end.content["reason"]) == ("BudgetExhausted", "perDay.toolCalls")
    assert not life.same(1).unchecked


async def test_a_cut_by_work_time(tmp_path: Path) -> None:
    life = Life(tmp_path, budget={"perIteration": {"wallSeconds": 0.1}})
    await life.live(WORK, None)
    assert Recording.of(life.events, 1).events[-1].content["reason"] == "perIteration.wallSeconds"
    life.same(1)


async def test_a_limit_that_is_taken_away_makes_a_difference(tmp_path: Path) -> None:
    life = Life(tmp_path, budget={"perIteration": {"toolCalls": 1}})
    await life.live(BOTH, DONE)
    recording = Recording.of(life.events, 1)
    loose = tuple(
        replace(e, data={**e.data, "budget": {"perIteration": {"toolCalls": 2}}}) if e.type == "loop_started" else e
        for e in recording.before
    )
    report = replay(replace(recording, before=loose))
    assert report.divergence is not None and "tool_call" in str(report.divergence.now)


async def test_a_tool_that_was_not_there_at_first(tmp_path: Path) -> None:
    life = Life(tmp_path)
    listed, looks = life._bench.list_tools, iter(range(99))

    async def later() -> list[Tool]:
        return [] if next(looks) < 3 else await listed()

    life._bench.list_tools = later  # type: ignore[method-assign]
    await life.live(WORK, WORK, WORK, DONE)
    assert {"tool_error", "tool_result"} <= set(life.kinds(1))
    life.same(1)


async def test_how_the_loop_was_taken_up_is_known_long_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "TRIM_EVERY", 50)
    life = Life(tmp_path, retention=Retention(events=100))
    await life.live(DONE)
    exhausted = "StepsExhausted"
    await life.live(*[WORK, DONE] * 40, *[WORK] * 5, done=lambda service: service.loop_state.last_outcome == exhausted)
    kept = [event for event in life.events if event.type == EventType.LOOP_STARTED]
    assert len(kept) == 1 and life.events[0].type == EventType.LOOP_STARTED, "only how the newest process did"
    first = next(event.iteration for event in life.events if event.type == EventType.ITERATION_STARTED)
    assert first > 20
    [number] = [event.iteration for event in life.events if event.fields.get("outcome") == exhausted]
    life.same(number)


class Owner:
    """Does anything at any time."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._wishes = 0

    def __call__(self, service: AgentService) -> None:
        if self._chance.random() > 0.06:
            return
        match self._chance.randrange(6):
            case 0 | 1:
                for run, waiting in service.runs.waiting()[:1]:
                    service.runs.answer(waiting.id, run=run, granted=self._chance.random() < 0.6, by="o", reason="so")
            case 2:
                service.control.wish(Wish(suspend=True, after_iteration=self._chance.random() < 0.5))
            case 3 | 4:
                service.control.wish(Wish())
            case _:
                self._wishes += 1
                service.control.wish(Wish(suspend=self._chance.random() < 0.5, run_now=f"wish {self._wishes}"))


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happened_every_iteration_that_ended_is_the_same_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    budgets = [
        {"perIteration": {"toolCalls": 2}},
        {"perDay": {"toolCalls": 4, "modelCalls": 9}},
        {"life": {"steps": 8}},
    ]
    approvals = Approvals(("work",), chance.choice([0.0, 0.02]), chance.choice(list(Decision)))

    def work(given: Mapping[str, Any]) -> str:
        if chance.random() < 0.25:
            raise chance.choice([ToolError("no"), ToolError("gone", uncertain=True), RuntimeError("bug")])
        return f"met {chance.random()}"

    life = Life(
        tmp_path, approvals=chance.choice([None, approvals]), work=work, repeatable=chance.random() < 0.5,
        budget=chance.choice([None, None, *budgets]),
    )  # fmt: skip
    steps: list[Step] = [WORK, WORK, BOTH, BOTH, DONE, DONE, DONE, KeyError("x"), ModelError("500"), None]
    for process in range(chance.randint(1, 4)):
        owner, rounds = Owner(seed * 100 + process), iter(range(chance.randint(30, 300)))
        kinds = ["model_request", "model_response", "tool_call", "tool_result", "agent_response", "approval_requested"]
        killed = (chance.choice(kinds), chance.randint(1, 4)) if chance.random() < 0.4 else ("", 0)
        await life.live(
            *chance.choices(steps, k=12), act=owner, limit=0.05, killed_at=killed,
            goal=chance.choice(["watch", "watch", "look"]),
            done=lambda service, rounds=rounds: next(rounds, None) is None,  # type: ignore[misc]
        )  # fmt: skip
    for event in life.events:
        if event.type in ITERATION_ENDS:
            life.same(event.iteration, checked=False)
