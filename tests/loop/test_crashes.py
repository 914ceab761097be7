"""A process may die at any boundary; the next one goes on from the log as if nothing had happened."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaos_ext.loop import Limits, RunSpec
from kaos_ext.model.events import ITERATION_ENDS, EventType
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
