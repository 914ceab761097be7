"""Events on the wire, and the status that is their fold."""

from __future__ import annotations

import json

from kaos_ext.model.events import Event, EventType
from kaos_ext.model.loop_state import LoopPhase, LoopState, Totals, fold


def folded(*events: Event) -> LoopState:
    state = LoopState()
    for event in events:
        state = fold(state, event)
    return state


def at(seq: int, type: str, content: object = "", **more: object) -> Event:
    return Event(type, content, seq, 1000.0 + seq, "session_1", "loop", **more)  # type: ignore[arg-type]


def test_an_event_survives_the_wire() -> None:
    event = at(7, EventType.TOOL_CALL, {"tool": "x", "arguments": {}}, iteration=3, step=1, data={"call_id": "c"})
    wire = json.loads(json.dumps(event.to_json()))
    assert wire["event_id"] == "event_00000007" and wire["metadata"]["session_id"] == "session_1"
    assert Event.from_json(wire) == event


def test_an_event_of_a_foreign_agent_and_of_a_later_version_can_be_read() -> None:
    foreign = Event.from_json({"event_id": "event_1", "event_type": "hologram", "content": 5, "metadata": {}})
    assert (foreign.type, foreign.content, foreign.seq, foreign.run) == ("hologram", 5, 0, "")
    assert folded(at(1, "hologram")).phase is LoopPhase.IDLE


def test_the_status_survives_the_wire() -> None:
    state = folded(
        at(1, EventType.LOOP_STARTED, {"goal": "g", "interval_seconds": 5}),
        at(2, EventType.ITERATION_STARTED, {"goal": "g"}, iteration=1),
        at(3, EventType.MODEL_RESPONSE, {"usage": {"prompt_tokens": 10, "completion_tokens": 3}}, iteration=1),
    )
    assert LoopState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert state.totals == Totals(model_calls=1, input_tokens=10, output_tokens=3)
    assert state.phase is LoopPhase.RUNNING and state.open


def test_an_event_seen_twice_counts_once() -> None:
    answer = at(3, EventType.MODEL_RESPONSE, {"usage": {}})
    assert folded(answer, answer).totals.model_calls == 1


def test_a_fold_may_begin_at_the_end_of_an_iteration() -> None:
    totals = {"iterations": 41, "model_calls": 82, "tool_calls": 41}
    content = {"outcome": "Failed", "error": "no", "failures": 9, "totals": totals, "duration_seconds": 2.5}
    state = folded(at(500, EventType.ITERATION_FAILED, content, iteration=41))
    assert (state.iteration, state.failures, state.totals.model_calls) == (41, 9, 82)
    assert (state.last_outcome, state.last_error, state.last_duration_seconds) == ("Failed", "no", 2.5)


def test_events_of_other_runs_change_nothing() -> None:
    other = Event(EventType.ITERATION_STARTED, {}, 9, 1000.0, "s", "task_1", 1)
    assert folded(other) == LoopState()
