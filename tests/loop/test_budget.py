"""The budget is checked before each call, in every scope, and holds, ends or cuts what reaches it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec, RunState, ledger
from kaos_ext.loop.ledger import DAY_SECONDS, Doing, Ledger
from kaos_ext.model.approvals import Approvals
from kaos_ext.model.budget import Amounts, Budget, PriceUnknownError, Resource, Scope
from kaos_ext.model.errors import UsageError
from kaos_ext.model.events import LOOP_RUN, Event, EventType, Outcome
from kaos_ext.model.loop_state import LoopPhase
from tests.loop.simulation import Answers, Killed, World, call

TWO_CALLS = {"text": "", "tool_calls": [call("look", "a"), call("look", "b")]}


def budget(**limits: dict[str, float]) -> Budget:
    return Budget.from_json({"prices": {"*": {"inputPerMillion": 1.0, "outputPerMillion": 1.0}}, **limits})


def world(answers: Any, *, repeat: Repeat = Repeat.FOREVER, **limits: dict[str, float]) -> World:
    run = LOOP_RUN if repeat is Repeat.FOREVER else "task_1"
    spec = RunSpec("work", run, repeat=repeat, limits=Limits(max_steps=20), budget=budget(**limits))
    return World(spec, answers, usage={"prompt_tokens": 60, "completion_tokens": 40}, cost=0.25)


def ended(number: int):  # type: ignore[no-untyped-def]
    return lambda state: state.status.totals.iterations >= number


@pytest.mark.parametrize(
    ("limit", "calls"),
    [
        ({"steps": 3}, 3),
        ({"modelCalls": 2}, 2),
        ({"tokens": 250}, 3),
        ({"cost": 0.5}, 2),
        ({"wallSeconds": 1}, 10),
    ],
)
def test_each_resource_ends_an_iteration_that_uses_it_up(limit: dict[str, float], calls: int) -> None:
    found = world(Answers(call("look")), perIteration=limit)
    state = found.run(until=ended(2))
    ends = found.of_type(EventType.ITERATION_FINISHED)
    (resource,) = limit
    assert {end.content["outcome"] for end in ends} == {Outcome.BUDGET_EXHAUSTED}
    assert {end.content["reason"] for end in ends} == {f"perIteration.{resource}"}
    assert len(found.of_type(EventType.MODEL_RESPONSE)) == 2 * calls, "overshoot is less than one call"
    assert not state.status.failures, "a limit is no failure"


def test_calls_beyond_the_room_are_not_made() -> None:
    found = world(lambda state: TWO_CALLS, perIteration={"toolCalls": 3})
    found.run(until=ended(1))
    assert len(found.calls) == 3


def test_no_tool_calls_at_all_lets_the_model_answer() -> None:
    found = world(Answers("no tools needed"), life={"toolCalls": 0})
    found.run(until=ended(3))
    assert {end.content["outcome"] for end in found.of_type(EventType.ITERATION_FINISHED)} == {Outcome.COMPLETED}


def test_a_day_that_is_used_up_holds_the_loop_until_midnight_and_says_so_once() -> None:
    found = world(Answers("done"), perDay={"iterations": 3})
    found.run(until=ended(7))
    held = found.of_type(EventType.BUDGET_EXHAUSTED)
    assert [event.content["reason"] for event in held] == ["perDay.iterations"] * 2
    started = [int(event.time // DAY_SECONDS) for event in found.of_type(EventType.ITERATION_STARTED)]
    assert started == [0, 0, 0, 1, 1, 1, 2]
    assert held[0].content["until"] == "1970-01-02T00:00:00+00:00"


def test_a_life_that_is_used_up_stops_the_loop_with_the_reason_and_a_new_budget_lets_it_go_on() -> None:
    found = world(Answers("done"), life={"modelCalls": 2})
    state = found.run(until=lambda state: state.status.phase is LoopPhase.STOPPED)
    assert (state.status.stop_reason, state.status.iteration) == ("life.modelCalls", 2)
    found.spec = RunSpec("work", budget=budget(life={"modelCalls": 3}))
    state = found.run(until=ended(3))
    assert state.status.stop_reason == ""


def test_a_task_ends_with_the_scope_and_resource_it_used_up() -> None:
    found = world(Answers(call("look"), "again"), repeat=Repeat.UNTIL_DONE, perTask={"tokens": 500})
    state = found.run(until=lambda state: len(found.log) > 200)
    assert loop.over(state) and state.exhausted == "perTask.tokens"
    assert [event.content["reason"] for event in found.of_type(EventType.BUDGET_EXHAUSTED)] == ["perTask.tokens"]


def test_a_pause_and_a_dead_process_cost_no_wall_time() -> None:
    found = world(Answers(call("look")), perIteration={"wallSeconds": 1})
    found.run(until=lambda state: state.steps == 2)
    found.now += 3600
    found.run(until=lambda state: state.steps == 4)
    assert found.ledger.spent(Scope.ITERATION, LOOP_RUN, found.now).wall_seconds == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("kinds", "worked"),
    [
        ((EventType.APPROVAL_REQUESTED, EventType.LOOP_STARTED), 1.0),
        ((EventType.APPROVAL_REQUESTED, EventType.PAUSED, EventType.RESUMED), 1.0),
        ((EventType.PAUSED, EventType.LOOP_STARTED), 1.0),
        ((EventType.PAUSED, EventType.LOOP_STARTED, EventType.APPROVAL_REQUESTED, EventType.LOOP_STARTED), 1.0),
        # Of two calls one is made: a second of work, then the other waits again.
        ((EventType.APPROVAL_REQUESTED, EventType.APPROVAL_REQUESTED, EventType.APPROVAL_GRANTED), None),
        ((EventType.APPROVAL_REQUESTED, EventType.APPROVAL_GRANTED), None),
        ((EventType.PAUSED, EventType.RESUMED), None),
    ],
)
def test_waiting_costs_no_wall_time_whoever_takes_the_run_up_meanwhile(
    kinds: tuple[EventType, ...], worked: float | None
) -> None:
    """A second of work, then each of these a second after the other, then an hour."""
    book = ledger.fold(Ledger(), Event(EventType.ITERATION_STARTED, {}, 1, 10.0, "s", LOOP_RUN, 1))
    for place, kind in enumerate(kinds):
        book = ledger.fold(book, Event(kind, {}, place + 2, 11.0 + place, "s", LOOP_RUN, 1))
    spent = book.spent(Scope.LIFE, LOOP_RUN, 10.0 + len(kinds) + 3600).wall_seconds or 0
    assert spent == (worked if worked is not None else 3601)
    assert Ledger.from_json(book.to_json()) == book


def asked(seq: int, run: str = LOOP_RUN, **reserved: float) -> Event:
    return Event(EventType.MODEL_REQUEST, {"reserved": reserved}, seq, 10.0, "s", run, 1, 1)


def test_a_reservation_counts_until_it_is_settled_and_stays_spent_when_the_call_is_lost() -> None:
    began = ledger.fold(Ledger(), Event(EventType.ITERATION_STARTED, {}, 1, 10.0, "s", LOOP_RUN, 1))
    began = ledger.fold(began, asked(2, tokens=30))
    assert began.spent(Scope.LIFE, LOOP_RUN, 10.0).tokens == 30
    answered = Event(EventType.MODEL_RESPONSE, {"usage": {"prompt_tokens": 3}}, 3, 10.0, "s", LOOP_RUN, 1, 1)
    assert ledger.fold(began, answered).life.tokens == 3
    died = ledger.fold(began, Event(EventType.LOOP_STARTED, {}, 3, 20.0, "s", LOOP_RUN, 1))
    assert died.life.tokens == 30 and died.life.model_calls == 1


@pytest.mark.parametrize(
    ("kind", "content", "tokens"),
    [
        (EventType.ITERATION_FAILED, {}, 0),
        (EventType.ITERATION_FAILED, {"billed": True}, 30),
        (EventType.ITERATION_TIMED_OUT, {}, 30),
        (EventType.TASK_CANCELED, {}, 30),
    ],
)
def test_what_a_question_without_an_answer_cost_and_how_long_it_took_is_kept(
    kind: EventType, content: dict[str, Any], tokens: int
) -> None:
    began = ledger.fold(Ledger(), Event(EventType.ITERATION_STARTED, {}, 1, 10.0, "s", "task_1", 1))
    began = ledger.fold(began, asked(2, "task_1", tokens=30))
    over = ledger.fold(began, Event(kind, content, 3, 15.0, "s", "task_1", 1))
    assert (over.life.tokens or 0, over.life.wall_seconds, over.life.model_calls) == (tokens, 5.0, 1)


def test_events_that_are_added_up_together_come_to_the_same_as_one_by_one_over_midnight_too() -> None:
    found = world(Answers(call("look")), perIteration={"steps": 3})
    found.now = 5 * DAY_SECONDS - 2.0
    found.run(until=ended(12))
    assert {int(event.time // DAY_SECONDS) for event in found.log} == {4, 5}
    beside = [replace(event, run="chat_1") for event in found.log]
    mixed = [replace(e, seq=0) for pair in zip(found.log, beside, strict=True) for e in pair]
    one_by_one = Ledger()
    for event in mixed:
        one_by_one = ledger.fold(one_by_one, event)
    together = ledger.fold(Ledger(), *mixed)
    assert (together.day, together.accounts) == (one_by_one.day, one_by_one.accounts)
    for scope in ("today", "life"):
        assert getattr(together, scope).to_json() == pytest.approx(getattr(one_by_one, scope).to_json())
    assert together.today.tokens and together.today.tokens < (together.life.tokens or 0)


def test_runs_beside_each_other_see_each_others_reservations() -> None:
    limits = budget(life={"tokens": 50})
    both = ledger.fold(Ledger(), asked(1, "chat_1", tokens=50))
    refused = ledger.refusal(both, limits, LOOP_RUN, 10.0, Doing.MODEL)
    assert refused is not None and refused.reason == "life.tokens"


def test_a_child_gets_no_more_than_is_left_and_gives_back_what_it_does_not_need() -> None:
    limits = budget(life={"tokens": 100, "toolCalls": 5})
    state = ledger.fold(Ledger(), asked(1, "chat_1", tokens=40))
    given = ledger.lease(state, limits, LOOP_RUN, 10.0, Amounts(tokens=1000, steps=7))
    assert given == Amounts(tokens=60, tool_calls=5, steps=7)
    lent = Event(
        EventType.DELEGATION_REQUEST, {}, 2, 10.0, "s", LOOP_RUN, 1, data={"call_id": "c", "lease": given.to_json()}
    )
    state = ledger.fold(state, lent)
    assert ledger.room(state, limits, LOOP_RUN, 10.0, Resource.TOKENS) == 0
    back = Event(
        EventType.DELEGATION_RESPONSE, {}, 3, 10.0, "s", LOOP_RUN, 1, data={"call_id": "c", "spent": {"tokens": 10}}
    )
    assert ledger.room(ledger.fold(state, back), limits, LOOP_RUN, 10.0, Resource.TOKENS) == 50
    silent = Event(EventType.DELEGATION_ERROR, {}, 3, 10.0, "s", LOOP_RUN, 1, data={"call_id": "c"})
    assert ledger.room(ledger.fold(state, silent), limits, LOOP_RUN, 10.0, Resource.TOKENS) == 0


def test_a_ledger_read_back_is_the_ledger() -> None:
    found = world(Answers(call("look"), "x"), perIteration={"steps": 50})
    found.run(until=lambda state: state.status.iteration == 3 and state.steps == 1)
    assert Ledger.from_json(found.ledger.to_json()) == found.ledger
    again = Ledger()
    for event in found.log:
        again = ledger.fold(again, event)
    assert again == found.ledger


def test_a_cost_limit_needs_the_price_of_the_model() -> None:
    limited = Budget.from_json({"perDay": {"cost": 1}, "prices": {"gpt-*": {"inputPerMillion": 2}}})
    limited.check("gpt-4o")
    with pytest.raises(PriceUnknownError, match="llama"):
        limited.check("llama")
    Budget.from_json({"perDay": {"tokens": 1}}).check("llama")


@pytest.mark.parametrize("text", ["[]", "{", '{"perDay": {"tokens": -1}}', '{"perDay": {"wine": 1}}'])
def test_a_budget_that_cannot_be_kept_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Budget.parse(text)


# -- approvals and wishes ----------------------------------------------------------------------------------------------


def asking(**more: Any) -> World:
    return World(RunSpec("work", approvals=Approvals(("look",), **more)), Answers(call("look"), "done"))


def answered(found: World, state: RunState, kind: EventType, **content: Any) -> None:
    found._record(state, Event(kind, content, iteration=1, data={"call_id": "call_1"}))


def test_a_call_that_needs_approval_is_asked_for_once_and_waits_without_end() -> None:
    found = asking()
    state = found.run(until=lambda state: found.now > 5000)
    assert state.status.phase is LoopPhase.INPUT_REQUIRED and not found.calls
    assert [waiting.tool for waiting in state.status.approvals] == ["look"]
    assert len(found.of_type(EventType.APPROVAL_REQUESTED)) == 1, "a new process asks no second time"
    answered(found, state, EventType.APPROVAL_GRANTED)
    state = found.run(until=ended(1))
    assert len(found.calls) == 1 and state.status.last_response == "done"


def test_a_declined_call_is_told_to_the_model_and_never_made() -> None:
    found = asking()
    state = found.run(until=lambda state: state.status.phase is LoopPhase.INPUT_REQUIRED)
    answered(found, state, EventType.APPROVAL_DECLINED, reason="too hot")
    found.run(until=ended(1))
    (error,) = found.of_type(EventType.TOOL_ERROR)
    assert not found.calls and "too hot" in error.content["error"]


@pytest.mark.parametrize(("decision", "made"), [("deny", 0), ("allow", 1)])
def test_silence_decides_as_the_owner_said_once_the_time_is_over(decision: str, made: int) -> None:
    found = asking(timeout_seconds=30, on_timeout=decision)
    found.run(until=ended(1))
    assert len(found.calls) == made and found.waits[-1] <= 30
    assert found.of_type(EventType.APPROVAL_TIMED_OUT)[0].content["decision"] == decision


def test_one_iteration_wanted_now_runs_although_the_loop_is_held_and_only_once() -> None:
    found = World(RunSpec("work", limits=Limits(interval_seconds=60)), Answers("done"))
    found.run(until=ended(1))
    found.suspend_at = lambda state: True
    state = found.run(until=lambda state: state.status.phase is LoopPhase.PAUSED)
    found._record(state, Event(EventType.RUN_REQUESTED, {"id": "x"}))
    found.run(until=lambda state: state.status.phase is LoopPhase.PAUSED and state.status.iteration == 2)
    now = found.now
    state = found.run(until=lambda state: found.now > now + 500)
    assert state.status.iteration == 2


def test_a_hold_after_the_iteration_lets_the_open_one_end() -> None:
    found = World(RunSpec("work"), Answers(call("look"), "done"))
    found.hold_at = lambda state: True
    state = found.run(until=lambda state: state.status.phase is LoopPhase.PAUSED)
    assert state.status.iteration == 0
    found.hold_at = lambda state: state.status.open
    found.run(until=ended(1))
    assert found.types("paused", "resumed", "iteration_finished") == ["paused", "resumed", "iteration_finished"]


# -- every resource in every scope -------------------------------------------------------------------------------------

ONE = {"steps": 1, "modelCalls": 1, "toolCalls": 1, "tokens": 100, "cost": 0.25, "wallSeconds": 0.1, "iterations": 1}
"""What the largest single thing that is done costs of each resource."""
ROOM = {"steps": 4, "modelCalls": 4, "toolCalls": 3, "tokens": 350, "cost": 0.9, "wallSeconds": 0.55, "iterations": 2}
CASES = [
    (scope, resource)
    for scope in Scope
    for resource in Resource
    if (scope, resource) != (Scope.ITERATION, Resource.ITERATIONS)
]


@pytest.mark.parametrize("dies", [False, True], ids=["", "dying"])
@pytest.mark.parametrize(("scope", "resource"), CASES, ids=lambda value: str(value))
def test_every_resource_in_every_scope_is_exceeded_by_less_than_one_call_and_said(
    scope: Scope, resource: Resource, dies: bool
) -> None:
    repeat = Repeat.UNTIL_DONE if scope is Scope.TASK else Repeat.FOREVER
    most = ROOM[resource]
    endless = Answers(call("look")) if scope is Scope.ITERATION else Answers(call("look"), call("look"), "done")
    found = world(endless, repeat=repeat, **{scope.value: {resource.value: most}})
    found.spec = replace(found.spec, limits=Limits(max_steps=20, interval_seconds=1))
    found.repeatable = frozenset({"look"})
    dice = random.Random(f"{scope} {resource}")
    worst = 0.0

    def after(point: str) -> None:
        nonlocal worst
        spent = found.ledger.spent(scope, found.spec.run, found.now).get(resource) or 0
        worst = max(worst, spent)
        if dies and dice.random() < 0.05:
            raise Killed

    found.after = after
    for _ in range(300):
        try:
            state = found.run(until=lambda state: found.now > 1015 or loop.over(state))
        except Killed:
            continue
        if found.now > 1015 or loop.over(state):
            break
    assert most <= worst < most + ONE[resource] + 1e-9, f"spent {worst} of {most}"
    said = [event.content["reason"] for event in found.of_type(EventType.BUDGET_EXHAUSTED)]
    ends = [event.content.get("reason") for event in found.of_type(EventType.ITERATION_FINISHED)]
    assert f"{scope}.{resource}" in {*said, *ends}
    started = [event.iteration for event in found.of_type(EventType.ITERATION_STARTED)]
    assert started == list(range(1, len(started) + 1))


@pytest.mark.parametrize("resource", list(Resource), ids=str)
def test_a_new_day_gives_every_resource_anew_and_a_life_does_not(resource: Resource) -> None:
    found = world(Answers(call("look"), "done"), perDay={resource.value: ROOM[resource]})
    found.run(until=lambda state: found.now > 2.5 * DAY_SECONDS)
    days = {int(event.time // DAY_SECONDS) for event in found.of_type(EventType.ITERATION_STARTED)}
    assert days == {0, 1, 2}
    held = [event for event in found.of_type(EventType.BUDGET_EXHAUSTED) if event.content["scope"] == Scope.DAY]
    assert [event.content["until"] for event in held[:2]] == ["1970-01-02T00:00:00+00:00", "1970-01-03T00:00:00+00:00"]
