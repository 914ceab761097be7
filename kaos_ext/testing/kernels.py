"""The kernel that runs a notebook: of which Python, with which environment, where its files lie.

Sockets lie in the file system (no port is opened), runtime files, IPython's profile and temporary files in folders of
the run. Before the first cell one thing is changed: a `!command` that fails raises, which IPython's does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60
_SETUP = """
def _strict():
    import subprocess
    shell = get_ipython()
    run = shell.system
    def system(command):
        shell.user_ns["_exit_code"] = 0
        run(command)
        code = shell.user_ns.get("_exit_code") or 0
        if code:
            raise subprocess.CalledProcessError(code, command)
    shell.system = system
_strict()
del _strict
"""
_BASELINE = """
def _measure():
    import time, hashlib
    times = []
    for _ in range(5):
        began = time.perf_counter()
        table = {}
        for number in range(9000):
            table[str(number)] = hashlib.sha1(str(number).encode()).hexdigest()
        sorted(table.values())
        times.append(time.perf_counter() - began)
    return sorted(times)[2]
"""


@dataclass(frozen=True)
class Place:
    """The folders of one run, all below `root`, which is deleted afterwards."""

    root: Path

    @property
    def cwd(self) -> Path:
        return self.root / "cwd"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def runtime(self) -> Path:
        return self.root / "run"

    @property
    def home(self) -> Path:
        """Where this run's cluster keeps its state."""
        return self.root / "kaos"

    def make(self) -> Place:
        for folder in (self.cwd, self.tmp, self.runtime, self.home):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def environment(self, extra: Mapping[str, str], python: Path) -> dict[str, str]:
        """The caller's environment, with everything that a run writes kept in this place."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return environment | {
            "PATH": os.pathsep.join(
                dict.fromkeys([str(python.parent), str(default_python().parent), os.environ.get("PATH", "")])
            ),
            "TMPDIR": str(self.tmp),
            "IPYTHONDIR": str(self.runtime / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "KUBECACHEDIR": str(self.runtime / "kube"),
            "KAOS_HOME": str(self.home),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONUNBUFFERED": "1",
            **extra,
        }


def _only(python: Path) -> Any:
    """A kernel spec manager that knows one kernel: ipykernel of this Python."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class Only(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, language="python", display_name="Python 3 (ipykernel)")

    return Only()


@asynccontextmanager
async def kernel(place: Place, environment: Mapping[str, str], python: Path) -> AsyncIterator[tuple[Any, Any]]:
    """A started kernel (its manager and client), prepared for a run; ended, with its group, when this is left."""
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=_only(python),
        transport="ipc",
        connection_file=str(place.runtime / "kernel.json"),
    )
    manager.ip = str(place.runtime / "k")
    with (place.runtime / "kernel.log").open("ab") as log:
        await manager.start_kernel(env=dict(environment), cwd=str(place.cwd), stdout=log, stderr=log)
    client = manager.client()
    try:
        client.start_channels()
        await client.wait_for_ready(timeout=START_SECONDS)
        client.allow_stdin = False
        await silently(client, _SETUP + _BASELINE)
        yield manager, client
    finally:
        client.stop_channels()
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)
        await manager.cleanup_resources()


async def silently(client: Any, code: str, expression: str = "") -> Any:
    """Run code beside the notebook; the value of `expression` (its text) comes back."""
    expressions = {"value": expression} if expression else {}
    message = client.execute(code, silent=True, store_history=False, user_expressions=expressions)
    while True:
        reply = await client.get_shell_msg(timeout=START_SECONDS)
        if reply["parent_header"].get("msg_id") == message:
            break
    content = reply["content"]
    if content["status"] != "ok":
        raise RuntimeError(f"the kernel cannot be prepared: {content.get('ename')}: {content.get('evalue')}")
    value = (content.get("user_expressions") or {}).get("value", {})
    return (value.get("data") or {}).get("text/plain")


async def baseline(client: Any) -> float:
    """How long a fixed piece of work takes on this machine at this moment, in seconds."""
    return float(await silently(client, "", "_measure()"))


def default_python() -> Path:
    return Path(sys.executable)
