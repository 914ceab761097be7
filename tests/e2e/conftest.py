"""One machine with a running cluster for the tests that only use it, and a fresh one for those that break it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.machine import Machine

NUMBERS = count(1)
ECHO = 'def echo(message: str) -> str:\n """Echo the provided message back."""\n return f"Echo: {message}"'
CALL = '{"tool_calls":[{"id":"call_1","name":"echo","arguments":{"message":"checking system status"}}]}'
DONE = "System check complete. Echo confirmed: checking system status."


def torn_down(machine: Machine) -> None:
    machine.kaos("down", "--delete")
    left = machine.processes()
    assert left == [], f"left running after `kaos down`: {left}"


@pytest.fixture(scope="session")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("shared"))
    machine.kaos("up")
    yield machine
    torn_down(machine)


@pytest.fixture
def machine(shared_machine: Machine) -> Iterator[Machine]:
    """The shared cluster with a namespace of the test's own as the current one."""
    namespace = f"test-{next(NUMBERS)}"
    shared_machine.kubectl("create", "namespace", namespace)
    shared_machine.kubectl("config", "set-context", "--current", f"--namespace={namespace}")
    yield shared_machine
    shared_machine.kubectl("config", "set-context", "--current", "--namespace=default")
    shared_machine.kubectl("delete", "namespace", namespace)


@pytest.fixture
def own_machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with a cluster of its own, to be broken."""
    machine = Machine(tmp_path / "machine")
    machine.kaos("up")
    yield machine
    torn_down(machine)


def deploy_agent(machine: Machine, name: str = "auto-agent", *words: str, interval: int = 1) -> None:
    """A ModelAPI, a tool server and an autonomous agent that loops on recorded answers; returns when it is ready."""
    machine.kaos("modelapi", "deploy", "auto-api", "--mode", "Proxy", "--wait")
    machine.kaos("mcp", "deploy", "auto-echo", "--runtime", "python-string", "--params", ECHO, "--wait")
    machine.kaos(
        "agent", "deploy", name, "--modelapi", "auto-api", "--model", "gpt-4o", "--mcp", "auto-echo",
        "--mock-response", CALL, "--mock-response", DONE,
        "--autonomous", "Use the echo tool to check system status and report the result",
        "--auto-interval", str(interval), "--wait", *words,
    )  # fmt: skip
