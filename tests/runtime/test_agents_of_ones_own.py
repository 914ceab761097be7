"""A user's async function in the product's shell: its calls are steps, durable, bounded and replayable."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec
from kaos_ext.model.budget import Budget
from kaos_ext.model.errors import UsageError
from kaos_ext.model.events import LOOP_RUN, EventType, Outcome
from kaos_ext.runtime.agent import Context, ToolFailed
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.custom import FunctionModel
from kaos_ext.runtime.agent.frameworks import function_of
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.model import Answer, OnText, Question
from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.agent.replay import replay
from kaos_ext.runtime.agent.runner import Equipment, Run
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tools import Tool, ToolBox, ToolError
from kaos_ext.store import Log, Sync
from tests.runtime.processes import ECHO, Processes, Running, agent_env, environment, eventually

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Oracle:
    """The model behind `context.ask`."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        await asyncio.sleep(0)
        self.asked.append(question)
        return Answer("it says so", (), {"prompt_tokens": 7, "completion_tokens": 2})


class Bench:
    name = "bench"

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []

    async def list_tools(self) -> list[Tool]:
        return [Tool("work")]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        self.calls.append(arguments)
        if arguments.get("n") == 13:
            raise ToolError("unlucky")
        return f"met {arguments['n']}"


class World:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bench, self.oracle = Bench(), Oracle()
        self.journal = self._opened()
        self.control = Control(asyncio.Event())

    def _opened(self) -> Journal:
        return Journal(Log.open(self._folder / "events.db", SCHEMA, sync=Sync.NORMAL))

    async def run(self, function: Any, *, again: bool = False, max_steps: int = 5, budget: Budget | None = None) -> Run:
        if again:
            self.journal.close()
            self.journal = self._opened()
        model = FunctionModel(function_of(function), Settings("a"), self.oracle)
        budget = budget or Budget()
        state = loop.begin(RunSpec("go", LOOP_RUN, "s", Repeat.ONCE, Limits(max_steps=max_steps), budget=budget))
        for event in self.journal.of_run(LOOP_RUN):
            state = loop.fold(state, event)
        equipment = Equipment(self.journal, model, ToolBox([self.bench]), "be brief", price=budget.price("m"))
        run = Run(loop.interrupted(state), equipment)
        await run.drive(self.control)
        return run

    def kinds(self) -> list[str]:
        return [str(event.type) for event in self.journal.of_run(LOOP_RUN)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.journal.close()


async def test_what_a_function_calls_are_steps_of_the_loop(world: World) -> None:
    async def agent(message: str, context: Context) -> str:
        first = await context.call("work", n=1)
        both = await asyncio.gather(context.call("work", n=2), context.call("work", n=3))
        return f"{message}: {first}, {both}, {await context.ask('why?')}"

    run = await world.run(agent)
    assert run.state.status.last_response == "go: met 1, ['met 2', 'met 3'], it says so"
    assert world.kinds()[2:] == [
        "model_request", "model_response", "tool_call", "tool_result",
        "model_request", "model_response", "tool_call", "tool_call", "tool_result", "tool_result",
        "model_request", "model_response", "agent_response", "iteration_finished",
    ]  # fmt: skip
    totals = run.state.status.totals
    assert (totals.tool_calls, totals.input_tokens, totals.output_tokens) == (3, 7, 2)
    assert [m.text for m in world.oracle.asked[0].messages] == ["You are a helpful assistant.", "why?"]


async def test_a_function_that_was_interrupted_goes_on_without_calling_twice(world: World) -> None:
    async def agent(message: str, context: Context) -> str:
        first = await context.call("work", n=1)
        if len(world.bench.calls) == 1:
            world.control.stopping.set()
        return f"{first}, {await context.call('work', n=2)}"

    run = await world.run(agent)
    assert run.state.status.open
    world.bench.calls.append({"the": "process is another"})
    world.control = Control(asyncio.Event())
    run = await world.run(agent, again=True)
    assert run.state.status.last_response == "met 1, met 2"
    assert [call.get("n") for call in world.bench.calls] == [1, None, 2]


async def test_a_function_that_changed_meanwhile_is_told_so(world: World) -> None:
    async def before(message: str, context: Context) -> str:
        await context.call("work", n=1)
        world.control.stopping.set()
        return await context.call("work", n=2)

    async def after(message: str, context: Context) -> str:
        return await context.call("work", n=99)

    await world.run(before)
    world.control = Control(asyncio.Event())
    run = await world.run(after, again=True)
    assert run.state.status.last_outcome == Outcome.FAILED
    assert "but before it was interrupted it was work({'n': 1})" in run.state.status.last_error


async def test_trouble_is_an_exception_in_the_function_and_a_failed_iteration_outside(world: World) -> None:
    async def careful(message: str, context: Context) -> str:
        try:
            await context.call("work", n=13)
        except ToolFailed as error:
            return f"well: {error}"
        return "?"

    assert (await world.run(careful)).state.status.last_response == "well: unlucky"


async def test_a_bug_in_a_function_ends_its_iteration(world: World) -> None:
    async def buggy(message: str, context: Context) -> str:
        raise KeyError("oh")

    run = await world.run(buggy)
    assert run.state.status.last_outcome == Outcome.FAILED and "KeyError" in run.state.status.last_error


async def test_steps_bound_a_function_too(world: World) -> None:
    async def endless(message: str, context: Context) -> str:
        while True:
            await context.call("work", n=0)

    run = await world.run(endless, max_steps=3)
    assert run.state.status.last_outcome == Outcome.STEPS_EXHAUSTED and len(world.bench.calls) == 3


@pytest.mark.parametrize(
    ("limits", "asked"), [({"modelCalls": 3}, 3), ({"tokens": 20}, 3), ({"cost": 2e-5}, 3), ({"toolCalls": 1}, 9)]
)
async def test_each_question_of_a_function_is_checked_against_the_budget_before_it_is_asked(
    world: World, limits: dict[str, float], asked: int
) -> None:
    async def curious(message: str, context: Context) -> str:
        for _ in range(9):
            await context.ask("why?")
        return "enough"

    prices = {"*": {"inputPerMillion": 1, "outputPerMillion": 1}}
    run = await world.run(curious, budget=Budget.from_json({"life": limits, "prices": prices}))
    assert len(world.oracle.asked) == asked
    spent = world.journal.ledger.life
    assert (spent.model_calls, spent.tokens) == (asked, 9 * asked), "also of a function that failed"
    if asked == 3:
        assert run.state.status.last_outcome == Outcome.FAILED
        assert f"life.{next(iter(limits))} is used up" in run.state.status.last_error


async def test_an_iteration_of_a_function_is_replayed_without_the_function(world: World) -> None:
    async def agent(message: str, context: Context) -> str:
        await context.ask("why?")
        return await context.call("work", n=1) + await context.ask("and why?") + await context.ask("but why?")

    await world.run(agent)
    report = replay(Recording.of(world.journal.of_run(LOOP_RUN), 1))
    report.check()
    assert report.tool_calls == 1 and len(world.bench.calls) == 1


async def test_a_function_of_only_a_message_will_do_and_what_is_no_agent_is_refused(world: World) -> None:
    async def plain(message: str) -> str:
        return message.upper()

    assert (await world.run(plain)).state.status.last_response == "GO"
    with pytest.raises(UsageError, match="is no agent that can be served"):
        function_of(42)


class Graph:
    """What a compiled LangGraph graph looks like from outside."""

    async def ainvoke(self, given: dict[str, Any]) -> dict[str, Any]:
        said = given["messages"][-1]["content"]
        answer = type("Message", (), {"content": [{"type": "text", "text": f"so: {said}"}],
                                      "usage_metadata": {"input_tokens": 4, "output_tokens": 1}})()  # fmt: skip
        return {"messages": [*given["messages"], answer]}


async def test_a_graph_is_served_by_its_state_of_messages(world: World) -> None:
    run = await world.run(Graph())
    assert run.state.status.last_response == "so: go"
    assert (run.state.status.totals.input_tokens, run.state.status.totals.output_tokens) == (4, 1)


def _script(processes: Processes, name: str, env: dict[str, str], python: str = sys.executable) -> Running:
    process = subprocess.Popen([python, str(EXAMPLES / name)], env=env, stderr=subprocess.PIPE, text=True)
    processes._all.append(process)
    running = Running(process, "", [])
    line = processes._line(process, process.stderr, running.said)
    running.url = "http://" + line.split("http://")[1].strip()
    eventually(lambda: running.get("/ready").status == 200, "the agent is ready")
    return running


@pytest.mark.process
def test_the_documented_example_has_card_a2a_memory_and_loop(processes: Processes, tmp_path: Path) -> None:
    echo = processes.start("mcp", environment(MCP_TOOLS_STRING=ECHO))
    env = agent_env(tmp_path, mcp={"echo": echo.url}, AUTONOMOUS_GOAL="look", AUTONOMOUS_INTERVAL_SECONDS="60")
    agent = _script(processes, "custom_agent.py", env)
    eventually(lambda: agent.get("/loop").json["totals"]["iterations"] == 1, "one iteration")
    assert agent.get("/loop").json["last_response"] == "Echo: look / Echo: iteration 1"
    assert [skill["name"] for skill in agent.get("/.well-known/agent.json").json["skills"]] == ["echo"]
    task = agent.rpc("SendMessage", message={"text": "hello"})["result"]
    assert task["history"][-1]["parts"][0]["text"] == "Echo: hello / Echo: iteration 1"
    kinds = [event["event_type"] for event in agent.get("/memory/events").json["events"]]
    assert kinds[:6] == [
        "user_message", "tool_call", "tool_call", "tool_result", "tool_result", "agent_response",
    ]  # fmt: skip
    assert EventType.ITERATION_FINISHED not in kinds
    assert agent.terminate() == 0


def _installed(folder: Path, extra: str) -> str:
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    command = [str(python), "-m", "pip", "install", "-q", f"{EXAMPLES.parents[1]}[{extra}]"]
    subprocess.run(command, check=True, env=dict(os.environ))
    return str(python)


def _lives_with(processes: Processes, folder: Path, script: str, python: str, **more: str) -> Running:
    """An agent of another framework has everything: loop, record, budget, card, A2A, a life after a kill."""
    budget = json.dumps({"life": {"iterations": 6}})
    goal = {"AUTONOMOUS_GOAL": "look around", "AUTONOMOUS_INTERVAL_SECONDS": "0", "AGENT_BUDGET": budget}
    env = agent_env(folder / "state", **goal, **more)
    first = _script(processes, script, env, python)
    eventually(lambda: first.get("/loop").json["iteration"] >= 2, "it loops", 60)
    first.kill()
    agent = _script(processes, script, env, python)
    eventually(lambda: agent.get("/loop").json["stop_reason"] == "life.iterations", "its budget stops it", 60)
    started = agent.get("/memory/events?type=iteration_started&since=0").json["events"]
    assert [event["metadata"]["iteration"] for event in started] == list(range(1, 7))
    session = agent.get("/loop").json["session_id"]
    kinds = [event["event_type"] for event in agent.get(f"/memory/events?session_id={session}").json["events"]]
    assert kinds[-2:] == ["user_message", "agent_response"]
    assert agent.get("/.well-known/agent.json").json["supportedProtocols"] == ["jsonrpc"]
    assert agent.terminate() == 0
    return _script(processes, script, agent_env(folder / "other", **more), python)


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_pydantic_ai_agent_answers_through_the_shell(processes: Processes, tmp_path: Path) -> None:
    upstream = processes.openai()
    model = {"MODEL_API_URL": upstream.url, "MODEL_NAME": "m"}
    agent = _lives_with(processes, tmp_path, "pydantic_ai_agent.py", _installed(tmp_path, "pydantic-ai"), **model)
    task = agent.rpc("SendMessage", message={"text": "hello"})["result"]
    assert task["status"]["state"] == "completed" and task["history"][-1]["parts"][0]["text"]
    assert agent.get("/loop").json["budget"]["life"]["spent"]["tokens"] > 0, "what the framework used is counted"
    upstream.post("/trouble", {"status": 400, "times": 1})
    failed = agent.rpc("SendMessage", message={"text": "hello"})["result"]
    assert failed["status"]["state"] == "failed"


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_langgraph_graph_answers_through_the_shell(processes: Processes, tmp_path: Path) -> None:
    agent = _lives_with(processes, tmp_path, "langgraph_agent.py", _installed(tmp_path, "langgraph"))
    task = agent.rpc("SendMessage", message={"text": "hello"})["result"]
    assert task["history"][-1]["parts"][0]["text"] == "You said: hello"
