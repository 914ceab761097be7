"""What the resident loop does from one iteration to the next."""

from __future__ import annotations

from itertools import pairwise

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec
from kaos_ext.model.events import Event, EventType, Outcome
from kaos_ext.model.loop_state import LoopPhase
from tests.loop.simulation import Answers, World, call

GOAL = "watch the disk"


def spec(goal: str = GOAL, **limits: float) -> RunSpec:
    return RunSpec(goal, limits=Limits(**limits))  # type: ignore[arg-type]


def iterations(number: int):  # type: ignore[no-untyped-def]
    return lambda state: state.status.totals.iterations >= number


def test_every_iteration_begins_with_the_goal_as_a_user_message() -> None:
    world = World(spec(), Answers(call("look"), "all is well"))
    world.run(until=iterations(4))
    messages = world.of_type(EventType.USER_MESSAGE)
    assert [event.content for event in messages] == [GOAL] * 4
    assert [event.iteration for event in messages] == [1, 2, 3, 4]


def test_an_iteration_is_recorded_from_goal_to_answer() -> None:
    world = World(spec(), Answers(call("look"), "all is well"))
    world.run(until=iterations(1))
    assert world.types() == [
        "loop_started", "iteration_started", "user_message", "model_request", "model_response", "tool_call",
        "tool_result", "model_request", "model_response", "agent_response", "iteration_finished",
    ]  # fmt: skip
    end = world.log[-1]
    assert end.content["outcome"] == Outcome.COMPLETED
    assert end.content["result"] == "all is well"
    assert end.content["totals"] == {
        "iterations": 1, "model_calls": 2, "tool_calls": 1, "input_tokens": 0, "output_tokens": 0,
    }  # fmt: skip


def test_the_model_sees_goal_instructions_and_the_steps_of_this_iteration() -> None:
    world = World(spec(), Answers(call("look", path="/"), "fine"))
    state = world.run(until=lambda state: bool(state.turns) and not state.pending)
    messages = loop.prompt(state, instructions="Be brief.")
    assert [(message.role, message.text) for message in messages] == [
        ("system", "Be brief."), ("user", GOAL), ("assistant", ""), ("tool", "done in 1"),
    ]  # fmt: skip
    assert messages[2].calls[0].arguments == {"path": "/"}
    assert messages[3].call_id == "call_1"


def test_later_iterations_get_a_digest_that_does_not_grow_with_their_number() -> None:
    world = World(spec(), Answers("x" * 5000))
    world.run(until=iterations(50))
    state = world.run(until=lambda state: state.status.open and state.status.iteration == 51)
    text = loop.prompt(state, instructions="")[0].text
    assert text.startswith(GOAL)
    assert "iteration 51" in text and "iteration 50, Completed: xxx" in text and "iteration 45," not in text
    assert len(text) < 3000


def test_the_pause_is_counted_from_the_end_of_an_iteration() -> None:
    world = World(spec(interval_seconds=60), Answers("done"), step_seconds=45)
    world.run(until=iterations(3))
    starts = [event.time for event in world.of_type(EventType.ITERATION_STARTED)]
    assert [later - earlier for earlier, later in pairwise(starts)] == [105, 105]


def test_steps_run_out_and_end_the_iteration_but_not_the_loop() -> None:
    world = World(spec(max_steps=3), Answers(call("look")))
    world.run(until=iterations(2))
    ends = world.of_type(EventType.ITERATION_FINISHED)
    assert [event.content["outcome"] for event in ends] == [Outcome.STEPS_EXHAUSTED] * 2
    assert world.types(EventType.MODEL_RESPONSE) == ["model_response"] * 6
    assert "3 model calls" in world.of_type(EventType.AGENT_RESPONSE)[0].content


def test_an_iteration_that_takes_too_long_is_recorded_as_timed_out_and_the_next_one_comes() -> None:
    world = World(spec(max_iteration_seconds=5), Answers(call("look"), "late"), step_seconds=6)
    world.run(until=iterations(1))
    assert world.log[-1].type == EventType.ITERATION_TIMED_OUT
    assert "5 s" in world.log[-1].content["error"]
    world.step_seconds = 0
    state = world.run(until=iterations(2))
    assert state.status.iteration == 2 and state.status.last_outcome == Outcome.COMPLETED


def test_errors_back_off_up_to_a_cap_and_the_first_success_ends_that() -> None:
    assert [loop.pause(0, failures) for failures in (0, 1, 2, 3, 8, 9, 10, 10_000)] == [0, 1, 2, 4, 128, 256, 300, 300]
    assert loop.pause(3600, 4) == 3600, "an interval longer than the back-off stays"


def test_a_failed_iteration_is_an_event_with_its_error_and_counts() -> None:
    world = World(spec(), Answers("fine"))
    state = world.run(until=lambda state: state.status.open)
    for event in loop.failed(state, "the model server is down", world.now):
        state = world._record(state, event)
    assert world.types()[-2:] == ["error", "iteration_failed"]
    assert (state.status.failures, state.status.last_error) == (1, "the model server is down")
    assert state.status.next_run_at == world.now + 1
    state = world.run(until=iterations(2))
    assert (state.status.iteration, state.status.failures, state.status.last_error) == (2, 0, "")


def test_a_process_that_takes_up_a_failing_loop_tries_soon_instead_of_waiting_the_back_off_out() -> None:
    failure = {"outcome": "Failed", "error": "the key is wrong", "failures": 8}
    state = loop.begin(spec())
    for event in (
        Event(EventType.ITERATION_STARTED, {}, run=state.spec.run, iteration=8, time=1000.0),
        Event(EventType.ITERATION_FAILED, failure, run=state.spec.run, iteration=8, time=1000.0),
    ):
        state = loop.fold(state, event)
    assert loop.due_at(state) == 1128
    taken_up = loop.fold(state, Event(EventType.LOOP_STARTED, {}, run=state.spec.run, time=1010.0))
    assert loop.due_at(taken_up) == loop.resumes_at(state) == 1000


def test_suspension_takes_effect_at_the_next_step_and_is_on_record() -> None:
    world = World(spec(), Answers(call("look"), "fine"))
    world.suspend_at = lambda state: state.steps == 1 and world.now < 1010
    world.run(until=iterations(1))
    types = world.types()
    assert types.index("paused") == types.index("model_response") + 1
    assert types.index("resumed") == types.index("paused") + 1
    assert types.index("tool_call") > types.index("resumed")


def test_a_suspended_loop_starts_no_iteration() -> None:
    world = World(spec(), Answers("fine"))
    world.suspend_at = lambda state: True
    state = world.run(until=lambda state: world.now > 1100)
    assert state.status.phase is LoopPhase.PAUSED
    assert world.types() == ["loop_started", "paused"]


def test_the_time_an_iteration_was_suspended_does_not_count_against_its_limit() -> None:
    world = World(spec(max_iteration_seconds=5), Answers(call("look"), "fine"))
    world.suspend_at = lambda state: state.steps == 1 and world.now < 1500
    state = world.run(until=iterations(1))
    assert state.status.last_outcome == Outcome.COMPLETED


def test_a_changed_goal_ends_the_open_iteration_and_the_next_works_at_it() -> None:
    world = World(spec("old"), Answers(call("look"), "fine"))
    world.run(until=lambda state: state.steps == 1)
    world.spec = spec("new")
    world.run(until=iterations(2))
    assert [event.content for event in world.of_type(EventType.USER_MESSAGE)] == ["old", "new"]
    assert [event.content["outcome"] for event in world.of_type(EventType.ITERATION_FINISHED)] == [
        Outcome.SUPERSEDED,
        Outcome.COMPLETED,
    ]
    assert world.calls[-1:] == [] or world.calls[-1][1] == 2, "calls of the superseded iteration are not made"


def test_a_chat_request_is_over_after_one_iteration() -> None:
    world = World(RunSpec("hi", "chat_1", repeat=Repeat.ONCE), Answers(call("look"), "hello"))
    state = world.run(until=lambda state: False)
    assert loop.over(state) and state.status.last_response == "hello"
    assert world.types(EventType.ITERATION_STARTED) == ["iteration_started"]
