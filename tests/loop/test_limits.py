"""Asynchronous tasks end when they are done or when one of their limits is reached."""

from __future__ import annotations

import pytest

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec, RunState
from kaos_ext.model.events import EventType
from tests.loop.simulation import Answers, World, call


def run(answers: Answers, **limits: float) -> tuple[World, RunState]:
    spec = RunSpec("tidy up", "task_1", repeat=Repeat.UNTIL_DONE, limits=Limits(**limits))  # type: ignore[arg-type]
    world = World(spec, answers)
    return world, world.run(until=lambda state: len(world.log) > 500)


def test_a_task_is_done_when_an_iteration_needed_no_tools() -> None:
    _, state = run(Answers(call("look"), "looked", "nothing left"))
    assert loop.over(state) and state.status.iteration == 2
    assert state.status.last_response == "nothing left" and not state.exhausted


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_iterations": 3}, "max_iterations"),
        ({"max_runtime_seconds": 2}, "max_runtime_seconds"),
        ({"max_tool_calls": 4}, "max_tool_calls"),
    ],
)
def test_each_limit_ends_a_task_with_its_reason(limits: dict[str, float], reason: str) -> None:
    world, state = run(Answers(call("look"), "again"), **limits)
    assert loop.over(state) and state.exhausted == reason
    assert [event.content for event in world.of_type(EventType.BUDGET_EXHAUSTED)] == [{"reason": reason}]
    assert not state.status.open


def test_a_task_whose_time_is_up_before_the_model_answers_is_not_taken_for_done() -> None:
    limits = Limits(max_runtime_seconds=50)
    world = World(RunSpec("tidy up", "task_1", repeat=Repeat.UNTIL_DONE, limits=limits), Answers(call("look"), "again"))
    world.run(until=lambda state: state.status.iteration == 2 and state.status.open)
    world.now += 100
    state = world.run(until=lambda state: len(world.log) > 500)
    assert loop.over(state) and state.exhausted == "max_runtime_seconds"
    assert world.types()[-2:] == [EventType.ITERATION_FINISHED, EventType.BUDGET_EXHAUSTED]


def test_tool_calls_are_checked_before_each_call_not_only_between_iterations() -> None:
    world, state = run(Answers(call("look")), max_steps=20, max_tool_calls=4)
    assert len(world.calls) == 4 and state.exhausted == "max_tool_calls"


def test_a_task_fails_with_the_first_failed_iteration() -> None:
    spec = RunSpec("tidy up", "task_1", repeat=Repeat.UNTIL_DONE)
    world = World(spec, Answers("fine"))
    state = world.run(until=lambda state: state.status.open)
    for event in loop.failed(state, "no model", world.now):
        state = world._record(state, event)
    assert loop.over(state)
