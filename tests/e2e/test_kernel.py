"""A kernel that is restarted or interrupted in the middle: cluster and agent go on, the next cell finds them again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.e2e.conftest import CALL, DONE, ECHO, torn_down
from tests.e2e.machine import Machine, eventually

pytestmark = pytest.mark.process
SECONDS = 60
DEPLOY = """
%kaos modelapi deploy auto-api
%kaos mcp deploy auto-echo --runtime python-string --params $source
%kaos agent deploy auto-agent --modelapi auto-api --model gpt-4o --mcp auto-echo --mock-response $call \
    --mock-response $done --autonomous "Echo" --auto-interval 1 --wait
"""


class Kernel:
    """A real kernel on a machine of its own; `run` gives the reply and what was shown as text."""

    def __init__(self, machine: Machine) -> None:
        self.manager = KernelManager(kernel_name="python3", transport="ipc")
        self.manager.ip = str(machine.folder / "k")
        self.manager.start_kernel(env={**os.environ, **machine.environment}, cwd=str(machine.folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    def run(self, code: str) -> tuple[dict[str, Any], str]:
        shown: list[str] = []

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            shown.append(content.get("text") or content.get("data", {}).get("text/plain") or "")

        reply = self.client.execute_interactive(code, timeout=SECONDS, output_hook=keep)
        return reply["content"], "\n".join(shown)

    def must(self, code: str) -> str:
        reply, shown = self.run(code)
        assert reply["status"] == "ok", reply.get("traceback")
        return shown

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[Kernel, Machine]]:
    machine = Machine(tmp_path / "machine")
    kernel = Kernel(machine)
    yield kernel, machine
    kernel.close()
    torn_down(machine)


def test_after_a_kernel_restart_up_connects_and_the_agent_has_gone_on(kernel: tuple[Kernel, Machine]) -> None:
    notebook, machine = kernel
    notebook.must("%load_ext kaos_ext")
    notebook.must("%kaos up")
    notebook.must(f"source, call, done = {ECHO!r}, {CALL!r}, {DONE!r}")
    notebook.must(DEPLOY)
    notebook.must("watch = %kaos agent watch auto-agent\nwatch.wait(iterations=1, timeout=60)")
    agent = machine.process_of_pod("agent=auto-agent").pid
    notebook.manager.restart_kernel(now=True)
    notebook.client.wait_for_ready(timeout=SECONDS)
    notebook.must("%load_ext kaos_ext")
    assert "started at" not in notebook.must("%kaos up"), "it was there already"
    notebook.must("watch = %kaos agent watch auto-agent\nwatch.wait(iterations=3, timeout=60)")
    assert machine.process_of_pod("agent=auto-agent").pid == agent
    numbers = machine.iterations("auto-agent")
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_up_that_is_interrupted_can_be_entered_again(kernel: tuple[Kernel, Machine]) -> None:
    notebook, machine = kernel
    notebook.must("%load_ext kaos_ext")
    asked = notebook.client.execute("%kaos up")
    eventually("the daemon is being started", lambda: list(machine.home.glob("clusters/*/daemon.log")))
    notebook.manager.interrupt_kernel()
    while (reply := notebook.client.get_shell_msg(timeout=SECONDS))["parent_header"].get("msg_id") != asked:
        continue
    assert reply["content"]["status"] in ("ok", "error")
    notebook.must("%kaos up")
    assert machine.kubectl("get", "deployments", "-n", "kaos-system", "-o", "name").out.strip()
    assert len(list(machine.home.glob("clusters/*"))) == 1
