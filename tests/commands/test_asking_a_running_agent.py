"""status, memory, tools, invoke, watch and A2A over the agent's Service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from kaos_ext.commands.a2a import TaskRefusedError
from kaos_ext.commands.calling import ServiceError
from kaos_ext.kube.transport import Request, Unanswered
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.model.events import Event, EventType
from kaos_ext.model.loop_state import LoopState, Totals
from kaos_ext.views.agent import AgentLive
from tests.commands.conftest import GROUP, Machine, answering
from tests.kube.fake import FakeResponse, StreamResponse, status

CARD = {
    "name": "a",
    "supportedProtocols": ["jsonrpc"],
    "skills": [{"id": "echo", "name": "echo", "description": "Echo."}],
}


class Agent:
    """An agent's HTTP surface, scripted: JSON by path, and a stream of events in portions."""

    def __init__(self, machine: Machine, **paths: Any) -> None:
        self.asked: list[Request] = []
        self.answers: dict[str, Any] = {"/.well-known/agent.json": CARD, **paths}
        self.portions: list[list[Event]] = []
        machine.cluster.services["agent-a"] = self.answer
        machine.add("Agent", "a", {"config": {"autonomous": {"goal": "watch"}}}, phase="Ready", ready=True)

    async def answer(self, request: Request, path: str) -> FakeResponse:
        self.asked.append(request)
        if path == "/memory/events/stream":
            return StreamResponse(self._stream(int(request.params["since"])), "text/event-stream")
        if path not in self.answers:
            return FakeResponse(404, b'{"error": "no such path"}')
        return FakeResponse(200, json.dumps(self.answers[path]).encode())

    async def _stream(self, since: int) -> AsyncGenerator[bytes, None]:
        portion = self.portions.pop(0) if self.portions else []
        for event in portion:
            if event.seq > since:
                text = f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(event.to_json())}\n\n"
                yield text[:20].encode()
                yield text[20:].encode()
        if self.portions:
            raise Unanswered("the connection broke off")


def event(seq: int, kind: EventType, content: Any = "", iteration: int = 1) -> Event:
    return Event(kind, content, seq=seq, time=1.8e9 + seq, run="loop", session="s", iteration=iteration)


async def test_the_status_of_an_agent_is_its_raw_card(machine: Machine) -> None:
    loop = LoopState(goal="watch", iteration=4, last_outcome="Completed").to_json()
    Agent(machine, **{"/loop": loop})
    result = await machine.kaos("agent status a")
    assert result.data == CARD
    assert "echo" in result.view.text() and "Completed" in result.view.text()


async def test_an_agent_of_somebody_else_that_keeps_no_loop_has_a_status_too(machine: Machine) -> None:
    Agent(machine)
    assert (await machine.kaos("agent status a")).data == CARD


async def test_memory_is_the_raw_body_and_a_table(machine: Machine) -> None:
    events = [event(1, EventType.USER_MESSAGE, "go").to_json(),
              event(2, EventType.TOOL_CALL, {"tool": "echo", "arguments": {"x": 1}}).to_json()]  # fmt: skip
    agent = Agent(machine, **{"/memory/events": {"agent": "a", "events": events, "total": 2}})
    result = await machine.kaos("agent memory a --session-id s1 --limit 5")
    assert result.data["total"] == 2 and result.data["events"] == events
    assert agent.asked[0].params == {"limit": "5", "session_id": "s1"}
    assert 'echo {"x": 1}' in result.view.text()


async def test_memory_is_asked_for_a_part_of_it(machine: Machine) -> None:
    agent = Agent(machine, **{"/memory/events": {"agent": "a", "events": [], "total": 0}})
    await machine.kaos(
        "agent memory a --since 2026-01-31T12:00:00Z --until 77 --type paused --type resumed --order desc"
    )
    wanted = {"since": "2026-01-31T12:00:00Z", "until": "77", "type": "paused,resumed", "order": "desc"}
    assert agent.asked[0].params == {"limit": "100", **wanted}


async def test_tools_fall_back_to_the_skills_of_the_card(machine: Machine) -> None:
    Agent(machine)
    assert (await machine.kaos("agent tools a")).data == {
        "agent": "a",
        "tools": [{"name": "echo", "description": "Echo."}],
    }


async def test_invoke_prints_only_the_answer_and_passes_the_session_on(machine: Machine) -> None:
    answer = {"id": "s9", "choices": [{"message": {"role": "assistant", "content": "hello"}}]}
    agent = Agent(machine, **{"/v1/chat/completions": answer})
    result = await machine.kaos("agent invoke a -m hi --session s9")
    assert result.view.text() == "hello" and result.data == answer
    assert agent.asked[0].headers["X-Session-ID"] == "s9"


async def test_a_streamed_answer_comes_in_pieces_and_what_the_agent_does_is_progress(machine: Machine) -> None:
    progress = json.dumps({"type": "progress", "step": 1, "max_steps": 5, "action": "tool_call", "target": "echo"})
    pieces = [progress, "hel", "lo"]

    async def stream() -> AsyncGenerator[bytes, None]:
        for piece in pieces:
            yield f"data: {json.dumps({'choices': [{'delta': {'content': piece}}]})}\n\n".encode()
        yield b"data: [DONE]\n\n"

    async def answer(request: Request, path: str) -> FakeResponse:
        return StreamResponse(stream(), "text/event-stream")

    machine.add("Agent", "a")
    machine.cluster.services["agent-a"] = answer
    updates = [update async for update in machine.stream("agent invoke a -m hi --stream")]
    assert "".join(update.text() + update.end for update in updates) == "hello\n"
    assert machine.notes == ["step 1: tool_call echo"]


async def test_a_task_over_a2a_is_the_complete_response(machine: Machine) -> None:
    history = [{"role": "user", "parts": [{"type": "text", "text": "hi"}]},
               {"role": "agent", "parts": [{"type": "text", "text": "done"}]}]  # fmt: skip
    task = {"id": "task_1", "status": {"state": "completed"}, "history": history}
    agent = Agent(machine, **{"/": {"jsonrpc": "2.0", "id": 1, "result": task}})
    result = await machine.kaos("agent a2a send a --message hi --async -s s1")
    assert result.data["result"]["status"]["state"] == "completed" and result.view.text() == "done"
    assert json.loads(agent.asked[0].body or b"") == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendMessage",
        "params": {
            "message": {"role": "user", "parts": [{"type": "text", "text": "hi"}]},
            "contextId": "s1",
            "configuration": {"mode": "autonomous"},
        },
    }
    agent.answers["/"] = {"jsonrpc": "2.0", "id": 1, "result": {"count": 1, "tasks": [task]}}
    assert "task_1" in (await machine.kaos("agent a2a list a")).view.text()


async def test_a_refused_task_is_an_error_with_the_agents_reason(machine: Machine) -> None:
    error = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Task not found: t"}}
    Agent(machine, **{"/": error})
    with pytest.raises(TaskRefusedError, match="Task not found: t"):
        await machine.kaos("agent a2a get a -t t")


async def test_an_agent_that_does_not_answer_yet_says_why(machine: Machine) -> None:
    machine.add("Agent", "a", phase="Waiting", message="ModelAPI m is not ready")
    with pytest.raises(NotReadyError, match="does not answer yet: ModelAPI m is not ready"):
        await machine.kaos("agent status a")
    machine.add("Agent", "hidden", {"agentNetwork": {"expose": False}})
    with pytest.raises(NotReadyError, match="not exposed"):
        await machine.kaos("agent status hidden")


@pytest.mark.parametrize(
    ("value", "said"),
    [({"error": {"message": "upstream is down"}}, "upstream is down"), ({"detail": "nope"}, "nope"), ("x", "HTTP 502")],
)
async def test_an_error_of_the_agent_is_told_in_its_words(machine: Machine, value: Any, said: str) -> None:
    machine.add("Agent", "a")
    machine.cluster.services["agent-a"] = answering(value, 502)
    with pytest.raises(ServiceError, match=said) as caught:
        await machine.kaos("agent memory a")
    assert caught.value.status == 502 and caught.value.hint == "kaos agent logs a"


async def test_an_agent_whose_service_is_not_made_yet_says_so(machine: Machine) -> None:
    machine.add("Agent", "new")
    missing = status(404, "NotFound", 'services "agent-new" not found')
    machine.cluster.refuse = lambda request: missing if "/proxy" in request.path else None
    with pytest.raises(NotReadyError, match=r"^Agent new does not answer yet: its Service is not there yet$"):
        await machine.kaos("agent status new")


async def test_a_task_that_failed_says_why(machine: Machine) -> None:
    task = {"id": "task_1", "status": {"state": "failed", "message": "the model server answered 503"}}
    Agent(machine, **{"/": {"jsonrpc": "2.0", "id": 1, "result": task}})
    result = await machine.kaos("agent a2a send a --message hi")
    assert result.view.text() == "a: failed: the model server answered 503 (task_1)"
    assert result.status == 1, "a script can tell"
    assert str(result.failure) == "task task_1 of Agent a failed", "a cell is red"


async def test_a_stream_that_breaks_off_with_an_error_says_the_error(machine: Machine) -> None:
    Agent(machine)

    async def stream() -> AsyncGenerator[bytes, None]:
        yield b'data: {"error": {"message": "the model server answered 503", "type": "agent_error"}}\n\n'

    async def answer(request: Request, path: str) -> FakeResponse:
        return StreamResponse(stream(), "text/event-stream")

    machine.cluster.services["agent-a"] = answer
    with pytest.raises(ServiceError, match=r"^Agent a failed: the model server answered 503$"):
        async for _ in machine.stream("agent invoke a -m hi --stream"):
            pass


async def test_watching_goes_on_from_the_last_event_after_the_connection_broke(machine: Machine) -> None:
    agent = Agent(machine, **{"/loop": LoopState().to_json(), "/memory/events": {"events": []}})
    end = {"outcome": "Completed", "duration_seconds": 0.1, "totals": Totals(iterations=1).to_json()}
    agent.portions = [
        [event(1, EventType.ITERATION_STARTED, {"goal": "watch"}), event(2, EventType.USER_MESSAGE, "go")],
        [event(2, EventType.USER_MESSAGE, "go"), event(3, EventType.AGENT_RESPONSE, "done"),
         event(4, EventType.ITERATION_FINISHED, end)],
    ]  # fmt: skip
    updates = [update async for update in machine.stream("agent watch a --iterations 1")]
    seen = [update.data["seq"] for update in updates if update.data and "seq" in update.data]
    assert seen == [1, 2, 3, 4]
    assert any("broke off" in update.text() for update in updates)
    last = updates[-1].view
    assert isinstance(last, AgentLive) and last.state.iteration == 1 and last.state.last_response == "done"
    streams = [request for request in agent.asked if request.params.get("since")]
    assert [request.params["since"] for request in streams] == ["0", "2"]


async def test_watching_an_agent_that_starts_goes_on_the_moment_it_is_ready(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaos_ext.commands.watching.FIRST_BACKOFF", 60.0)
    monkeypatch.setattr("kaos_ext.commands.watching.LONGEST_BACKOFF", 60.0)
    item = machine.add("Agent", "a", {"config": {"autonomous": {"goal": "watch"}}}, message="ModelAPI m is not ready")
    known = [event(7, EventType.USER_MESSAGE, "go").to_json()]
    starting = {"phase": "Pending", "message": "Deployment ready replicas: 0/1"}
    steps = [
        lambda: machine.cluster.put(f"{GROUP}/agents/a", {**item, "status": starting}),
        lambda: Agent(machine, **{"/loop": LoopState().to_json(), "/memory/events": {"events": known}}),
    ]

    def next_step(request: Request) -> None:
        """Something happens each time that the Agent is followed."""
        if request.params.get("watch") and steps:
            asyncio.get_running_loop().call_soon(steps.pop(0))

    machine.cluster.refuse = next_step
    said = []
    async with asyncio.timeout(10), aclosing(machine.stream("agent watch a")) as updates:
        async for update in updates:
            said.append(update.text())
            if update.data and "seq" in update.data:
                break
    assert "ModelAPI m is not ready" in said[0] and "0/1" in said[1] and "go" in said[-1]


@pytest.mark.parametrize(("goal", "said"), [("watch", "its loop has not begun"), ("", "it waits for messages")])
async def test_an_agent_without_events_says_what_it_waits_for(machine: Machine, goal: str, said: str) -> None:
    Agent(machine, **{"/loop": LoopState(goal=goal).to_json(), "/memory/events": {"events": []}})
    updates = [update async for update in machine.stream("agent watch a --timeout 0.2")]
    assert said in updates[0].text()


async def test_watching_starts_with_what_is_remembered(machine: Machine) -> None:
    known = [event(7, EventType.USER_MESSAGE, "go"), event(8, EventType.AGENT_RESPONSE, "done")]
    agent = Agent(
        machine,
        **{"/loop": LoopState(iteration=5).to_json(), "/memory/events": {"events": [e.to_json() for e in known]}},
    )
    updates = [update async for update in machine.stream("agent watch a --timeout 0.3")]
    assert [update.data["seq"] for update in updates if update.data and "seq" in update.data] == [7, 8]
    first = updates[0].view
    assert isinstance(first, AgentLive) and first.state.iteration == 5
    assert next(r.params["since"] for r in agent.asked if "since" in r.params) == "8"
    page = next(r.params for r in agent.asked if r.path.endswith("/memory/events"))
    assert set(page["type"].split(",")) == set(EventType), "the same types as the stream that follows"


async def test_an_agent_that_lost_its_log_is_watched_anew(machine: Machine) -> None:
    def remembered(*seqs: int) -> dict[str, Any]:
        return {"events": [event(seq, EventType.USER_MESSAGE, f"event {seq}").to_json() for seq in seqs]}

    agent = Agent(machine, **{"/loop": LoopState().to_json(), "/memory/events": remembered(50)})

    async def another(since: int) -> AsyncGenerator[bytes, None]:
        """A stream that is asked for a place beyond its end begins at the beginning."""
        agent.answers["/memory/events"] = remembered(1, 2)
        first = 1 if since == 50 else 3
        for seq in range(first, 4):
            yield f"id: {seq}\ndata: {json.dumps(event(seq, EventType.USER_MESSAGE).to_json())}\n\n".encode()

    agent._stream = another  # type: ignore[method-assign]
    seen = []
    async with asyncio.timeout(10), aclosing(machine.stream("agent watch a")) as updates:
        async for update in updates:
            if update.data and "seq" in update.data:
                seen.append(update.data["seq"])
            if seen[-1:] == [3]:
                break
    assert seen == [50, 1, 2, 3]
    assert isinstance(update.view, AgentLive) and [each.seq for each in update.view.events] == [1, 2, 3]


async def test_waiting_for_iterations_counts_those_that_were_finished_before(machine: Machine) -> None:
    state = LoopState(totals=Totals(iterations=3), iteration=3)
    Agent(machine, **{"/loop": state.to_json(), "/memory/events": {"events": []}})
    result = await machine.kaos("agent wait a --iterations 3")
    assert "3 iterations" in result.view.text()
    with pytest.raises(NotReadyError, match=r"3 of 4 iterations after 0\.3 s"):
        await machine.kaos("agent wait a --iterations 4 --wait-timeout 0.3")


class Tools:
    """An MCP server over streamable HTTP: its answers as JSON, or as a stream that holds one."""

    def __init__(self, streams: bool) -> None:
        self.streams = streams
        self.sessions: list[str | None] = []

    async def answer(self, request: Request, path: str) -> FakeResponse:
        message = json.loads(request.body or b"")
        self.sessions.append(request.headers.get("Mcp-Session-Id"))
        if "id" not in message:
            return FakeResponse(202, b"")
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": "2025-06-18"},
            "tools/list": {"tools": [{"name": "echo", "description": "Echo."}]},
            "tools/call": {"content": [{"type": "text", "text": f"Echo: {message['params'].get('arguments')}"}]},
        }
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]})
        kind = "text/event-stream" if self.streams else "application/json"
        response = FakeResponse(
            200, f"event: message\ndata: {body}\n\n".encode() if self.streams else body.encode(), kind
        )
        response.headers = {**response.headers, "mcp-session-id": "m1"}
        return response


@pytest.mark.parametrize("streams", [True, False])
async def test_tools_of_a_server_are_listed_and_called(machine: Machine, streams: bool) -> None:
    tools = Tools(streams)
    machine.add("MCPServer", "e")
    machine.cluster.services["mcpserver-e"] = tools.answer
    assert (await machine.kaos("mcp invoke e")).data == {"tools": [{"name": "echo", "description": "Echo."}]}
    called = await machine.kaos("""mcp invoke e -t echo -a '{"message": "hi"}'""")
    assert called.view.text() == "Echo: {'message': 'hi'}"
    assert tools.sessions[:3] == [None, "m1", "m1"]
    with pytest.raises(KaosError, match="no tool `ehco`") as caught:
        await machine.kaos("mcp invoke e -t ehco")
    assert caught.value.hint == "did you mean `echo`?" and caught.value.exit_status == 2


async def test_a_model_is_asked_one_question(machine: Machine) -> None:
    answer = {"model": "gpt-4o", "choices": [{"message": {"content": "4"}}]}
    machine.add("ModelAPI", "m", {"mode": "Proxy", "proxyConfig": {"models": ["*"]}})
    machine.cluster.services["modelapi-m"] = answering(answer)
    assert (await machine.kaos("modelapi invoke m -m '2+2?' --model gpt-4o")).view.text() == "4"
    with pytest.raises(KaosError, match="say which"):
        await machine.kaos("modelapi invoke m -m '2+2?'")
