"""An agent with a real OpenAI-compatible server behind its ModelAPI: tool calls and streaming on the wire."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import ECHO
from tests.e2e.machine import REPOSITORY, Machine, eventually

pytestmark = pytest.mark.process
KEY = "sk-canary-0815"


@pytest.fixture
def upstream() -> Iterator[str]:
    """The base URL of an OpenAI-compatible server in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "runtime" / "openai_server.py"), "--port", "0", "--key", KEY],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    found = re.search(r"http://[\d.:]+", line)
    assert found, line
    yield f"{found[0]}/v1"
    server.terminate()
    server.wait(10)


def test_the_agent_thinks_with_it_calls_its_tool_and_streams_its_answer(machine: Machine, upstream: str) -> None:
    machine.kubectl("create", "secret", "generic", "upstream-key", f"--from-literal=token={KEY}")
    machine.kaos(
        "modelapi", "deploy", "real", "--base-url", upstream, "--api-secret", "upstream-key:token",
        "--model", "mock-model", "--wait",
    )  # fmt: skip
    machine.kaos("mcp", "deploy", "auto-echo", "--runtime", "python-string", "--params", ECHO, "--wait")
    machine.kaos(
        "agent", "deploy", "thinker", "--modelapi", "real", "--model", "mock-model", "--mcp", "auto-echo", "--wait"
    )
    sent = machine.kaos("agent", "a2a", "send", "thinker", "--message", "Echo a greeting", "--json").json
    assert sent["result"]["status"]["state"] == "completed", sent
    types = [event["event_type"] for event in machine.events("thinker")]
    assert types[-4:] == ["user_message", "tool_call", "tool_result", "agent_response"], types
    streamed = machine.kaos("agent", "invoke", "thinker", "-m", "Echo a greeting", "--stream")
    whole = machine.kaos("agent", "invoke", "thinker", "-m", "Echo a greeting")
    assert whole.out.strip().endswith("Echo: Echo a greeting") and streamed.out.strip() in whole.out


def test_the_key_is_nowhere_but_in_its_secret(machine: Machine, upstream: str) -> None:
    machine.kubectl("create", "secret", "generic", "upstream-key", f"--from-literal=token={KEY}")
    machine.kaos("modelapi", "deploy", "real", "--base-url", upstream, "--api-secret", "upstream-key:token", "--wait")
    answer = machine.kaos("modelapi", "invoke", "real", "--model", "mock-model", "-m", "hello")
    assert answer.out.strip()
    objects = machine.kubectl("get", "pods,deployments,configmaps,events,modelapis", "-o", "json").out
    assert KEY not in objects and KEY not in machine.kaos("modelapi", "logs", "real").out
    titles = [" ".join(process.cmdline()) for process in machine.processes()]
    assert all(KEY not in title for title in titles)


def test_an_upstream_that_does_not_answer_is_said_to_whoever_asks(machine: Machine) -> None:
    machine.kaos("modelapi", "deploy", "dead", "--base-url", "http://127.0.0.1:9/v1", "--wait")
    ran = machine.kaos("modelapi", "invoke", "dead", "--model", "m", "-m", "hello", check=False)
    assert ran.status == 1 and "127.0.0.1:9" in ran.err, ran
    assert json.loads(machine.kubectl("get", "modelapi", "dead", "-o", "json").out)["status"]["phase"] == "Ready"


def test_machines_processes_are_found_by_the_tests(machine: Machine) -> None:
    """The leak checks of this folder rest on `processes()`: it must see daemon, supervisor and pods."""
    eventually("daemon, supervisor, forwarder and operator", lambda: len(machine.processes()) >= 4)
