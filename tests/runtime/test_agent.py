"""An agent as its clients see it: loop, memory, card, A2A and chat, with mock responses and a real MCP server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.processes import (
    ECHO,
    Processes,
    Running,
    agent_env,
    environment,
    eventually,
    mocks,
    stream,
    tool_call,
)

pytestmark = pytest.mark.process

GOAL = "Use the echo tool to check system status and report the result"
ANSWER = "System check complete. Echo confirmed: checking system status."
MOCKS = mocks(tool_call("echo", message="checking system status"), ANSWER)


@pytest.fixture(scope="module")
def echo(machine: Processes) -> Running:
    return machine.start("mcp", environment(MCP_TOOLS_STRING=ECHO))


@pytest.fixture(scope="module")
def agent(machine: Processes, echo: Running, tmp_path_factory: pytest.TempPathFactory) -> Running:
    env = agent_env(
        tmp_path_factory.mktemp("state"), mcp={"auto-echo": echo.url}, DEBUG_MOCK_RESPONSES=MOCKS,
        AUTONOMOUS_GOAL=GOAL, AUTONOMOUS_INTERVAL_SECONDS="1", POD_NAMESPACE="autonomous-example",
    )  # fmt: skip
    return machine.start("agent", env)


def events(agent: Running, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.get(f"/memory/events?{query}").json["events"]
    return found


def test_the_loop_leaves_the_memory_events_that_the_published_example_looks_for(agent: Running) -> None:
    eventually(lambda: agent.get("/loop").json["iteration"] >= 2, "the second iteration")
    body = agent.get("/memory/events").json
    assert body["agent"] == "auto-agent" and body["total"] == len(body["events"]) >= 2
    kinds = [event["event_type"] for event in body["events"]]
    assert kinds[:4] == ["user_message", "tool_call", "tool_result", "agent_response"]
    contents = [event["content"] for event in body["events"][:4]]
    assert contents == [
        GOAL,
        {"tool": "echo", "arguments": {"message": "checking system status"}},
        {"tool": "echo", "result": "Echo: checking system status"},
        ANSWER,
    ]
    first = body["events"][0]
    assert first["event_id"].startswith("event_") and first["timestamp"].endswith("+00:00")


def test_the_card_lists_the_tools_under_every_name_it_has(agent: Running) -> None:
    for path in ("agent-card.json", "agent.json", "agent"):
        card = agent.get(f"/.well-known/{path}").json
        assert "jsonrpc" in card["supportedProtocols"]
        assert [skill["name"] for skill in card["skills"]] == ["echo"]
        assert card["url"] == "http://agent-auto-agent.autonomous-example.svc.cluster.local:8000"


def test_the_tools_say_what_they_take(agent: Running) -> None:
    tool = agent.get("/tools").json["tools"][0]
    assert tool["description"] == "Echo the provided message back."
    assert tool["parameters_json_schema"]["required"] == ["message"]


def test_a_message_by_a2a_is_answered_while_the_loop_runs(agent: Running) -> None:
    message = {"role": "user", "parts": [{"type": "text", "text": "Say hello via A2A"}]}
    reply = agent.rpc("SendMessage", message=message)
    task = reply["result"]
    assert task["status"]["state"] == "completed" and task["id"].startswith("task_")
    assert task["history"] == [
        {"role": "user", "parts": [{"type": "text", "text": "Say hello via A2A"}]},
        {"role": "agent", "parts": [{"type": "text", "text": ANSWER}]},
    ]
    assert [note["type"] for note in task["events"]] == ["task.submitted", "task.working", "task.completed"]
    assert agent.rpc("GetTask", id=task["id"])["result"] == task
    assert agent.rpc("CancelTask", id=task["id"])["result"] == task, "a finished task is returned unchanged"
    assert agent.rpc("ListTasks")["result"]["tasks"][0] == task


@pytest.mark.parametrize("method", ["SendMessage", "tasks/send", "message/send"])
def test_each_task_starts_the_mock_responses_from_the_first(agent: Running, method: str) -> None:
    reply = agent.rpc(method, message={"text": "again"}, sessionId="session_given")
    session = reply["result"]["sessionId"]
    assert session == "session_given"
    assert reply["result"]["history"][-1]["parts"][0]["text"] == ANSWER
    last = [event["event_type"] for event in events(agent, f"session_id={session}")][-4:]
    assert last == ["user_message", "tool_call", "tool_result", "agent_response"]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"{", -32700, "Parse error"),
        (b"[]", -32600, "Invalid request"),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "Nonsense"}', -32601, "Method not found: Nonsense"),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "SendMessage"}', -32602, "Missing required 'message' parameter"),
        (
            b'{"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": {"message": {"parts": []}}}',
            -32602,
            "Message must contain text content",
        ),
        *(
            (
                json.dumps(
                    {
                        "jsonrpc": "2.0",
                        "id": 7,
                        "method": "SendMessage",
                        "params": {
                            "message": {"text": "x"},
                            "configuration": {"mode": "autonomous", "budgets": budgets},
                        },
                    }
                ).encode(),
                -32602,
                next(iter(budgets)),
            )
            for budgets in (
                {"maxIterations": 0.5},
                {"maxToolCalls": -1},
                {"maxRuntimeSeconds": "long"},
                {"maxIterations": float("nan")},
                {"intervalSeconds": float("inf")},
                {"maxToolCalls": True},
            )
        ),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "GetTask"}', -32602, "Missing required 'id' parameter"),
        (b'{"jsonrpc": "2.0", "id": 7, "method": "GetTask", "params": {"id": "task_no"}}', -32001, "Task not found"),
    ],
)
def test_a2a_refuses_with_the_published_codes(agent: Running, body: bytes, code: int, words: str) -> None:
    reply = agent.request("POST", "/", body, {})
    assert reply.status == 200
    assert reply.json["error"]["code"] == code and words in reply.json["error"]["message"]


def test_a_chat_completion_names_its_session_and_goes_on_in_it(agent: Running) -> None:
    body = {"model": "any", "messages": [{"role": "user", "content": "hello"}]}
    first = agent.post("/v1/chat/completions", body).json
    assert first["object"] == "chat.completion" and first["id"].startswith("session_") and first["model"] == "any"
    assert first["choices"][0]["message"] == {"role": "assistant", "content": ANSWER}
    agent.post("/v1/chat/completions", body, **{"X-Session-ID": first["id"]})
    asked = [e for e in events(agent, f"session_id={first['id']}") if e["event_type"] == "user_message"]
    assert len(asked) == 2
    assert first["id"] in agent.get("/memory/sessions").json["sessions"]


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": [{"role": "system", "content": "x"}]}])
def test_a_chat_completion_without_a_user_message_is_refused(agent: Running, body: dict[str, Any]) -> None:
    assert agent.post("/v1/chat/completions", body).status == 400


def test_a_streamed_chat_shows_tool_calls_as_progress_and_then_the_text(agent: Running) -> None:
    body = {"stream": True, "messages": [{"role": "user", "content": "hello"}]}
    reply = agent.post("/v1/chat/completions", body)
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    progress = json.loads(texts[1])
    assert progress == {"type": "progress", "step": 1, "max_steps": 5, "action": "tool_call", "target": "echo"}
    assert "".join(texts[2:]) == ANSWER and len(texts) > 5
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_memory_returns_the_newest_whole_iterations(agent: Running) -> None:
    eventually(lambda: agent.get("/loop").json["iteration"] >= 4, "the fourth iteration")
    session = agent.get("/loop").json["session_id"]
    for limit in (4, 5, 6, 7, 9):
        page = events(agent, f"limit={limit}&session_id={session}")
        assert len(page) <= limit
        assert page[0]["event_type"] == "user_message", f"limit {limit} begins in the middle of an iteration"


def test_memory_pages_from_a_place_in_the_log_without_gap_or_double(agent: Running) -> None:
    eventually(lambda: agent.get("/loop").json["iteration"] >= 3, "the third iteration")
    pages, since = [], 0
    while page := events(agent, f"since={since}&limit=3"):
        pages += page
        since = page[-1]["seq"]
        if len(pages) >= 12:
            break
    whole = events(agent, f"since=0&limit={len(pages)}")
    assert pages == whole
    newest_first = events(agent, f"order=desc&limit=100&until={since}")
    assert newest_first == newest_first[:] and newest_first[0]["seq"] == since
    only = events(agent, "type=iteration_finished&limit=2&since=0")
    assert [event["event_type"] for event in only] == ["iteration_finished"] * 2


@pytest.mark.parametrize("query", ["limit=many", "since=-1", "order=sideways"])
def test_memory_says_what_is_wrong_with_a_query(agent: Running, query: str) -> None:
    reply = agent.get(f"/memory/events?{query}")
    assert reply.status == 400 and query.split("=")[0] in reply.json["error"]["message"]


def test_the_event_stream_sends_all_types_and_goes_on_where_a_reader_was_cut(agent: Running) -> None:
    with stream(f"{agent.url}/memory/events/stream?since=0") as frames:
        seen = [next(frames) for _ in range(14)]
    kinds = [frame["event"] for frame in seen]
    assert kinds[:4] == ["session_started", "loop_started", "iteration_started", "user_message"]
    assert {"model_request", "model_response", "iteration_finished"} <= set(kinds)
    assert [frame["data"]["seq"] for frame in seen] == [int(frame["id"]) for frame in seen]
    with stream(f"{agent.url}/memory/events/stream", **{"Last-Event-ID": seen[4]["id"]}) as frames:
        assert [next(frames)["id"] for _ in range(5)] == [frame["id"] for frame in seen[5:10]]


def test_the_event_stream_without_a_place_sends_only_what_comes(agent: Running) -> None:
    last = events(agent, "limit=1")[-1]["seq"]
    with stream(f"{agent.url}/memory/events/stream") as frames:
        assert next(frames)["data"]["seq"] > last


def test_the_loop_tells_where_it_stands(agent: Running) -> None:
    def waiting() -> Any:
        state = agent.get("/loop").json
        return state if state["state"] == "waiting" else None

    state = eventually(waiting, "the loop waits")
    assert state["goal"] == GOAL and state["interval_seconds"] == 1
    assert state["last_outcome"] == "Completed" and state["last_duration_seconds"] < 5
    assert state["next_run_at"] and state["iteration_started_at"] is None
    totals = state["totals"]
    assert totals["iterations"] == state["iteration"]
    assert totals["model_calls"] == 2 * totals["tool_calls"] == 2 * totals["iterations"], "the mocks run on in order"


def test_strangers_are_not_served(agent: Running) -> None:
    assert agent.get("/loop", Host="evil.example.com").status == 421
    assert agent.get("/loop", Origin="https://evil.example.com").status == 403
    assert agent.get("/loop", Host="agent-auto-agent.autonomous-example.svc.cluster.local:8000").status == 200


def test_an_agent_without_memory_stores_all_the_same_but_shows_nothing(processes: Processes, tmp_path: Path) -> None:
    agent = processes.start("agent", agent_env(tmp_path, DEBUG_MOCK_RESPONSES="hello", MEMORY_ENABLED="false"))
    assert agent.rpc("SendMessage", message={"text": "hi"})["result"]["status"]["state"] == "completed"
    assert agent.get("/memory/events").json["events"] == []
    assert agent.get("/loop").json["state"] == "idle"
