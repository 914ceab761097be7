"""Kernel → Interrupt ends a wait at once; the kernel, the view and the agent go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from tests.notebook.kernels import PYTHON, SETUP
from tests.notebook.test_the_saved_file_shows_what_was_seen import FOLLOW

pytestmark = pytest.mark.process


@pytest.fixture
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager(transport="ipc")
    manager._kernel_spec = KernelSpec(
        argv=[PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="test", language="python"
    )
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=30)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    content: dict[str, Any] = client.execute_interactive(code, timeout=30, output_hook=lambda _: None)["content"]
    return content


def said(client: BlockingKernelClient, name: str) -> None:
    """Until the kernel has printed `name`."""
    while True:
        message = client.get_iopub_msg(timeout=20)
        if message["msg_type"] == "stream" and name in message["content"]["text"]:
            return


WAITS = {
    "a watch": "print('waiting'); watch.wait(5, timeout=60)",
    "a command": "print('waiting'); get_ipython()._kaos_magics.background.run(asyncio.sleep(60))",
}


@pytest.mark.parametrize("what", WAITS)
def test_an_interrupt_ends_the_wait_and_the_kernel_goes_on(
    kernel: tuple[KernelManager, BlockingKernelClient], what: str
) -> None:
    manager, client = kernel
    for code in (SETUP, "import asyncio", "get_ipython().run_line_magic('load_ext', 'kaos_ext')", FOLLOW):
        assert run(client, code)["status"] == "ok"
    # Without stop_on_error a kernel throws away what it is asked right after an error.
    request = client.execute(WAITS[what], stop_on_error=False)
    said(client, "waiting")
    began = time.monotonic()
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=20))["parent_header"].get("msg_id") != request:
        pass
    assert time.monotonic() - began < 3
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    again = "feed(watch, script, lambda s: s.events.extend(some(2))); assert watch.wait(2, timeout=10).iterations == 2"
    assert run(client, again)["status"] == "ok"
