"""The python-string MCP server with the official client, in both eras of the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from mcp import Client

from tests.runtime.processes import Processes, Running, environment

pytestmark = pytest.mark.process

SOURCE = '''
import time
from dataclasses import dataclass
from os.path import join

@dataclass
class Point:
    x: int

def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b

def fail(why: str) -> str:
    raise ValueError(why)

def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"

async def later(text: str) -> str:
    return text.upper()

def _hidden() -> str:
    return "x"

add.read_only = True
'''


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    started = Processes()
    yield started.start("mcp", environment(MCP_TOOLS_STRING=SOURCE))
    started.close()


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_official_client_lists_and_calls(server: Running, mode: str) -> None:
    async with Client(f"{server.url}/mcp", mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == ["add", "fail", "slow", "later"], "only functions that the source defines, in its order"
        assert tools["add"].description == "Add two numbers."
        assert tools["add"].input_schema["required"] == ["a"]
        assert tools["add"].annotations is not None and tools["add"].annotations.read_only_hint is True
        assert tools["slow"].annotations is None
        result = await client.call_tool("add", {"a": 2, "b": 3})
        assert result.content[0].text == "5" and not result.is_error  # type: ignore[union-attr]
        assert (await client.call_tool("later", {"text": "hi"})).content[0].text == "HI"  # type: ignore[union-attr]


async def test_errors_of_tools_are_results_that_say_so(server: Running) -> None:
    async with Client(f"{server.url}/mcp") as client:
        failed = await client.call_tool("fail", {"why": "no paper"})
        assert failed.is_error and "no paper" in failed.content[0].text  # type: ignore[union-attr]
        wrong = await client.call_tool("add", {"a": "many"})
        assert wrong.is_error and "a" in wrong.content[0].text  # type: ignore[union-attr]


async def test_a_slow_tool_holds_nothing_up(server: Running) -> None:
    import asyncio

    async with Client(f"{server.url}/mcp") as client:
        slow = asyncio.create_task(client.call_tool("slow", {"seconds": 0.6}))
        begun = time.monotonic()
        await client.call_tool("add", {"a": 1})
        assert time.monotonic() - begun < 0.5 and not slow.done()
        assert (await slow).content[0].text == "slept"  # type: ignore[union-attr]


def test_it_is_healthy_and_ready_and_refuses_strangers(server: Running) -> None:
    assert server.get("/health").json["status"] == "healthy"
    assert server.get("/ready").json["status"] == "ready"
    for accept in ("", "*/*", "application/json"):
        assert server.get("/mcp", Accept=accept).status == 406, "what KAOS takes for reachable"
    assert server.get("/mcp", Accept="text/event-stream").status == 405, "no stream is held open for nothing"
    assert server.get("/mcp", Host="evil.example.com").status == 421
    assert server.get("/mcp", Origin="http://evil.example.com").status == 403


ASK = """
import encodings.idna, http.client, json, os, sys
os.setuid(int(sys.argv[2]))
connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
found = []
for headers in ({}, {}, {"X-Forwarded-For": "203.0.113.9"}):
    connection.request("GET", "/mcp", headers={"Accept": "*/*", **headers})
    answer = connection.getresponse()
    answer.read()
    found.append(answer.status)
print(json.dumps(found))
"""


def statuses(server: Running, uid: int) -> list[int]:
    """What this user is answered over one connection: twice, and where it says that it comes from elsewhere."""
    command = [sys.executable, "-c", ASK, server.url.removeprefix("http://"), str(uid)]
    found: list[int] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return found


def test_only_its_own_user_is_served_whatever_a_request_says_of_where_it_comes_from(processes: Processes) -> None:
    me = os.getuid()
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=SOURCE))
    assert statuses(server, me) == [406] * 3, "406 is for who may ask"
    # Only root can be somebody else; anybody else is at least who they are.
    assert statuses(server, 4242 if me == 0 else me) == ([403] if me == 0 else [406]) * 3
    with_token = processes.start("mcp", environment(MCP_TOOLS_STRING=SOURCE, KAOS_SERVICE_TOKEN="s3cret"))
    assert statuses(with_token, me) == [406] * 3, "on this machine its user needs no token"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n    pass", "line 1: "),
        ("x = 1\n\nimport nothing_like_this\n", "line 3: ModuleNotFoundError"),
        ("from os.path import join\n", "defines no function"),
        ("", "MCP_TOOLS_STRING is empty"),
        ("def f(x: undefined_type) -> str:\n    return x\n", "'undefined_type' is not defined"),
    ],
)
def test_source_that_makes_no_tools_ends_the_server_with_the_line(source: str, words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "kaos_ext.runtime.mcp"],
        env=environment(MCP_TOOLS_STRING=source),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 1 and words in ended.stderr and "Traceback" not in ended.stderr


def test_it_ends_with_status_0_when_told_to(processes: Processes) -> None:
    server = processes.start("mcp", environment(MCP_TOOLS_STRING=SOURCE))
    assert server.terminate() == 0
