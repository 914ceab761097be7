"""An agent is killed, stopped, suspended and changed; its log goes on."""

from __future__ import annotations

import json
import os
import random
import select
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.processes import Processes, Running, agent_env, environment, eventually, mocks, tool_call

pytestmark = pytest.mark.process

STRIKES = 400


def striking(book: Path, *, read_only: bool = False) -> str:
    """Source of a tool that writes each call it really does into a book, slowly enough to be killed in the middle."""
    return f"""
import time

def strike(number: int) -> str:
    \"\"\"Strike once.\"\"\"
    with open({str(book)!r}, "a") as book:
        book.write(f"{{number}}\\n")
    time.sleep(0.02)
    return f"struck {{number}}"

strike.read_only = {read_only}
"""


TYPES = (
    "iteration_started", "iteration_finished", "iteration_failed", "iteration_timed_out",
    "outcome_unknown", "tool_call", "tool_result", "tool_error", "model_response",
)  # fmt: skip


def everything(agent: Running) -> list[dict[str, Any]]:
    """The whole log (of these types), page by page, in order."""
    found: list[dict[str, Any]] = []
    while True:
        since = found[-1]["seq"] if found else 0
        page = agent.get(f"/memory/events?type={','.join(TYPES)}&limit=1000&since={since}").json["events"]
        if not page:
            return found
        found += page


PROOF = (pytest.mark.proof, pytest.mark.timeout(1800))


@pytest.mark.parametrize(("read_only", "kills"), [(False, 20), (True, 8), pytest.param(False, 500, marks=PROOF)])
def test_killed_again_and_again_it_skips_doubles_and_renumbers_nothing(
    processes: Processes, tmp_path: Path, read_only: bool, kills: int
) -> None:
    book = tmp_path / "book"
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=striking(book, read_only=read_only)))
    script = [item for n in range(STRIKES) for item in (tool_call("strike", number=n), f"struck {n}")]
    env = agent_env(
        tmp_path / "state", mcp={"anvil": server.url}, DEBUG_MOCK_RESPONSES=mocks(*script), AUTONOMOUS_GOAL="Strike.",
        AGENT_BUDGET='{"life": {"toolCalls": 1000000}}',
    )  # fmt: skip
    seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"KILL_SEED={seed} kills again at the same places")  # pytest shows it when the test fails
    dice = random.Random(seed)
    book.touch()
    for turn in range(kills):
        agent = processes.start("agent", env, ready=False)
        if turn % 3:
            # Somewhere in its work; otherwise somewhere in its start.
            wanted = book.read_text().count("\n") + dice.randint(1, 3)
            eventually(lambda: book.read_text().count("\n") >= wanted, "it works")  # noqa: B023
        select.select([], [], [], dice.uniform(0, 0.05))
        agent.kill()
    agent = processes.start("agent", env)
    at_least = agent.get("/loop").json["iteration"] + 3
    eventually(lambda: agent.get("/loop").json["iteration"] >= at_least, "it goes on")
    assert agent.terminate() == 0
    quiet = processes.start("agent", {**env, "AUTONOMOUS_GOAL": ""})
    log = everything(quiet)
    spent = quiet.get("/loop").json["budget"]["life"]["spent"]
    assert quiet.terminate() == 0

    def iterations(*types: str) -> list[int]:
        return [event["metadata"]["iteration"] for event in log if event["event_type"] in types]

    started = iterations("iteration_started")
    assert started == list(range(1, len(started) + 1)), "numbers never skip, repeat or restart"
    ended = iterations("iteration_finished", "iteration_failed", "iteration_timed_out")
    assert ended in (started, started[:-1])
    assert len(started) > kills // 2
    struck = Counter(book.read_text().split())
    intents = [event["content"]["arguments"]["number"] for event in log if event["event_type"] == "tool_call"]
    assert intents == [n % STRIKES for n in range(len(intents))], "the script of answers runs on through every death"
    assert set(map(int, struck)) <= set(intents), "no call without its intent on record"
    assert spent["toolCalls"] == len(intents), "each call is paid for once, whoever died"
    outcomes = Counter(event["event_type"] for event in log)
    open_calls = outcomes["tool_call"] - outcomes["tool_result"] - outcomes["outcome_unknown"]
    assert open_calls in (0, 1) and not outcomes["tool_error"]
    if read_only:
        assert not outcomes["outcome_unknown"], "a call that may be repeated is repeated until it has a result"
    else:
        wanted_calls = Counter(map(str, intents))
        assert all(struck[number] <= wanted_calls[number] for number in struck), "a call that must not be repeated was"


def test_it_stops_at_a_step_boundary_and_the_next_process_goes_on_from_there(
    processes: Processes, tmp_path: Path
) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=striking(tmp_path / "book")))
    env = agent_env(
        tmp_path / "state", mcp={"anvil": server.url}, AUTONOMOUS_GOAL="Strike.", AGENTIC_LOOP_MAX_STEPS="20",
        DEBUG_MOCK_RESPONSES=mocks(tool_call("strike", number=1)),
    )  # fmt: skip
    first = processes.start("agent", env)
    eventually(lambda: first.get("/loop").json["totals"]["tool_calls"] >= 3, "three calls")
    assert first.terminate() == 0
    second = processes.start("agent", env)
    eventually(lambda: second.get("/loop").json["iteration"] >= 2, "the second iteration")
    log = everything(second)
    assert not [event for event in log if event["event_type"] == "outcome_unknown"]
    steps = Counter(e["metadata"]["iteration"] for e in log if e["event_type"] == "model_response")
    assert steps[1] == 20, "the first iteration has all its steps, some by each process"


def test_only_one_process_writes_and_the_other_waits_saying_why(processes: Processes, tmp_path: Path) -> None:
    env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES="hm", AUTONOMOUS_GOAL="Think.", AUTONOMOUS_INTERVAL_SECONDS="1")
    first = processes.start("agent", env)
    second = processes.start("agent", env, ready=False)
    reply = eventually(lambda: (r := second.get("/ready")) and "process" in r.text and r, "it says why it waits")
    assert reply.status == 503 and str(first.process.pid) in reply.json["reason"]
    assert second.get("/health").status == 200
    before = first.get("/loop").json["iteration"]
    first.kill()
    eventually(lambda: second.get("/ready").status == 200, "it takes over")
    assert second.get("/loop").json["iteration"] >= before


def test_the_control_file_pauses_and_resumes_the_loop_without_a_restart(processes: Processes, tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    env = agent_env(
        tmp_path / "state", DEBUG_MOCK_RESPONSES="hm", AUTONOMOUS_GOAL="Think.", AUTONOMOUS_INTERVAL_SECONDS="1",
        AGENT_CONTROL_FILE=str(control),
    )  # fmt: skip
    agent = processes.start("agent", env)
    eventually(lambda: agent.get("/loop").json["state"] == "waiting", "it loops without the file")

    def wish(suspend: bool) -> None:
        new = tmp_path / "new"
        new.write_text(json.dumps({"suspend": suspend}))
        new.replace(control)

    wish(True)
    eventually(lambda: agent.get("/loop").json["state"] == "paused", "paused", seconds=3)
    wish(False)
    eventually(lambda: agent.get("/loop").json["state"] != "paused", "resumed", seconds=3)
    kinds = [e["event_type"] for e in agent.get("/memory/events?type=paused,resumed&since=0").json["events"]]
    assert kinds == ["paused", "resumed"]
    wish(True)
    eventually(lambda: agent.get("/loop").json["state"] == "paused", "paused again", seconds=3)
    agent.kill()
    after = processes.start("agent", env)
    eventually(lambda: after.get("/loop").json["state"] == "paused", "still paused after a restart", seconds=3)


def test_changed_goals_take_over_and_numbers_continue(processes: Processes, tmp_path: Path) -> None:
    seen = 0
    for goal in ("one", "two", "three"):
        env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES="hm", AUTONOMOUS_GOAL=goal, AUTONOMOUS_INTERVAL_SECONDS="1")
        agent = processes.start("agent", env)
        eventually(lambda: agent.get("/loop").json["iteration"] > seen, f"an iteration at {goal}")  # noqa: B023
        page = agent.get("/memory/events?type=user_message&since=0&limit=1000").json["events"]
        assert page[-1]["content"] == goal
        assert [event["metadata"]["iteration"] for event in page] == list(range(1, len(page) + 1))
        seen = agent.get("/loop").json["iteration"]
        assert agent.terminate() == 0


def test_an_asynchronous_task_runs_beside_the_loop_and_over_a_death(processes: Processes, tmp_path: Path) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=striking(tmp_path / "book", read_only=True)))
    env = agent_env(
        tmp_path / "state", mcp={"anvil": server.url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("strike", number=1), "ok"),
    )  # fmt: skip
    agent = processes.start("agent", env)
    configuration = {"mode": "autonomous", "budgets": {"maxIterations": 12, "maxToolCalls": 0}}
    task = agent.rpc("SendMessage", message={"text": "Strike on."}, configuration=configuration)["result"]
    assert task["status"]["state"] == "working" and task["autonomous"] is True
    book = tmp_path / "book"
    eventually(lambda: book.exists() and len(book.read_text()) > 4, "it works in the background")
    agent.kill()
    after = processes.start("agent", env)
    done = eventually(
        lambda: (t := after.rpc("GetTask", id=task["id"])["result"])["status"]["state"] == "completed" and t,
        "the next process ends it",
    )
    assert {"reason": "max_iterations"} in [note["data"] for note in done["events"]]
    assert [note["type"] for note in done["events"]][-2:] == ["autonomous.budget.exhausted", "task.completed"]
    assert done["output"] == "ok"
    assert len([message for message in done["history"] if message["role"] == "agent"]) == 12


def test_a_task_is_cancelled_while_its_tool_hangs(processes: Processes, tmp_path: Path) -> None:
    source = "import time\n\ndef hang(number: int) -> str:\n    time.sleep(30)\n    return 'late'\n"
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=source))
    env = agent_env(mcp={"slow": server.url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("hang", number=1), "ok"))
    agent = processes.start("agent", env)
    task = agent.rpc("SendMessage", message={"text": "Wait."}, configuration={"mode": "autonomous"})["result"]
    eventually(
        lambda: agent.get("/memory/events?type=tool_call&since=0").json["events"], "the tool is called", seconds=5
    )
    ended = agent.rpc("CancelTask", id=task["id"])["result"]
    assert ended["status"]["state"] == "canceled" and ended["status"]["message"] == "Canceled by request"


def test_a_tool_that_hangs_ends_its_iteration_and_its_outcome_is_told_as_unknown(
    processes: Processes, tmp_path: Path
) -> None:
    source = "import time\n\ndef hang(number: int) -> str:\n    time.sleep(30)\n    return 'late'\n"
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=source))
    env = agent_env(
        mcp={"slow": server.url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("hang", number=1), "ok"),
        AUTONOMOUS_GOAL="Wait.", AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS="1",
    )  # fmt: skip
    agent = processes.start("agent", env)
    eventually(lambda: agent.get("/loop").json["iteration"] >= 2, "the next iteration")
    log = everything(agent)
    kinds = [event["event_type"] for event in log]
    assert kinds[:5] == ["iteration_started", "model_response", "tool_call", "outcome_unknown", "iteration_timed_out"]
    assert 0.9 < log[4]["content"]["duration_seconds"] < 3
    server.kill()
    assert agent.terminate() == 0


def test_a_loop_that_never_rests_leaves_room_for_requests(processes: Processes) -> None:
    agent = processes.start("agent", agent_env(DEBUG_MOCK_RESPONSES="hm", AUTONOMOUS_GOAL="Spin."))
    assert agent.rpc("SendMessage", message={"text": "hi"})["result"]["status"]["state"] == "completed"
    assert agent.get("/loop").json["iteration"] > 1
    assert agent.terminate() == 0


def test_a_request_under_way_is_answered_while_the_process_stops(processes: Processes, tmp_path: Path) -> None:
    book = tmp_path / "book"
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=striking(book)))
    script = [tool_call("strike", number=n) for n in range(10)]
    env = agent_env(
        mcp={"anvil": server.url}, AGENTIC_LOOP_MAX_STEPS="20", DEBUG_MOCK_RESPONSES=mocks(*script, "all ten")
    )
    agent = processes.start("agent", env)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(agent.rpc, "SendMessage", message={"text": "Strike ten times."})
        eventually(lambda: book.exists() and book.read_text().count("\n") >= 2, "it works")
        assert agent.terminate() == 0
        task = asked.result(10)["result"]
    assert task["status"]["state"] == "completed" and task["history"][-1]["parts"][0]["text"] == "all ten"


def test_whoever_waits_for_a_task_that_is_cancelled_learns_it(processes: Processes) -> None:
    source = "import time\n\ndef hang(number: int) -> str:\n    time.sleep(30)\n    return 'late'\n"
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=source))
    env = agent_env(mcp={"slow": server.url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("hang", number=1), "ok"))
    agent = processes.start("agent", env)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(agent.rpc, "SendMessage", message={"text": "Wait."})
        listed = eventually(lambda: agent.rpc("ListTasks")["result"]["tasks"], "the task is listed")
        agent.rpc("CancelTask", id=listed[0]["id"])
        assert asked.result(10)["result"]["status"]["state"] == "canceled"
