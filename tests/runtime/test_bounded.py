"""An agent within its limits: budgets that outlive its process, people who approve, owners who steer, what is kept."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kaos_ext.model.events import EventType
from tests.runtime.processes import ECHO, Processes, agent_env, environment, eventually, launch, mocks, tool_call

pytestmark = pytest.mark.process

ASKS = mocks(tool_call("echo", message="hi"), "done")
APPROVALS = json.dumps({"tools": ["ec*"]})


def loop(agent: Any) -> Any:
    return agent.get("/loop").json


def test_a_budget_for_life_stays_spent_through_a_kill(processes: Processes, tmp_path: Path) -> None:
    env = agent_env(
        tmp_path, AUTONOMOUS_GOAL="Look.", DEBUG_MOCK_RESPONSES=mocks("fine"),
        AGENT_BUDGET=json.dumps({"life": {"iterations": 3}}),
    )  # fmt: skip
    first = processes.start("agent", env)
    eventually(lambda: loop(first)["state"] == "stopped", "the budget is used up")
    first.kill()
    second = processes.start("agent", env)
    eventually(lambda: loop(second)["stop_reason"] == "life.iterations", "the next process says why as well")
    assert (loop(second)["iteration"], loop(second)["state"]) == (3, "stopped")
    assert loop(second)["budget"]["life"] == {
        "spent": loop(second)["budget"]["life"]["spent"] | {"iterations": 3},
        "limit": {"iterations": 3},
    }


def test_a_question_beyond_the_budget_is_refused_with_the_reason(processes: Processes, tmp_path: Path) -> None:
    env = agent_env(
        tmp_path, DEBUG_MOCK_RESPONSES=mocks("fine"), AGENT_BUDGET=json.dumps({"perDay": {"modelCalls": 1}})
    )
    agent = processes.start("agent", env)
    question = {"messages": [{"role": "user", "content": "hello"}]}
    assert agent.post("/v1/chat/completions", question).status == 200
    refused = agent.post("/v1/chat/completions", question)
    assert refused.status == 429 and "perDay.modelCalls" in refused.json["error"]["message"]
    task = agent.rpc("SendMessage", message={"parts": [{"type": "text", "text": "hello"}]})["result"]
    assert task["status"]["state"] == "failed" and "perDay.modelCalls" in task["status"]["message"]


def test_an_agent_in_which_nothing_happens_forgets_what_is_too_old(processes: Processes, tmp_path: Path) -> None:
    env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES=mocks("fine"), MEMORY_MAX_AGE_SECONDS="1")
    agent = processes.start("agent", env)
    agent.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "remember"}]})
    assert agent.get("/memory/events").json["total"] == 2
    eventually(lambda: agent.get("/memory/events").json["total"] == 0, "it is forgotten", 10)
    assert agent.terminate() == 0


def test_a_cost_limit_without_a_price_refuses_to_start(tmp_path: Path) -> None:
    env = agent_env(tmp_path, MODEL_NAME="gpt-x", AGENT_BUDGET=json.dumps({"perDay": {"cost": 1}}))
    process = launch("agent", env)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1 and "no price for the model 'gpt-x'" in said


def test_a_call_waits_for_a_person_through_a_kill_and_is_made_once_it_is_approved(
    processes: Processes, tmp_path: Path
) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    env = agent_env(
        tmp_path, mcp={"e": server.url}, AUTONOMOUS_GOAL="Echo.", AUTONOMOUS_INTERVAL_SECONDS="60",
        AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS="1", DEBUG_MOCK_RESPONSES=ASKS, AGENT_APPROVALS=APPROVALS,
    )  # fmt: skip
    first = processes.start("agent", env)
    eventually(lambda: loop(first)["state"] == "input-required", "it asks")
    first.kill()
    agent = processes.start("agent", env)
    eventually(lambda: loop(agent)["state"] == "input-required", "it still waits")
    (waiting,) = agent.get("/approvals").json["approvals"]
    assert (waiting["tool"], waiting["arguments"], waiting["run"]) == ("echo", {"message": "hi"}, "loop")
    for wrong in ({"decision": "perhaps"}, {"decision": ["approve"]}, {}, [], "approve"):
        assert agent.post("/approvals", wrong).status == 400
    assert agent.post("/approvals", {"decision": "approve", "id": "other"}).status == 404
    assert agent.post("/approvals", {"decision": "approve", "by": "ada"}).status == 200
    eventually(lambda: loop(agent)["last_outcome"] == "Completed", "it goes on")
    events = agent.get("/memory/events?type=approval_requested,approval_granted,tool_result").json["events"]
    assert [event["event_type"] for event in events] == ["approval_requested", "approval_granted", "tool_result"]
    assert events[1]["content"]["by"] == "ada"


@pytest.mark.parametrize(("word", "seen"), [("approve", "tool_result"), ("decline: no", "tool_error")])
def test_a_task_that_waits_is_input_required_and_a_message_to_it_decides(
    processes: Processes, tmp_path: Path, word: str, seen: str
) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    env = agent_env(tmp_path, mcp={"e": server.url}, DEBUG_MOCK_RESPONSES=ASKS, AGENT_APPROVALS=APPROVALS)
    agent = processes.start("agent", env)
    task = agent.rpc("SendMessage", message={"parts": [{"type": "text", "text": "echo"}]})["result"]
    assert task["status"]["state"] == "input-required" and "echo" in task["status"]["message"]
    unclear = agent.rpc("SendMessage", message={"taskId": task["id"], "parts": [{"type": "text", "text": "hm"}]})
    assert unclear["error"]["code"] == -32602
    answer = {"taskId": task["id"], "parts": [{"type": "text", "text": word}]}
    assert agent.rpc("SendMessage", message=answer)["result"]["status"]["state"] == "completed"
    events = agent.get("/memory/events").json["events"]
    assert seen in [event["event_type"] for event in events]


def test_one_iteration_now_and_a_hold_after_the_iteration_by_the_control_file(
    processes: Processes, tmp_path: Path
) -> None:
    control = tmp_path / "control.json"
    control.write_text('{"suspend": "afterIteration"}')
    env = agent_env(
        tmp_path / "state", AUTONOMOUS_GOAL="Look.", AUTONOMOUS_INTERVAL_SECONDS="60",
        DEBUG_MOCK_RESPONSES=mocks("fine"), AGENT_CONTROL_FILE=str(control),
    )  # fmt: skip
    agent = processes.start("agent", env)
    eventually(lambda: loop(agent)["state"] == "paused", "it is held")
    before = loop(agent)["iteration"]
    control.write_text('{"suspend": "afterIteration", "runNow": "first"}')
    eventually(lambda: loop(agent)["iteration"] == before + 1 and loop(agent)["state"] == "paused", "one iteration")
    agent.kill()
    again = processes.start("agent", env)
    eventually(lambda: loop(again)["state"] == "paused", "it is held")
    assert loop(again)["iteration"] == before + 1, "an old wish is not granted twice"


CANARY = 'canary-7f/3a"91c2\n'
LEAKY = """
import base64, json, os, urllib.parse
KEY = os.environ["API_KEY"].strip()
def leak(key: str) -> str:
    "Tell."
    print("the tool says", KEY, flush=True)
    import sys
    sys.stderr.write("and " + KEY + "\\n")
    sys.stdout.buffer.write(b"bytes\\n")
    forms = [KEY, json.dumps({"k": KEY}), urllib.parse.quote(KEY), base64.b64encode(b"user:" + KEY.encode()).decode()]
    return "the key is " + " ".join(forms)
def fail() -> str:
    "Fail."
    raise RuntimeError("refused: " + KEY)
"""


def shapes(secret: str) -> list[bytes]:
    """What must be nowhere."""
    plain = secret.strip()
    inner = base64.b64encode(b"user:" + plain.encode())[8:-4]
    found = [plain.encode(), json.dumps(plain)[1:-1].encode(), quote(plain).encode(), inner]
    return [*found, plain[:9].encode()]


def test_a_secret_is_nowhere_but_in_the_environment(processes: Processes, tmp_path: Path) -> None:
    """Whether the agent itself has it, or only its tool server."""
    key = CANARY.strip()
    answers = mocks(tool_call("leak", key=key), tool_call("fail"), tool_call(f"no {key}"), f"it is {key}")
    places: list[bytes] = []
    for case, given in (("own", {"API_KEY": CANARY}), ("of the server", {})):
        state = tmp_path / case
        server = processes.start("mcp", environment(MCP_TOOLS_STRING=LEAKY, API_KEY=CANARY))
        if case == "of the server":
            answers = mocks(tool_call("leak", key="x"), tool_call("fail"), "done")
        goal = f"Use {key}." if given else "Use it."
        env = agent_env(state, mcp={"l": server.url}, AUTONOMOUS_GOAL=goal, AUTONOMOUS_INTERVAL_SECONDS="60",
                        DEBUG_MOCK_RESPONSES=answers, **given)  # fmt: skip
        agent = processes.start("agent", env)
        eventually(lambda agent=agent: loop(agent)["last_outcome"] == "Completed", "an iteration")
        question = {"messages": [{"role": "user", "content": goal}]}
        every = "/memory/events?since=0&type=" + ",".join(EventType)
        paths = ("/memory/events", every, "/memory/sessions", "/loop", "/metrics", "/tools", "/approvals")
        shown = [agent.get(path).text for path in paths]
        shown += [agent.post("/v1/chat/completions", question).text]
        streamed = agent.post("/v1/chat/completions", {**question, "stream": True}).text
        chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
        shown += [streamed, "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)]
        shown += [json.dumps(agent.rpc("SendMessage", message={"text": goal}))]
        titles = [Path(f"/proc/{each.process.pid}/cmdline").read_bytes() for each in (agent, server)]
        assert "[redacted]" in shown[0] and (not given or "[redacted]" in shown[-1])
        assert agent.terminate() == 0 and server.terminate() == 0
        assert "refused: [redacted]" in server.log
        files = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
        assert files
        places += [*files, *titles, agent.log.encode(), server.log.encode(), *(text.encode() for text in shown)]
    for place in places:
        for shape in shapes(CANARY):
            assert shape not in place, (shape, place[max(0, place.find(shape) - 200) :][:400])


class _Api(BaseHTTPRequestHandler):
    patches: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._reply({"status": {"conditions": []}})

    def do_PATCH(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.patches.append({"path": self.path, **json.loads(body)})  # type: ignore[attr-defined]
        self._reply({})

    def _reply(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def api_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.patches = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.patches  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_reports_its_own_status_seldom_unless_its_state_turns(processes: Processes, tmp_path: Path) -> None:
    with api_server() as (url, patches):
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps({
            "current-context": "pod", "contexts": [{"name": "pod", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {"token": "t"}}],
        }))  # fmt: skip
        control = tmp_path / "control.json"
        env = agent_env(
            tmp_path / "state", AUTONOMOUS_GOAL="Look.", DEBUG_MOCK_RESPONSES=mocks("fine"), KUBECONFIG=str(config),
            POD_NAMESPACE="demo", AGENT_REPORTS_STATUS="true", AGENT_CONTROL_FILE=str(control),
        )  # fmt: skip
        agent = processes.start("agent", env)
        eventually(lambda: loop(agent)["iteration"] > 200, "many iterations")
        control.write_text('{"suspend": true}')
        eventually(lambda: patches and patches[-1]["status"]["loop"]["state"] == "paused", "it says it is held", 4.0)
        assert len(patches) <= 5, "not for every iteration"
        assert patches[0]["path"].startswith("/apis/kaos.tools/v1alpha1/namespaces/demo/agents/auto-agent/status?")
        turned = {item["type"]: item["status"] for item in patches[-1]["status"]["conditions"]}
        assert turned == {"Paused": "True", "IterationsFailing": "False"}
        assert agent.terminate() == 0
        assert patches[-1]["status"]["loop"]["state"] == "stopped"


HITL = "https://kagent.dev/extensions/hitl/v1"


def test_a_client_of_the_approval_extension_is_told_what_waits_and_decides_each_call(
    processes: Processes, tmp_path: Path
) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    two = {"tool_calls": [{"id": id, "name": "echo", "arguments": {"message": id}} for id in ("a", "b")]}
    env = agent_env(tmp_path, mcp={"e": server.url}, DEBUG_MOCK_RESPONSES=mocks(two, "done"), AGENT_APPROVALS=APPROVALS)
    agent = processes.start("agent", env)
    (declared,) = agent.get("/.well-known/agent.json").json["capabilities"]["extensions"]
    assert declared["uri"] == HITL and declared["required"] is False

    def call(method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return agent.post("/", body, **{"A2A-Extensions": f"https://else.example, {HITL}"})

    sent = call("SendMessage", message={"parts": [{"type": "text", "text": "echo"}]})
    assert sent.headers["A2A-Extensions"] == HITL
    task = sent.json["result"]
    assert task["status"]["state"] == "input-required" and task["status"]["message"]["extensions"] == [HITL]
    request = task["status"]["message"]["metadata"][HITL]
    assert request["type"] == "tool_approval_request"
    assert [(tool["call_id"], tool["name"], tool["args"]) for tool in request["tools"]] == [
        ("a", "echo", {"message": "a"}), ("b", "echo", {"message": "b"}),
    ]  # fmt: skip
    assert isinstance(agent.rpc("GetTask", id=task["id"])["result"]["status"]["message"], str), "only who asks for it"
    agent.kill()
    agent = processes.start("agent", env)
    eventually(lambda: agent.get("/approvals").json["total"] == 2, "both still wait")
    assert call("GetTask", id=task["id"]).json["result"]["status"]["message"] == task["status"]["message"]
    first, second = (tool["id"] for tool in request["tools"])

    def decide(*approvals: dict[str, Any], **more: Any) -> Any:
        response = {"type": "tool_approval_response", "approvals": list(approvals)} | more
        return call(
            "SendMessage", message={"taskId": task["id"], "extensions": [HITL], "metadata": {HITL: response}}
        ).json  # fmt: skip

    yes, no = {"id": first, "approved": True}, {"id": second, "approved": False, "rejection_reason": "not b"}
    for wrong, words in (
        ((yes,), second), ((yes, yes, no), "twice"), ((yes, no, {"id": "x", "approved": True}), "does not wait"),
        (({"id": first},), "approved"), ((), "every call"),
    ):  # fmt: skip
        refused = decide(*wrong)
        assert refused["error"]["code"] == -32602 and words in refused["error"]["message"]
    assert "error" in decide(yes, no, type="ask_user_response")
    assert agent.get("/approvals").json["total"] == 2, "what is refused decides nothing"
    assert decide(yes, no)["result"]["status"]["state"] == "completed"
    kinds = {
        e["event_type"]: e["content"] for e in agent.get("/memory/events?type=tool_result,tool_error").json["events"]
    }
    assert kinds["tool_result"]["result"] == "Echo: a" and "not b" in kinds["tool_error"]["error"]
    assert "error" in decide(yes, no), "it waits no more"
