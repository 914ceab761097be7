"""How long a user waits: from `%kaos up` in a fresh notebook to an agent's first finished iteration.

    python benchmarks/main_job.py [--rounds 5] [--json]

Two figures, each beside a baseline of the same round, in a real kernel:

  up     `%kaos up` entered with no state folder → the first finished iteration in the live view
         baseline `bare`: the same three runtimes started by hand with no cluster at all → the first iteration
  agent  one more agent on that cluster, from deploy entered → its first finished iteration in the view
         baseline `bare agent`: the agent's process alone, started by hand → its first iteration

Ratios are per round; the table gives medians. The disk's sync rate is printed, since every write is synced.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

ECHO = 'def echo(message: str) -> str:\n    """Echo the message back."""\n    return f"Echo: {message}"\n'
CALL = '{"tool_calls":[{"id":"call_1","name":"echo","arguments":{"message":"checking"}}]}'
MOCKS = [CALL, "All good."]
PATIENCE = 60.0

LOAD = "%load_ext kaos_ext"
START = """%kaos up
%kaos modelapi deploy auto-api
"""
TOOLS = f"%%kaos mcp deploy auto-echo\n{ECHO}"
AGENT = """handle = get_ipython().run_line_magic(
    "kaos", '''agent deploy {name} --modelapi auto-api --model gpt-4o --mcp auto-echo --autonomous "Echo" '''
    '''--auto-interval 1 --mock-response {call!r} --mock-response "All good."''')
view = get_ipython().run_line_magic("kaos", "agent watch {name}")
view.wait(iterations=1, timeout=60)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def first_iteration(port: int) -> None:
    """Block until the agent on `port` says that its first iteration is over."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/loop", timeout=1) as answer:
                if json.load(answer)["totals"]["iterations"] >= 1:
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit("the bare agent made no iteration")


def runtime(name: str, port: int, **more: str) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), **more}
    return subprocess.Popen(
        [sys.executable, "-m", f"kaos_ext.runtime.{name}"], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def bare(folder: Path, *, only_agent: bool) -> float:
    """Seconds until the first iteration of the runtimes started by hand."""
    model, tools, agent = free_port(), free_port(), free_port()
    processes = []
    around = [runtime("mcp", tools, MCP_TOOLS_STRING=ECHO)] if only_agent else []
    try:
        for _ in around:
            wait_for_port(tools)
        began = time.perf_counter()
        if not only_agent:
            processes.append(runtime("modelapi", model))
            processes.append(runtime("mcp", tools, MCP_TOOLS_STRING=ECHO))
        processes.append(
            runtime(
                "agent", agent, AGENT_NAME="bare", MODEL_API_URL=f"http://127.0.0.1:{model}", MODEL_NAME="gpt-4o",
                MCP_SERVERS="echo", MCP_SERVER_echo_URL=f"http://127.0.0.1:{tools}", AUTONOMOUS_GOAL="Echo",
                AUTONOMOUS_INTERVAL_SECONDS="1", DEBUG_MOCK_RESPONSES=json.dumps(MOCKS),
                AGENT_STATE_DIR=str(folder),
            )
        )  # fmt: skip
        first_iteration(agent)
        return time.perf_counter() - began
    finally:
        for process in [*processes, *around]:
            process.kill()
            process.wait()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise SystemExit(f"nothing listens on {port}")


def execute(client: Any, code: str) -> None:
    reply = client.execute_interactive(code, store_history=False, timeout=PATIENCE, output_hook=lambda message: None)
    if reply["content"]["status"] != "ok":
        raise SystemExit("\n".join(reply["content"].get("traceback", [])) or str(reply["content"]))


def one_round() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        figures = {"bare": bare(root / "bare", only_agent=False), "bare agent": bare(root / "agent", only_agent=True)}
        environment = {**os.environ, "KAOS_HOME": str(root / "kaos"), "KUBECONFIG": str(root / "kubeconfig")}
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env=environment)
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=PATIENCE)
            execute(client, LOAD)
            began = time.perf_counter()
            execute(client, START)
            execute(client, TOOLS)
            execute(client, AGENT.format(name="first", call=CALL))
            figures["up"] = time.perf_counter() - began
            began = time.perf_counter()
            execute(client, AGENT.format(name="second", call=CALL))
            figures["agent"] = time.perf_counter() - began
            execute(client, "%kaos down --delete")
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        return figures


def sync_rate(seconds: float = 0.5) -> float:
    """fdatasyncs per second of the disk that the state lies on."""
    with tempfile.TemporaryFile() as file:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            done += 1
        return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the figures of every round, as JSON")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds} …", file=sys.stderr)
        rounds.append(one_round())
    if options.json:
        print(json.dumps({"rounds": rounds, "syncs_per_second": sync_rate()}))
        return
    print(f"disk: {sync_rate():,.0f} syncs a second; {os.cpu_count()} cores; medians of {options.rounds} rounds\n")
    print(f"{'figure':<8}{'seconds':>10}{'baseline':>22}{'ratio':>8}")
    for name, rival in (("up", "bare"), ("agent", "bare agent")):
        seconds = statistics.median(figures[name] for figures in rounds)
        base = statistics.median(figures[rival] for figures in rounds)
        ratio = statistics.median(figures[name] / figures[rival] for figures in rounds)
        print(f"{name:<8}{seconds:>10.2f}{f'{rival} {base:.2f} s':>22}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
