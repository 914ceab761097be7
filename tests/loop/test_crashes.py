"""A process may die at any boundary; the next one goes on from the log as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaos_ext.loop import Limits, RunSpec, RunState
from kaos_ext.model.approvals import Approvals, Decision
from kaos_ext.model.budget import Budget, Scope
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, EventType
from kaos_ext.model.loop_state import LoopPhase
from tests.loop.simulation import Answers, Killed, World, call

ITERATIONS = 6


def world_with(*, repeatable: bool = False) -> World:
    spec = RunSpec("count", limits=Limits(max_steps=4))
    model = Answers(call("count", "a"), call("count", "b"), "counted")
    return World(spec, model, repeatable=frozenset({"count"}) if repeatable else frozenset())


def boundaries() -> int:
    """How many places there are to die in an undisturbed run."""
    world, seen = world_with(), Counter[str]()
    world.after = lambda point: seen.update([point])
    world.run(until=lambda state: state.status.totals.iterations >= ITERATIONS)
    return seen.total()


def survive(world: World, kills: list[int]) -> None:
    """Run to the end, dying after each of so many boundaries, and starting again."""
    left = list(kills)
    seen = 0

    def after(point: str) -> None:
        nonlocal seen
        seen += 1
        if left and seen >= left[0]:
            left.pop(0)
            seen = 0
            raise Killed

    world.after = after
    while True:
        try:
            world.run(until=lambda state: state.status.totals.iterations >= ITERATIONS)
        except Killed:
            continue
        return


def check(world: World) -> None:
    started = [event.iteration for event in world.of_type(EventType.ITERATION_STARTED)]
    ended = [event.iteration for event in world.log if event.type in ITERATION_ENDS]
    assert started == ended == list(range(1, ITERATIONS + 1)), "no iteration skipped, doubled or renumbered"
    answered = Counter(event.iteration for event in world.of_type(EventType.MODEL_RESPONSE))
    assert set(answered.values()) == {3}, "the script goes on where it was"


@pytest.mark.parametrize("at", range(1, boundaries() + 1))
def test_a_call_that_must_not_be_repeated_is_made_at_most_once_wherever_the_process_dies(at: int) -> None:
    world = world_with()
    survive(world, [at])
    check(world)
    made = Counter(iteration for _, iteration in world.calls)
    unknown = Counter(event.iteration for event in world.of_type(EventType.OUTCOME_UNKNOWN))
    results = Counter(event.iteration for event in world.of_type(EventType.TOOL_RESULT))
    for iteration in range(1, ITERATIONS + 1):
        assert made[iteration] <= 2, "a call was repeated"
        assert results[iteration] + unknown[iteration] == 2, "each call has one outcome on record"


@pytest.mark.parametrize("at", range(1, boundaries() + 1))
def test_a_call_that_may_be_repeated_always_comes_to_a_result(at: int) -> None:
    world = world_with(repeatable=True)
    survive(world, [at])
    check(world)
    assert not world.of_type(EventType.OUTCOME_UNKNOWN)
    assert len(world.of_type(EventType.TOOL_RESULT)) == len(world.of_type(EventType.TOOL_CALL)) == 2 * ITERATIONS


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_any_number_of_deaths_in_any_places_changes_no_number(kills: list[int], repeatable: bool) -> None:
    world = world_with(repeatable=repeatable)
    survive(world, kills)
    check(world)
    intents = Counter((event.iteration, event.data["call_id"]) for event in world.of_type(EventType.TOOL_CALL))
    assert set(intents.values()) == {1}, "an intent is on record once"
    if not repeatable:
        assert max(Counter(world.calls).values()) <= 2


def test_a_call_cut_off_is_told_to_the_model_as_unknown() -> None:
    world = world_with()

    def die_in_the_call(point: str) -> None:
        if point == "after the call":
            raise Killed

    world.after = die_in_the_call
    with pytest.raises(Killed):
        world.run(until=lambda state: False)
    world.after = lambda point: None
    state = world.run(until=lambda state: bool(state.turns) and state.turns[-1].role == "tool")
    assert "outcome is unknown" in state.turns[-1].text
    assert len(world.calls) == 1


LIMITS = {"modelCalls": 11, "toolCalls": 7}


def limited_world() -> World:
    budget = Budget.from_json({"life": LIMITS, "perIteration": {"toolCalls": 2}})
    model = Answers(call("count", "a"), call("count", "b"), "counted")
    return World(RunSpec("count", limits=Limits(max_steps=4), budget=budget), model, usage={"prompt_tokens": 7})


def run_out(world: World, kills: list[int]) -> RunState:
    """Until the budget holds the loop for good, dying after each of so many boundaries."""
    left, seen = list(kills), 0

    def after(point: str) -> None:
        nonlocal seen
        seen += 1
        if left and seen >= left[0]:
            left.pop(0)
            seen = 0
            raise Killed

    world.after = after
    while True:
        try:
            return world.run(until=lambda state: state.status.phase is LoopPhase.STOPPED)
        except Killed:
            continue


def limited_boundaries() -> int:
    world, seen = limited_world(), Counter[str]()
    world.after = lambda point: seen.update([point])
    world.run(until=lambda state: state.status.phase is LoopPhase.STOPPED)
    return seen.total()


def check_spending(world: World, state: RunState) -> None:
    assert len(world.of_type(EventType.MODEL_REQUEST)) <= LIMITS["modelCalls"]
    assert len(world.calls) <= LIMITS["toolCalls"]
    spent = world.ledger.spent(Scope.LIFE, LOOP_RUN, world.now)
    assert spent.model_calls == len(world.of_type(EventType.MODEL_REQUEST)), "a repeated call is counted again"
    assert spent.tool_calls == len(world.of_type(EventType.TOOL_CALL)), "an intent is counted once"
    lost = len(world.of_type(EventType.MODEL_REQUEST)) - len(world.of_type(EventType.MODEL_RESPONSE))
    assert spent.tokens == 7 * len(world.of_type(EventType.MODEL_RESPONSE)) + 10 * lost, "a lost one at its estimate"
    assert state.status.stop_reason in ("life.modelCalls", "life.toolCalls")


@pytest.mark.parametrize("at", range(1, limited_boundaries() + 1))
def test_a_budget_holds_wherever_the_process_dies(at: int) -> None:
    world = limited_world()
    check_spending(world, run_out(world, [at]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=10))
def test_a_budget_holds_however_often_the_process_dies(kills: list[int]) -> None:
    world = limited_world()
    check_spending(world, run_out(world, kills))


# -- held, asked and bounded at the same time --------------------------------------------------------------------------


def lively() -> World:
    """A loop whose owner holds it at times, that asks somebody who stays silent, and that its limits cut and hold."""
    spec = RunSpec(
        "count",
        limits=Limits(max_steps=5, interval_seconds=1),
        approvals=Approvals(("ask",), timeout_seconds=5, on_timeout=Decision.ALLOW),
        budget=Budget.from_json({"perIteration": {"toolCalls": 2}, "perDay": {"iterations": 4}}),
    )
    world = World(spec, Answers(call("count", "a"), call("ask", "b"), call("count", "c"), "counted"))
    world.suspend_at = lambda state: int(world.now) % 9 < 2
    return world


def lived(world: World) -> None:
    started = [event.iteration for event in world.of_type(EventType.ITERATION_STARTED)]
    ended = [event.iteration for event in world.log if event.type in ITERATION_ENDS]
    assert started == ended == list(range(1, ITERATIONS + 1))
    asked = Counter(event.iteration for event in world.of_type(EventType.APPROVAL_REQUESTED))
    assert asked and set(asked.values()) == {1}, "a person is asked once for each call"
    intents = Counter((event.content["tool"], event.iteration) for event in world.of_type(EventType.TOOL_CALL))
    assert all(made <= intents[what] for what, made in Counter(world.calls).items()), "no call is made twice"
    assert max(Counter(event.iteration for event in world.of_type(EventType.TOOL_CALL)).values()) == 2
    held = [event for event in world.of_type(EventType.BUDGET_EXHAUSTED) if event.content["scope"] == Scope.DAY]
    assert held and {event.content["reason"] for event in held} == {"perDay.iterations"}
    turns = world.types("paused", "resumed")
    assert "paused" in turns and all(one != other for one, other in pairwise(turns)), "held once, let go once"


def test_wherever_it_dies_while_it_is_held_asks_or_is_bounded_nothing_is_lost_or_doubled() -> None:
    whole, places = lively(), Counter[str]()
    whole.after = lambda point: places.update([point])
    whole.run(until=lambda state: state.status.totals.iterations >= ITERATIONS)
    lived(whole)
    for place in range(1, places.total() + 1):
        world = lively()
        survive(world, [place])
        lived(world)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12))
def test_any_number_of_deaths_of_a_loop_that_is_held_asks_and_is_bounded(kills: list[int]) -> None:
    world = lively()
    survive(world, kills)
    lived(world)
