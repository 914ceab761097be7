"""`kaos agent replay`: fetch the events of an iteration, run it again here, say whether it is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.kube.transport import Request
from kaos_ext.model.errors import NotFoundError
from kaos_ext.model.events import Event, EventType
from tests.commands.conftest import Machine
from tests.kube.fake import FakeResponse

DONE = {"text": "fine", "tool_calls": [], "usage": {}, "model": "m"}


def life(iterations: int, *, outcome: str = "Completed", chats: int = 0) -> list[Event]:
    """What an agent that answers at once writes down, chats of others in between."""
    start = {"goal": "watch", "interval_seconds": 0, "max_steps": 5, "max_iteration_seconds": 60}
    events = [Event(EventType.LOOP_STARTED, start)]
    for n in range(1, iterations + 1):
        totals = {"iterations": n, "model_calls": n, "tool_calls": 0, "input_tokens": 0, "output_tokens": 0}
        end = {"outcome": outcome, "result": "fine", "duration_seconds": 1.0, "next_at": None, "totals": totals}
        events += [
            Event(EventType.ITERATION_STARTED, {"goal": "watch"}, iteration=n),
            Event(EventType.USER_MESSAGE, "watch", iteration=n),
            Event(EventType.MODEL_REQUEST, {"messages": 2, "tools": []}, iteration=n, step=1),
            Event(EventType.USER_MESSAGE, "hello", session="other", run="chat_1", iteration=1),
            *(Event(EventType.ITERATION_FINISHED, {}, session="other", run=f"chat_{i}") for i in range(chats)),
            Event(EventType.MODEL_RESPONSE, DONE, iteration=n, step=1),
            Event(EventType.AGENT_RESPONSE, "fine", iteration=n, step=1),
            Event(EventType.ITERATION_FINISHED, end, iteration=n, step=1),
        ]
    return [
        Event(e.type, e.content, i, 1.8e9 + i, e.session or "s", e.run or "loop", e.iteration, e.step)
        for i, e in enumerate(events, 1)
    ]


@pytest.fixture
def agent(machine: Machine) -> list[Event]:
    """The events that the agent `a` remembers; it serves them in pages as a real one does."""
    events: list[Event] = []

    async def answer(request: Request, path: str) -> FakeResponse:
        assert path == "/memory/events"
        query = request.params
        types = query["type"].split(",")
        since, until = int(query.get("since", 0)), int(query.get("until", 10**9))
        found = [e for e in events if e.type in types and since < e.seq <= until]
        found = [e for e in found if query.get("session_id", e.session) == e.session]
        limit = min(3, int(query["limit"]))
        page = found[::-1][:limit] if query.get("order") == "desc" else found[:limit]
        return FakeResponse(200, json.dumps({"events": [event.to_json() for event in page]}).encode())

    machine.cluster.services["agent-a"] = answer
    machine.add("Agent", "a", {"config": {"autonomous": {"goal": "watch"}}}, phase="Ready", ready=True)
    return events


async def test_an_iteration_is_found_pages_back_and_is_the_same_again(machine: Machine, agent: list[Event]) -> None:
    agent += life(9)
    result = await machine.kaos("agent replay a --iteration 2")
    data: dict[str, Any] = result.data
    assert result.status == 0 and data["same"] and data["events"] == data["recorded"] == 6
    assert data["network_calls"] == 0 and data["model_calls"] == 1
    text = result.view.text()
    assert "the same again" in text and "6 of 6 the same" in text


async def test_what_was_said_to_the_agent_in_between_hides_nothing(machine: Machine, agent: list[Event]) -> None:
    agent += life(4, chats=20)
    data: dict[str, Any] = (await machine.kaos("agent replay a --iteration 4")).data
    assert data["same"] and not any("no longer on record" in what for what in data["unchecked"])


async def test_without_a_number_it_is_the_last_one(machine: Machine, agent: list[Event]) -> None:
    agent += life(3)[:-1]
    assert (await machine.kaos("agent replay a")).data["iteration"] == 2, "the third has not ended"


async def test_a_divergence_is_exit_status_1_and_says_where(machine: Machine, agent: list[Event]) -> None:
    agent += life(1, outcome="StepsExhausted")
    result = await machine.kaos("agent replay a --iteration 1")
    assert result.status == 1
    assert result.data["divergence"]["where"] == "content.outcome"
    assert "iteration 1 diverges at event 8" in str(result.failure), "what a cell raises"
    text = result.view.text()
    assert "diverges" in text and "StepsExhausted" in text and "Completed" in text


async def test_a_saved_recording_needs_no_agent(machine: Machine, agent: list[Event], tmp_path: Path) -> None:
    agent += life(2)
    file = tmp_path / "two.json"
    await machine.kaos(f"agent replay a --iteration 2 --save {file}")
    agent.clear()
    result = await machine.kaos(f"agent replay a --file {file}")
    assert result.status == 0 and result.data["iteration"] == 2


async def test_an_iteration_that_was_forgotten_is_said_so(machine: Machine, agent: list[Event]) -> None:
    agent += life(9)
    del agent[:31]
    with pytest.raises(NotFoundError, match="no iteration 2 on record any more: it keeps 6 to 9"):
        await machine.kaos("agent replay a --iteration 2")


async def test_an_iteration_that_is_not_there_is_said_so(machine: Machine, agent: list[Event]) -> None:
    agent += life(2)
    with pytest.raises(NotFoundError, match="no iteration 7 on record yet: the newest is 2"):
        await machine.kaos("agent replay a --iteration 7")
    agent.clear()
    with pytest.raises(NotFoundError, match="no iteration 7 on record: it has not begun any"):
        await machine.kaos("agent replay a --iteration 7")
    with pytest.raises(NotFoundError, match="has not finished an iteration"):
        await machine.kaos("agent replay a")
