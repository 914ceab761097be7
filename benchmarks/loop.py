"""What the loop costs: iterations per second with events and OpenTelemetry on, beside a bare loop in the same run.

    python benchmarks/loop.py [--rounds 3] [--seconds 3] [--pydantic-ai PYTHON] [--events 1000000] [--agents 100]

One iteration is a model call, a tool call and a model call, against the same server in another process: one that costs
next to nothing, so that the loops are compared and not who answers them; then, ours and bare again, with our own MCP
runtime (the official SDK's server) for the tool. Where there are two processors the loop has one and the servers the
other.

  ours         journal, spans and metrics (to an exporter that drops them); the intent of each tool call is synced to
               the disk before it is made, as for any tool that does not say it may be repeated
  ours, read-only tool   the same with a tool that says so: nothing is synced
  bare         httpx and the official MCP client, both kept open; nothing is written
  pydantic-ai  by the interpreter of an environment that has pydantic-ai and mcp; left out, and said so, without one

Then: one append, a live tail of ten readers at 100 events/s, the last page of a long log, the next step after kill -9,
and resident agents on a real cluster (density.py). Ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ECHO = 'def echo(message: str) -> str:\n    """Echo the message back."""\n    return f"Echo: {message}"\n'
WARM_UP = 15


def server() -> None:
    """A model and an MCP server of one tool, the stateless revision only, at one address."""
    import httptools

    call = {"id": "c", "type": "function", "function": {"name": "echo", "arguments": '{"message": "hi"}'}}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}

    def chat(message: dict[str, Any], finish: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}

    first = chat({"content": None, "tool_calls": [call]}, "tool_calls")
    second = chat({"content": "All good."}, "stop")
    text = {"type": "string"}
    tool = {
        "name": "echo",
        "description": "Echo the message back.",
        "inputSchema": {"type": "object", "properties": {"message": text}, "required": ["message"]},
        "outputSchema": {"type": "object", "properties": {"result": text}, "required": ["result"]},
    }

    def result(method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "tools/call":
            said = f"Echo: {params['arguments']['message']}"
            content = [{"type": "text", "text": said}]
            return {"content": content, "isError": False, "structuredContent": {"result": said}}
        fresh = {"cacheScope": "private", "ttlMs": 0}
        if method == "tools/list":
            return {"tools": [tool], **fresh}
        return {"capabilities": {"tools": {}}, "supportedVersions": ["2026-07-28"], **fresh}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if "jsonrpc" not in asked:
            return second if asked["messages"][-1]["role"] == "tool" else first
        about = {"resultType": "complete", "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s"}}}
        return {"jsonrpc": "2.0", "id": asked["id"], "result": result(asked["method"], asked["params"]) | about}

    class Served(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport, self._parser, self._body = transport, httptools.HttpRequestParser(self), bytearray()

        def data_received(self, data: bytes) -> None:
            self._parser.feed_data(data)

        def on_message_begin(self) -> None:
            self._body.clear()

        def on_body(self, body: bytes) -> None:
            self._body += body

        def on_message_complete(self) -> None:
            told = json.dumps(answer(json.loads(bytes(self._body)))).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(told)
            self._transport.write(head + told)

    async def main() -> None:
        listening = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Event().wait()

    pin(-1)
    asyncio.run(main())


def pin(place: int) -> None:
    """This process, and those it starts, on one processor: the first or the last, where there are several."""
    if hasattr(os, "sched_setaffinity") and len(mine := sorted(os.sched_getaffinity(0))) > 1:
        os.sched_setaffinity(0, {mine[place]})


def measured(done: int, wall: float, cpu: float) -> None:
    print(json.dumps({"iterations_per_second": done / wall, "cpu_ms": 1000 * cpu / done}), flush=True)


async def timed(iterate: Callable[[], Any], seconds: float) -> None:
    for _ in range(WARM_UP):
        await iterate()
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        await iterate()
        done += 1
    measured(done, time.perf_counter() - wall, time.process_time() - cpu)


async def bare(model: str, mcp: str, seconds: float) -> None:
    import httpx
    from mcp import Client

    async with httpx.AsyncClient() as http, Client(f"{mcp}/mcp") as tools:
        listed = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description, "parameters": t.input_schema},
            }
            for t in (await tools.list_tools()).tools
        ]

        async def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
            body = {"model": "m", "messages": messages, "tools": listed}
            reply = await http.post(f"{model}/v1/chat/completions", json=body)
            answer: dict[str, Any] = reply.json()["choices"][0]["message"]
            return answer

        async def iterate() -> None:
            messages: list[dict[str, Any]] = [{"role": "user", "content": "Use the echo tool"}]
            while True:
                answer = await ask(messages)
                messages.append(answer)
                if not answer.get("tool_calls"):
                    return
                for call in answer["tool_calls"]:
                    made = call["function"]
                    result = await tools.call_tool(made["name"], json.loads(made["arguments"]))
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": result.content[0].text})

        await timed(iterate, seconds)


async def ours(model: str, mcp: str, seconds: float, *, read_only: bool = False) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from kaos_ext.runtime import trace
    from kaos_ext.runtime.agent.journal import Journal
    from kaos_ext.runtime.agent.mcp import McpServer
    from kaos_ext.runtime.agent.openai import OpenAIModel
    from kaos_ext.runtime.agent.records import SCHEMA
    from kaos_ext.runtime.agent.runner import Equipment
    from kaos_ext.runtime.agent.service import AgentService
    from kaos_ext.runtime.agent.settings import Settings, ToolCallMode
    from kaos_ext.runtime.agent.spans import Spans
    from kaos_ext.runtime.agent.tools import Tool, ToolBox
    from kaos_ext.runtime.telemetry import Telemetry
    from kaos_ext.store import Log, Sync

    class Server(McpServer):
        async def list_tools(self) -> list[Tool]:
            return [dataclasses.replace(tool, repeatable=read_only) for tool in await super().list_tools()]

    class Drop(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return (
                SpanExportResult.SUCCESS
                if all(isinstance(s, ReadableSpan) for s in spans)
                else SpanExportResult.FAILURE
            )

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop()))
    telemetry = Telemetry(
        provider.get_tracer("bench"), MeterProvider().get_meter("bench"), (provider,), logging.NullHandler()
    )
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Log.open(Path(folder) / "events.db", SCHEMA, sync=Sync.NORMAL, auto_checkpoint=False))
        spans = Spans(telemetry, "a", "m")
        journal.observers.append(spans)
        trace.use(spans.headers)
        settings = Settings("a", goal="Use the echo tool", model="m")
        server = Server("echo", mcp)
        tools = ToolBox([server])
        stopping = asyncio.Event()
        talk = OpenAIModel(model, "m", ToolCallMode.AUTO)
        equipment = Equipment(journal, talk, tools, "")
        service = AgentService(settings, equipment, stopping)
        loop = asyncio.create_task(service.run_loop())
        await asyncio.sleep(0.5)
        before = service.loop_state.totals.iterations
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        done = service.loop_state.totals.iterations - before
        assert service.loop_state.last_outcome == "Completed", service.loop_state.last_error
        measured(done, time.perf_counter() - wall, time.process_time() - cpu)
        stopping.set()
        await loop
        await server.close()
        await talk.close()
        journal.close()
        spans.make()
        telemetry.close()


async def pydantic_ai(model: str, mcp: str, seconds: float) -> None:
    from pydantic_ai import Agent  # type: ignore[import-not-found, unused-ignore]
    from pydantic_ai.mcp import MCPToolset  # type: ignore[import-not-found, unused-ignore]
    from pydantic_ai.models.openai import OpenAIChatModel  # type: ignore[import-not-found, unused-ignore]
    from pydantic_ai.providers.openai import OpenAIProvider  # type: ignore[import-not-found, unused-ignore]

    provider = OpenAIProvider(base_url=f"{model}/v1", api_key="x")
    agent = Agent(OpenAIChatModel("m", provider=provider), toolsets=[MCPToolset(f"{mcp}/mcp")])
    async with agent:
        await timed(lambda: agent.run("Use the echo tool"), seconds)


def worker(python: str, kind: str, model: str, mcp: str, seconds: float) -> dict[str, float]:
    command = [python, __file__, "--worker", kind, "--model", model, "--mcp", mcp, "--seconds", str(seconds)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def appends() -> dict[str, float]:
    from kaos_ext.model.events import Event, EventType
    from kaos_ext.runtime.agent.journal import Journal
    from kaos_ext.runtime.agent.records import SCHEMA
    from kaos_ext.store import Log, Sync

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Log.open(Path(folder) / "e.db", SCHEMA, sync=Sync.NORMAL, auto_checkpoint=False))
        took, busy = [], []
        for n in range(20_000):
            event = Event(EventType.TOOL_RESULT, {"tool": "echo", "result": "Echo: hi"}, 0, 0.0, "s", "loop", n, 1)
            began, used = time.perf_counter(), time.thread_time()
            journal.record([event])
            took.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.thread_time() - used))
        journal.close()
    # On a busy machine most of the 99th percentile is other processes' time; `cpu` is without it.
    return {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99), "cpu_p99_ms": percentile(busy, 0.99)}


def pages(count: int) -> dict[str, float]:
    from kaos_ext.runtime.agent.journal import Journal
    from kaos_ext.runtime.agent.records import SCHEMA
    from kaos_ext.store import Log, Sync

    kinds = ("user_message", "model_request", "model_response", "tool_call", "tool_result", "agent_response")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in (1000, count):
            log = Log.open(Path(folder) / f"{size}.db", SCHEMA, sync=Sync.NORMAL)
            for start in range(0, size, 10_000):
                log.append(
                    [
                        {"time": 1.0 * n, "type": kinds[n % 6], "run": "loop", "session": "s", "iteration": n // 6,
                         "step": 1, "content": '{"tool": "echo", "result": "Echo: hi"}', "data": None}
                        for n in range(start, min(size, start + 10_000))
                    ]
                )  # fmt: skip
            # The ledger of a long log is summed up once, at its first opening; pages do not need it.
            journal = Journal(log)
            took = []
            for _ in range(200):
                began = time.perf_counter()
                assert len(journal.page(limit=100)) > 90
                took.append(1000 * (time.perf_counter() - began))
            found[f"last page of {size} events, p50 ms"] = percentile(took, 0.5)
            journal.close()
    return found


async def tails(readers: int = 10, rate: int = 100, seconds: float = 5.0) -> dict[str, float]:
    import aiohttp

    from kaos_ext.model.events import Event, EventType
    from kaos_ext.runtime.agent.journal import Journal
    from kaos_ext.runtime.agent.memory import Memory
    from kaos_ext.runtime.agent.records import SCHEMA
    from kaos_ext.runtime.shell import Shell
    from kaos_ext.store import Log, Sync

    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Log.open(Path(folder) / "e.db", SCHEMA, sync=Sync.NORMAL, auto_checkpoint=False))
        shell = Shell("agent", "bench", {"HOST": "127.0.0.1", "PORT": "0"})
        shell.app.router.add_get("/stream", Memory(shell, journal, enabled=True).stream)
        await shell.listen()

        async def read(session: aiohttp.ClientSession) -> None:
            async with session.get(f"http://127.0.0.1:{shell.port}/stream") as response:
                async for line in response.content:
                    if line.startswith(b"data:"):
                        sent = json.loads(line[5:])["content"]
                        if sent:
                            took.append(1000 * (time.perf_counter() - sent["at"]))

        async with aiohttp.ClientSession() as session:
            reading = [asyncio.create_task(read(session)) for _ in range(readers)]
            await asyncio.sleep(0.5)
            for n in range(int(rate * seconds)):
                journal.record(
                    [Event(EventType.TOOL_RESULT, {"at": time.perf_counter(), "n": n}, run="loop", session="s")]
                )
                await asyncio.sleep(1 / rate)
            for task in reading:
                task.cancel()
            for ended in await asyncio.gather(*reading, return_exceptions=True):
                if not isinstance(ended, asyncio.CancelledError):
                    raise RuntimeError(f"a reader ended: {ended!r}")
        await shell.close()
        journal.close()
    return {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99), "received": float(len(took))}


def agent(env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "kaos_ext.runtime.agent"]
    base = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PORT": "0"}
    process = subprocess.Popen(command, env=base | env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "http://" in line:
            return process, "http://" + line.split("http://")[1].strip()
    raise RuntimeError("the agent did not start")


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return json.loads(reply.read())


def resumes(rounds: int = 5) -> dict[str, float]:
    took = []
    with tempfile.TemporaryDirectory() as folder:
        env = {"AGENT_NAME": "a", "AGENT_STATE_DIR": folder, "AUTONOMOUS_GOAL": "go", "DEBUG_MOCK_RESPONSES": '["x"]',
               "AUTONOMOUS_INTERVAL_SECONDS": "0"}  # fmt: skip
        for _ in range(rounds + 1):
            began = time.time()
            process, url = agent(env)
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 20
            started: list[Any] = []
            while not started and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    page = get(f"{url}/memory/events?type=loop_started&order=desc&limit=1")["events"]
                    if page:
                        started = get(f"{url}/memory/events?type=model_request&since={page[0]['seq']}&limit=1")[
                            "events"
                        ]
            from kaos_ext.model.events import seconds_of

            took.append(seconds_of(started[0]["timestamp"]) - began)
            process.send_signal(signal.SIGKILL)
            process.wait()
            drain.wait()
    return {"p50_seconds": statistics.median(took[1:]), "worst_seconds": max(took[1:])}


def density(count: int, seconds: float, by_exec: bool) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    from density import density as measured  # a page of its own: it needs a whole cluster

    found: dict[str, Any] = measured(count, seconds, by_exec=by_exec)
    return found


def compare(rounds: int, seconds: float, pai: str | None, tool_runtime: bool) -> dict[str, Any]:
    servers = [subprocess.Popen([sys.executable, __file__, "--worker", "server"], stdout=subprocess.PIPE, text=True)]
    try:
        assert servers[0].stdout is not None
        model = mcp = servers[0].stdout.readline().strip()
        if tool_runtime:
            env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PORT": "0"}
            command = [sys.executable, "-m", "kaos_ext.runtime.mcp"]
            servers.append(
                subprocess.Popen(
                    command, env=env | {"MCP_TOOLS_STRING": ECHO}, stderr=subprocess.PIPE, text=True,
                    preexec_fn=functools.partial(pin, -1),
                )
            )  # fmt: skip
            assert servers[1].stderr is not None
            mcp = next(
                "http://" + line.split("http://")[1].split()[0] for line in servers[1].stderr if "http://" in line
            )
        own = dict.fromkeys(("bare", "ours", "ours, read-only tool"), sys.executable)
        kinds = own | ({"pydantic-ai": pai} if pai else {})
        found = [
            {kind: worker(python, kind, model, mcp, seconds) for kind, python in kinds.items()} for _ in range(rounds)
        ]
    finally:
        for one in servers:
            one.kill()
            one.wait()
    result: dict[str, Any] = {
        kind: {key: statistics.median(r[kind][key] for r in found) for key in found[0][kind]} for kind in kinds
    }
    speed, cpu = "iterations_per_second", "cpu_ms"
    for other in kinds:
        if not other.startswith("ours"):
            result[f"ours/{other}"] = {
                key: statistics.median(r["ours"][key] / r[other][key] for r in found) for key in (speed, cpu)
            }
    if not pai:
        result["pydantic-ai"] = "not measured: give --pydantic-ai the interpreter of an environment that has it"
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--exec", action="store_true", help="density: pods by exec instead of fork")
    parser.add_argument("--pydantic-ai", metavar="PYTHON")
    parser.add_argument("--only", choices=["loop", "append", "page", "tail", "resume", "density"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--mcp", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker == "server":
        server()
        return
    if given.worker:
        pin(0)
        read_only = functools.partial(ours, read_only=True)
        kinds: dict[str, Callable[..., Any]] = {
            "bare": bare, "ours": ours, "ours, read-only tool": read_only, "pydantic-ai": pydantic_ai,
        }  # fmt: skip
        asyncio.run(kinds[given.worker](given.model, given.mcp, given.seconds))
        return
    parts: dict[str, Callable[[], Any]] = {
        "loop": lambda: compare(given.rounds, given.seconds, given.pydantic_ai, tool_runtime=False),
        "loop with our MCP runtime": lambda: compare(given.rounds, given.seconds, None, tool_runtime=True),
        "append": appends,
        "tail": lambda: asyncio.run(tails()),
        "page": lambda: pages(given.events),
        "resume": resumes,
        "density": lambda: density(given.agents, 20.0, given.exec),
    }
    for name, part in parts.items():
        if given.only is None or name.startswith(given.only):
            print(json.dumps({name: part()}, indent=1), flush=True)


if __name__ == "__main__":
    main()
