"""The live view is a fold of the event stream: what it says after which events."""

from __future__ import annotations

from dataclasses import replace

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.views.agent import BARS, KEPT, SHOWN, AgentLive, Link
from tests.views.stream import GOAL, START, iterations


def after(count: int, **changes: object) -> AgentLive:
    view = AgentLive("auto-agent", "default")
    for event in iterations(count):
        view = view.with_event(event, event.time)
    return replace(view, **changes)  # type: ignore[arg-type]


def test_it_tells_iteration_phase_and_the_time_to_the_next() -> None:
    view = after(3).at(START + 2.4)
    assert view.status == "waiting"
    assert view.state.iteration == 3
    assert view.next_in is not None
    assert round(view.next_in, 1) == 0.6
    assert "iteration 3 · next in 0.6 s" in view.text()
    assert "0.6 s" in view.html()


def test_the_countdown_ends_at_now() -> None:
    assert "next in now" in after(1).at(START + 100).text()


def test_while_an_iteration_runs_no_next_one_is_promised() -> None:
    events = list(iterations(2))
    view = AgentLive("a", "default")
    for event in events[:-3]:
        view = view.with_event(event, event.time)
    assert view.status == "running"
    assert view.next_in is None


def test_the_goal_and_the_last_answer_are_shown_once() -> None:
    view = after(5)
    assert view.html().count(GOAL) == 1
    assert view.last_answer.startswith("System check complete.")


def test_a_tool_call_and_its_result_are_one_row() -> None:
    tools = [row for row in after(1).rows() if row.what == "tool echo"]
    assert len(tools) == 1
    assert tools[0].detail.endswith("→ Echo: checking system status")
    assert tools[0].took == "4 ms"


def test_two_calls_of_one_tool_in_one_step_keep_their_own_results() -> None:
    script = [
        Event(EventType.TOOL_CALL, {"tool": "t", "arguments": {"n": n}}, n, START, run=LOOP_RUN, iteration=1, step=1)
        for n in (1, 2)
    ] + [
        Event(EventType.TOOL_RESULT, {"tool": "t", "result": f"r{n}"}, n + 2, START, run=LOOP_RUN, iteration=1, step=1)
        for n in (1, 2)
    ]
    view = AgentLive("a", "default")
    for event in script:
        view = view.with_event(event, START)
    assert [row.detail for row in view.rows()] == ['{"n": 1} → r1', '{"n": 2} → r2']


def test_a_model_call_says_which_model_how_much_and_what_it_wants() -> None:
    details = [row.detail for row in after(1).rows() if row.what == "model"]
    assert details == ["gpt-4o · 412 → 38 tokens · wants echo", "gpt-4o · 480 → 21 tokens · answers"]


def test_a_failed_tool_is_red_and_says_why() -> None:
    call = Event(EventType.TOOL_CALL, {"tool": "t", "arguments": {}}, 1, START, run=LOOP_RUN, iteration=1, step=1)
    error = Event(
        EventType.TOOL_ERROR, {"tool": "t", "error": "no such file"}, 2, START, run=LOOP_RUN, iteration=1, step=1
    )
    (row,) = AgentLive("a", "d").with_event(call, START).with_event(error, START).rows()
    assert row.glyph == "✗"
    assert "no such file" in row.detail


def test_older_events_fold_away_and_are_counted() -> None:
    view = after(10)
    hidden = len(view.rows()) - SHOWN
    assert hidden > 0
    assert f"{hidden} earlier events" in view.html()
    assert f"{hidden} earlier events" in view.text()


def test_a_stream_without_end_is_bounded_and_still_counted() -> None:
    view = after(100)
    assert len(view.events) == KEPT
    assert view.forgotten == 100 * 10 - KEPT
    assert view.state.totals.iterations == 100
    assert len(view.bars) == BARS
    assert len(view.html()) < 60_000


def test_an_event_seen_twice_changes_nothing() -> None:
    view = after(2)
    again = view.with_event(view.events[-1], START)
    assert again.events == view.events
    assert again.state == view.state


def test_the_log_of_a_new_agent_of_the_same_name_begins_anew() -> None:
    view = after(3)
    (first, *_) = iterations(1, start=START + 1000)
    anew = view.with_event(first, START + 1000)
    assert len(anew.events) == 1
    assert anew.state.iteration == 1


def test_messages_of_others_do_not_change_the_loop() -> None:
    view = after(2)
    seq = view.events[-1].seq
    asked = Event(EventType.USER_MESSAGE, "Say hello", seq + 1, START + 2, "s2", "task_1")
    told = Event(EventType.AGENT_RESPONSE, "hello", seq + 2, START + 2, "s2", "task_1")
    changed = view.with_event(asked, START + 2).with_event(told, START + 2)
    assert changed.last_answer == view.last_answer
    assert "Say hello" in changed.html()


def test_a_failing_loop_says_how_often_and_why() -> None:
    view = after(1)
    seq = view.events[-1].seq
    for n in (1, 2):
        failed = {"error": "model is down", "duration_seconds": 1.0}
        view = view.with_event(
            Event(EventType.ITERATION_FAILED, failed, seq + n, START + n, "", LOOP_RUN, 1 + n), START
        )
    assert view.trouble == "failed 2 times in a row: model is down"
    assert "failed 2 times in a row" in view.html()


def test_without_events_it_says_what_is_waited_for_and_how_to_mend_it() -> None:
    view = AgentLive("a", "default").waiting("model gpt-9 is not served by api", "%kaos agent deploy a --model m")
    assert view.status == "connecting"
    assert "gpt-9" in view.text()
    assert "%kaos agent deploy a --model m" in view.html()


def test_an_event_ends_the_waiting() -> None:
    view = AgentLive("a", "default").waiting("no pod runs", "%kaos agent logs a")
    (first, *_) = iterations(1)
    assert "no pod runs" not in view.with_event(first, START).text()


def test_a_view_that_is_not_followed_any_more_says_as_of_when() -> None:
    assert "as of 08:00:05" in after(2, link=Link.ENDED).at(START + 5).html()


def test_what_was_drawn_can_be_drawn_again() -> None:
    assert after(3).at(START + 3).html() == after(3).at(START + 3).html()


def test_the_json_says_what_the_view_says() -> None:
    said = after(3).at(START + 2.4).json()
    assert said["iteration"] == 3
    assert said["state"] == "waiting"
    assert said["totals"]["tool_calls"] == 3
    assert [bar["iteration"] for bar in said["iterations"]] == [1, 2, 3]
