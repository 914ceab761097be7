"""An agent talks to a real OpenAI-compatible server in a process of its own, directly and through the model proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.processes import ECHO, Processes, Running, agent_env, environment, eventually

pytestmark = pytest.mark.process
KEY = "sk-canary-4711"


@pytest.fixture
def model(processes: Processes) -> Running:
    return processes.openai()


@pytest.fixture(scope="module")
def echo() -> Iterator[Running]:
    started = Processes()
    yield started.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    started.close()


def chat(agent: Running, text: str, **more: Any) -> Any:
    return agent.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more})


def text_of(reply: Any) -> str:
    """The text of a streamed answer, without the progress objects."""
    text = ""
    for line in reply.text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                part = choice["delta"].get("content") or ""
                text += "" if part.startswith('{"type": "progress"') else part
    return text


def test_it_calls_tools_the_native_way_and_counts_tokens(processes: Processes, model: Running, echo: Running) -> None:
    agent = processes.start("agent", agent_env(mcp={"e": echo.url}, MODEL_API_URL=model.url, MODEL_NAME="m"))
    reply = chat(agent, "hello there").json
    assert reply["choices"][0]["message"]["content"] == "The tool said: Echo: hello there"
    assert reply["usage"]["completion_tokens"] == 14 and reply["usage"]["prompt_tokens"] == 2 + 4
    first, second = (request["body"] for request in model.get("/requests").json)
    assert first["model"] == "m" and first["tools"][0]["function"]["name"] == "echo"
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][2]["tool_calls"][0]["id"] == second["messages"][3]["tool_call_id"] == "call_a"


def test_a_stream_carries_the_models_own_pieces(processes: Processes, model: Running, echo: Running) -> None:
    agent = processes.start("agent", agent_env(mcp={"e": echo.url}, MODEL_API_URL=model.url, MODEL_NAME="m"))
    reply = chat(agent, "hello there", stream=True)
    assert text_of(reply) == "The tool said: Echo: hello there"
    assert reply.text.count("data: ") > 6
    assert all(request["body"]["stream"] for request in model.get("/requests").json)


def test_a_session_remembers_what_was_said(processes: Processes, model: Running) -> None:
    agent = processes.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m"))
    session = chat(agent, "one").json["id"]
    chat(agent, "two", session_id=session)
    said = [(m["role"], m["content"]) for m in model.get("/requests").json[-1]["body"]["messages"][1:]]
    assert said == [("user", "one"), ("assistant", "You said: one"), ("user", "two")]


def test_a_model_without_native_tools_is_told_of_them_in_words(
    processes: Processes, model: Running, echo: Running
) -> None:
    env = agent_env(mcp={"e": echo.url}, MODEL_API_URL=model.url, MODEL_NAME="m", TOOL_CALL_MODE="string")
    agent = processes.start("agent", env)
    wanted = '{"tool": "echo", "arguments": {"message": "hi"}}'
    # The server answers "You said: <text>", so the call comes fenced in text.
    reply = chat(agent, f"```json\n{wanted}\n```").json
    bodies = [request["body"] for request in model.get("/requests").json]
    assert "tools" not in bodies[0] and '"name": "echo"' in bodies[0]["messages"][0]["content"]
    assert "Result of the tool call call_echo:\nEcho: hi" in bodies[1]["messages"][-1]["content"]
    assert "Echo: hi" in reply["choices"][0]["message"]["content"]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_upstream_error_is_an_error_of_the_request_and_an_event(
    processes: Processes, model: Running, streamed: bool
) -> None:
    agent = processes.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m"))
    model.post("/trouble", {"status": 500})
    reply = chat(agent, "hello", stream=streamed)
    assert reply.status == (200 if streamed else 502)
    assert "500: trouble was asked for" in reply.text and "[DONE]" not in reply.text
    assert agent.get("/memory/events?type=error&since=0").json["total"] == 1
    assert chat(agent, "hello").status == 200


def test_a_stream_that_breaks_off_is_an_error_not_half_an_answer(processes: Processes, model: Running) -> None:
    agent = processes.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m"))
    model.post("/trouble", {"break": True})
    reply = chat(agent, "hello", stream=True)
    assert "broke off" in reply.text and "[DONE]" not in reply.text
    assert agent.get("/memory/events?type=agent_response&since=0").json["total"] == 0


def test_the_loop_backs_off_while_the_model_is_down_and_recovers(processes: Processes, model: Running) -> None:
    model.post("/trouble", {"status": 503, "times": 2})
    agent = processes.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m", AUTONOMOUS_GOAL="Go."))
    eventually(lambda: agent.get("/loop").json["totals"]["iterations"] >= 4, "it goes on")
    page = agent.get("/memory/events?type=iteration_failed,iteration_finished&since=0").json["events"]
    assert [event["event_type"] for event in page[:3]] == ["iteration_failed", "iteration_failed", "iteration_finished"]
    assert [event["metadata"]["iteration"] for event in page[:3]] == [1, 2, 3]
    assert page[0]["content"]["failures"] == 1 and page[1]["content"]["failures"] == 2
    assert "503" in page[1]["content"]["error"]


def test_later_iterations_show_the_model_the_goal_and_a_digest(processes: Processes, model: Running) -> None:
    agent = processes.start("agent", agent_env(MODEL_API_URL=model.url, MODEL_NAME="m", AUTONOMOUS_GOAL="Watch it."))
    eventually(lambda: agent.get("/loop").json["iteration"] >= 3, "the third iteration")
    third = model.get("/requests").json[2]["body"]["messages"]
    assert [message["role"] for message in third] == ["system", "user"]
    assert third[1]["content"].startswith("Watch it.\n") and "iteration 2, Completed: You said:" in third[1]["content"]


def test_through_the_proxy_with_its_key_and_its_names(processes: Processes, tmp_path: Path, echo: Running) -> None:
    model = processes.openai("--key", KEY)
    proxy = processes.start("modelapi", environment(PROXY_API_BASE=model.url, PROXY_API_KEY=KEY))
    env = agent_env(tmp_path, mcp={"e": echo.url}, MODEL_API_URL=proxy.url, MODEL_NAME="m", AUTONOMOUS_GOAL="Go.")
    agent = processes.start("agent", env)
    assert text_of(chat(agent, "hello", stream=True)) == "The tool said: Echo: hello"
    assert all(request["authorized"] for request in model.get("/requests").json)


def test_a_value_that_is_a_secret_never_reaches_the_log(processes: Processes, tmp_path: Path, model: Running) -> None:
    env = agent_env(tmp_path, MODEL_API_URL=model.url, MODEL_NAME="m", DB_PASSWORD=KEY)
    agent = processes.start("agent", env)
    chat(agent, f"my password is {KEY}, keep it")
    page = agent.get("/memory/events").json["events"]
    assert page[0]["content"] == "my password is [redacted], keep it"
    assert agent.terminate() == 0
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes(), file.name
    said = agent.log
    assert KEY not in said and "iteration 1: Completed" in said


def test_an_error_that_holds_a_secret_is_logged_without_it(processes: Processes) -> None:
    env = agent_env(MODEL_API_URL=f"http://127.0.0.1:9/{KEY}", MODEL_NAME="m", UPSTREAM_TOKEN=KEY)
    agent = processes.start("agent", env)
    assert chat(agent, "hello").status == 502
    assert agent.terminate() == 0
    said = agent.log
    assert KEY not in said and "[redacted]" in said


def test_without_a_model_it_says_what_is_missing(processes: Processes) -> None:
    agent = processes.start("agent", agent_env())
    reply = chat(agent, "hello")
    assert reply.status == 502 and "MODEL_API_URL is not set" in reply.json["error"]["message"]


def test_a_dead_tool_server_is_told_to_the_model_and_found_again(processes: Processes, model: Running) -> None:
    echo = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    agent = processes.start("agent", agent_env(mcp={"e": echo.url}, MODEL_API_URL=model.url, MODEL_NAME="m"))
    assert "Echo: one" in chat(agent, "one").text
    echo.kill()
    assert "MCP server e does not answer" in chat(agent, "two").json["choices"][0]["message"]["content"]
    port = echo.url.rpartition(":")[2]
    processes.start("mcp", {**environment(MCP_TOOLS_STRING=ECHO), "PORT": port})
    assert "Echo: three" in chat(agent, "three").text
    assert [skill["name"] for skill in agent.get("/.well-known/agent.json").json["skills"]] == ["echo"]


def test_a_tool_server_that_comes_later_is_found_without_a_restart(processes: Processes, tmp_path: Path) -> None:
    early = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    port = early.url.rpartition(":")[2]
    early.kill()
    agent = processes.start("agent", agent_env(mcp={"e": early.url}, DEBUG_MOCK_RESPONSES="hm"))
    assert agent.get("/.well-known/agent.json").json["skills"] == []
    processes.start("mcp", {**environment(MCP_TOOLS_STRING=ECHO), "PORT": port})
    assert [skill["name"] for skill in agent.get("/.well-known/agent.json").json["skills"]] == ["echo"]
