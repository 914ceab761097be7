"""Whatever is killed comes back, and the loop goes on: no iteration skipped, doubled or renumbered."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import REPOSITORY, Machine, eventually

pytestmark = pytest.mark.process


def assert_unbroken(machine: Machine, agent: str = "auto-agent") -> None:
    numbers = machine.iterations(agent)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers


def wait_for_iteration(machine: Machine, number: int, agent: str = "auto-agent", seconds: float = 45) -> None:
    eventually(f"iteration {number}", lambda: max(machine.iterations(agent), default=0) >= number, seconds)


def killed(process: psutil.Process) -> None:
    process.kill()
    process.wait(10)


def daemon_of(machine: Machine) -> psutil.Process:
    (found,) = machine.home.glob("clusters/*/daemon.pid")
    return psutil.Process(int(found.read_text().split()[0]))


def test_the_agent_is_killed_and_goes_on_with_the_next_number(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    for _ in range(3):
        last = max(own_machine.iterations("auto-agent"), default=0)
        wait_for_iteration(own_machine, last + 1)
        killed(own_machine.process_of_pod("agent=auto-agent"))
        wait_for_iteration(own_machine, last + 2)
    assert_unbroken(own_machine)


def test_the_tool_server_is_killed_and_the_loop_survives_it(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    wait_for_iteration(own_machine, 1)
    killed(own_machine.process_of_pod("mcpserver=auto-echo"))
    before = len(own_machine.events("auto-agent"))

    def works_again() -> bool:
        later = own_machine.events("auto-agent")[before:]
        return any(event["event_type"] == "tool_result" for event in later)

    eventually("a tool result after the kill", works_again, 45)
    assert_unbroken(own_machine)


def test_the_operator_is_killed_and_new_agents_still_come_up(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    killed(own_machine.process_of_pod("app.kubernetes.io/name=kaos-operator"))
    own_machine.kaos(
        "agent", "deploy", "second", "--modelapi", "auto-api", "--model", "gpt-4o", "--wait", "--wait-timeout", "60"
    )
    wait_for_iteration(own_machine, 2)
    assert_unbroken(own_machine)


def test_the_daemon_is_killed_and_the_next_up_adopts_what_still_runs(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    wait_for_iteration(own_machine, 1)
    agent = own_machine.process_of_pod("agent=auto-agent")
    created = own_machine.kubectl("create", "configmap", "kept", "--from-literal=a=b", "-o", "json").json
    killed(daemon_of(own_machine))
    assert agent.is_running(), "the agent does not depend on the daemon"
    own_machine.kaos("up")
    assert own_machine.object("configmap", "kept")["metadata"]["uid"] == created["metadata"]["uid"]
    assert own_machine.process_of_pod("agent=auto-agent").pid == agent.pid
    wait_for_iteration(own_machine, max(own_machine.iterations("auto-agent")) + 1)
    assert_unbroken(own_machine)


def test_after_a_reboot_up_brings_everything_back(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    wait_for_iteration(own_machine, 2)
    processes = own_machine.processes()
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, 10)
    assert own_machine.processes() == []
    own_machine.kaos("up")
    last = (
        max(own_machine.iterations("auto-agent"), default=0)
        if own_machine.kaos("agent", "wait", "auto-agent", check=False).status == 0
        else 0
    )
    wait_for_iteration(own_machine, max(last, 2) + 1)
    assert_unbroken(own_machine)


def test_a_pid_file_of_a_process_that_is_gone_or_of_another_does_not_stop_up(own_machine: Machine) -> None:
    own_machine.kaos("down")
    (folder,) = (own_machine.home / "clusters").iterdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, os.getpid()):
        (folder / "daemon.pid").write_text(f"{pid}\n")
        own_machine.kaos("up")
        assert own_machine.kubectl("get", "nodes", "-o", "name").out.strip() != ""
        own_machine.kaos("down")
    own_machine.kaos("up")


def test_the_prompt_changes_ten_times_while_it_iterates_and_there_is_one_loop(own_machine: Machine) -> None:
    deploy_agent(own_machine, interval=0)
    wait_for_iteration(own_machine, 1)
    for number in range(10):
        patch = {"spec": {"config": {"instructions": f"Version {number}."}}}
        own_machine.kubectl("patch", "agent", "auto-agent", "--type=merge", "-p", json.dumps(patch))
        if number % 3 == 0:
            last = max(eventually("the agent answers", lambda: own_machine.iterations("auto-agent")))
            wait_for_iteration(own_machine, last + 1)
    last = max(eventually("the agent answers", lambda: own_machine.iterations("auto-agent")))
    wait_for_iteration(own_machine, last + 1)
    own_machine.kubectl("rollout", "status", "deployment/agent-auto-agent", "--timeout=60s")
    assert_unbroken(own_machine)
    pods = own_machine.kubectl("get", "pods", "-l", "agent=auto-agent", "-o", "name").out.split()
    assert len(pods) == 1, pods


def test_pause_holds_the_loop_and_resume_goes_on_without_a_new_pod(own_machine: Machine) -> None:
    deploy_agent(own_machine)
    wait_for_iteration(own_machine, 1)
    pod = own_machine.process_of_pod("agent=auto-agent").pid
    own_machine.kaos("agent", "pause", "auto-agent")
    eventually("paused", lambda: "paused" in own_machine.kaos("agent", "status", "auto-agent").out.lower())
    held = own_machine.iterations("auto-agent")
    own_machine.kaos("agent", "a2a", "send", "auto-agent", "--message", "still there?")
    assert own_machine.iterations("auto-agent") == held
    own_machine.kaos("agent", "resume", "auto-agent")
    wait_for_iteration(own_machine, held[-1] + 1)
    assert own_machine.process_of_pod("agent=auto-agent").pid == pod
    assert_unbroken(own_machine)


def test_an_upstream_that_is_down_is_recorded_and_the_loop_heals_when_it_is_back(own_machine: Machine) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own_machine.kubectl("create", "secret", "generic", "key", "--from-literal=token=sk-canary-4711")
    own_machine.kaos(
        "modelapi", "deploy", "real", "--base-url", f"http://127.0.0.1:{port}/v1", "--api-secret", "key:token",
        "--model", "mock-model", "--wait",
    )  # fmt: skip
    own_machine.kaos(
        "mcp", "deploy", "auto-echo", "--runtime", "python-string", "--params",
        "def echo(message: str) -> str:\n    return message", "--wait",
    )  # fmt: skip
    own_machine.kaos(
        "agent", "deploy", "auto-agent", "--modelapi", "real", "--model", "mock-model", "--mcp", "auto-echo",
        "--autonomous", "Echo something", "--auto-interval", "1", "--wait",
    )  # fmt: skip
    eventually(
        "the failure is on record", lambda: any(e["event_type"] == "error" for e in own_machine.events("auto-agent"))
    )
    server = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "runtime" / "openai_server.py"), "--port", str(port)]
    )
    try:
        eventually(
            "an answer of the upstream",
            lambda: any(e["event_type"] == "tool_result" for e in own_machine.events("auto-agent")),
            60,
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(10)
    assert_unbroken(own_machine)
    written = [path for path in own_machine.home.rglob("*") if path.is_file() and "secret" not in path.parts]
    leaking = [
        path for path in written
        if "node/logs" in str(path) or (path.suffix == ".db" and "volumes" in str(path))
        if b"sk-canary-4711" in path.read_bytes()
    ]  # fmt: skip
    assert leaking == []
