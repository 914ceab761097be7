"""Whatever is wrong with what an agent works with is an event and a next step: never a dead loop."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.model.events import seconds_of
from tests.runtime.processes import Processes, Running, agent_env, environment, eventually, mocks, tool_call

pytestmark = pytest.mark.process

CHUNK = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "half"}}]}
SENT = "text/event-stream"


def whole(message: Any, **more: Any) -> str:
    return json.dumps({"choices": [{"message": message}], **more})


@pytest.fixture(scope="module")
def model(machine: Processes) -> Running:
    return machine.openai()


@pytest.fixture(scope="module")
def agent(machine: Processes, model: Running) -> Running:
    return machine.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m"))


def chat(agent: Running, *, stream: bool = False) -> Any:
    return agent.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}], "stream": stream})


def newest(agent: Running, *types: str) -> dict[str, Any]:
    event: dict[str, Any] = agent.get(f"/memory/events?type={','.join(types)}&limit=1").json["events"][-1]
    return event


@pytest.mark.parametrize(
    "raw",
    [
        "<html>Bad gateway</html>", "", "null", "[]", '"text"', "{}", '{"choices": []}', '{"choices": {}}',
        '{"choices": [null]}', '{"choices": [{}]}', whole(None), whole("text"), whole({"content": 7}),
        whole({"content": [3]}), whole({"tool_calls": 3}), whole({"tool_calls": ["call"]}),
        whole({"tool_calls": [{"function": "echo"}]}), whole({"content": "cut"})[:-9],
    ],
)  # fmt: skip
def test_an_answer_that_is_no_chat_completion_fails_the_iteration_and_shows_what_came(
    agent: Running, model: Running, raw: str
) -> None:
    model.post("/trouble", {"raw": raw})
    refused = chat(agent)
    assert refused.status == 502
    message = refused.json["error"]["message"]
    assert message.startswith("the model's answer is no chat completion: ") and raw[:20] in message
    failed = newest(agent, "iteration_failed")["content"]
    assert (failed["error"], failed["billed"]) == (message, True)
    assert chat(agent).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        "data: half", "data: [DO", "", "data: {}\n\n", f"data: {json.dumps(CHUNK)}\n\n",
        f"data: {json.dumps({'choices': 3})}\n\n", f"data: {json.dumps({'choices': ['x']})}\n\n",
        f"data: {json.dumps({'choices': [{'delta': {'tool_calls': ['x']}}]})}\n\n",
        f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [{'index': 'x'}]}}]})}\n\n",
        f"data: {json.dumps({'error': {'message': 'overloaded'}})}\n\n",
    ],
)  # fmt: skip
def test_a_stream_that_is_none_or_ends_too_early_is_an_error_not_half_an_answer(
    agent: Running, model: Running, raw: str
) -> None:
    model.post("/trouble", {"raw": raw, "type": SENT})
    reply = chat(agent, stream=True)
    assert "error" in json.loads(reply.text.strip().splitlines()[-1].removeprefix("data: "))
    assert newest(agent, "agent_response", "iteration_failed")["event_type"] == "iteration_failed"
    assert chat(agent, stream=True).text.strip().endswith("[DONE]")


def test_usage_that_makes_no_sense_is_no_trouble(agent: Running, model: Running) -> None:
    for usage in ("much", [1], {"prompt_tokens": "many", "completion_tokens": True, "total_tokens": -1}):
        model.post("/trouble", {"raw": whole({"content": "fine"}, usage=usage)})
        reply = chat(agent).json
        assert reply["choices"][0]["message"]["content"] == "fine" and reply["usage"]["total_tokens"] == 0


def test_text_that_is_no_unicode_is_kept_as_far_as_it_is(agent: Running, model: Running) -> None:
    model.post("/trouble", {"raw": '{"choices": [{"message": {"content": "half \\ud83d of it"}}]}'})
    assert chat(agent).json["choices"][0]["message"]["content"] == "half ? of it"
    assert newest(agent, "agent_response")["content"] == "half ? of it"


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_says_when_to_come_again_is_heeded_also_by_the_next_process(
    processes: Processes, model: Running, tmp_path: Path, form: str
) -> None:
    later = "40" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    env = agent_env(tmp_path, MODEL_API_URL=model.url, MODEL_NAME="m", AUTONOMOUS_GOAL="Go.")
    model.post("/trouble", {"status": 429, "headers": {"Retry-After": later}})
    first = processes.start("agent", env)
    state = eventually(lambda: (s := first.get("/loop").json)["failures"] and s, "it is told")
    failed = newest(first, "iteration_failed")
    assert 30 < failed["content"]["retry_after_seconds"] <= 40 and "answered 429" in state["last_error"]
    pause = seconds_of(state["next_run_at"]) - seconds_of(failed["timestamp"])
    assert 30 < pause <= 40.1, "the back-off alone would be one second"
    first.kill()
    second = processes.start("agent", env)
    again = eventually(lambda: second.get("/loop").json["next_run_at"], "it waits as well")
    assert abs(seconds_of(again) - seconds_of(state["next_run_at"])) < 1
    assert second.get("/loop").json["iteration"] == 1


def test_a_model_that_hangs_is_cut_off_at_the_iterations_time_and_the_loop_goes_on(
    processes: Processes, model: Running
) -> None:
    model.post("/trouble", {"silent": 30, "status": 500})
    env = agent_env(
        MODEL_API_URL=model.url, MODEL_NAME="m", AUTONOMOUS_GOAL="Go.", AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS="1",
    )  # fmt: skip
    agent = processes.start("agent", env)
    eventually(lambda: agent.get("/loop").json["last_outcome"] == "Completed", "the next one ends well")
    ends = agent.get("/memory/events?type=iteration_timed_out,iteration_finished&since=0&limit=2").json["events"]
    assert [(end["event_type"], end["metadata"]["iteration"]) for end in ends] == [
        ("iteration_timed_out", 1), ("iteration_finished", 2),
    ]  # fmt: skip
    assert 0.9 < ends[0]["content"]["duration_seconds"] < 3


@pytest.mark.parametrize(
    ("scope", "repeatable"),
    [("perIteration", True), ("perIteration", False), ("perTask", False), ("perDay", False), ("life", False)],
)
def test_a_tool_that_hangs_is_cut_off_when_the_budgets_seconds_are_spent_and_called_once(
    processes: Processes, tmp_path: Path, scope: str, repeatable: bool
) -> None:
    book = tmp_path / "book"
    source = (
        f"import time\n\ndef hang() -> str:\n    open({str(book)!r}, 'a').write('x')\n    time.sleep(30)\n"
        f"    return 'late'\n\nhang.read_only = {repeatable}\n"
    )
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=source))
    env = agent_env(
        mcp={"slow": server.url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("hang"), "ok"),
        AGENT_BUDGET=json.dumps({scope: {"wallSeconds": 1}}),
    )  # fmt: skip
    agent = processes.start("agent", env)
    task = agent.rpc("SendMessage", message={"text": "Wait."})["result"]
    assert task["status"] == task["status"] | {
        "state": "failed", "message": f"the budget {scope}.wallSeconds is used up",
    }  # fmt: skip
    assert book.read_text() == "x"
    unknown = agent.get("/memory/events?type=outcome_unknown").json["total"]
    assert unknown == (0 if repeatable else 1)
    server.kill()


# -- the file of events ------------------------------------------------------------------------------------------------


def torn(state: Path) -> None:
    """The end of the write-ahead file is missing, and the last page before that is garbage."""
    wal = state / "events.db-wal"
    size = wal.stat().st_size
    with wal.open("r+b") as file:
        file.truncate(size - 1000)
        file.seek(size - 6000)
        file.write(b"\xff" * 500)


def no_header(state: Path) -> None:
    folded(state)
    with (state / "events.db").open("r+b") as file:
        file.write(bytes(100))


def bad_pages(state: Path) -> None:
    folded(state)
    with (state / "events.db").open("r+b") as file:
        file.seek(12 * 4096)
        file.write(b"\xa5" * 4096 * 2)


def nothing_left(state: Path) -> None:
    folded(state)
    size = (state / "events.db").stat().st_size
    (state / "events.db").write_bytes(b"\x5a" * size)


def folded(state: Path) -> None:
    """The write-ahead file is part of the database."""
    connection = sqlite3.connect(state / "events.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize("damage", [torn, no_header, bad_pages, nothing_left])
def test_a_damaged_file_of_events_is_set_aside_and_the_loop_goes_on_from_what_can_be_read(
    processes: Processes, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES="hm", AUTONOMOUS_GOAL="Think.")
    first = processes.start("agent", env)
    before = eventually(lambda: (n := first.get("/loop").json["iteration"]) > 60 and n, "sixty iterations")
    first.kill()
    damage(tmp_path)
    second = processes.start("agent", env)
    now = eventually(lambda: (n := second.get("/loop").json["iteration"]) > 3 and n, "it goes on")
    eventually(lambda: second.get("/loop").json["iteration"] > now + 3, "and on")
    page = second.get("/memory/events?type=iteration_started&since=0&limit=1000").json["events"]
    numbers = [event["metadata"]["iteration"] for event in page]
    assert len(set(numbers)) == len(numbers) and numbers == sorted(numbers)
    salvaged = second.get("/memory/events?type=journal_salvaged&since=0").json["events"]
    if damage is torn:
        assert not salvaged and numbers[:before] == list(range(1, before + 1)), "no more than the end is missing"
        return
    (told,) = (event["content"] for event in salvaged)
    assert (tmp_path / told["file"]).exists()
    if damage is nothing_left:
        assert told["rows"] == 0 and numbers[0] == 1
        return
    assert told["rows"] > 100 and numbers[-1] > before
    assert told["lost"] == 0 or damage is bad_pages
    assert second.terminate() == 0
