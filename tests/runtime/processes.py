"""Runtimes as processes of their own, on ports the kernel gives, ended with the test whatever happens."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"http://[\d.]+:\d+")
START_SECONDS = 60.0
SERVER = Path(__file__).with_name("openai_server.py")
ECHO = 'def echo(message: str) -> str:\n """Echo the provided message back."""\n return f"Echo: {message}"'


@dataclass
class Answer:
    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    said: list[str]

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        request = urllib.request.Request(self.url + path, body, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return Answer(reply.status, reply.read().decode(), reply.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(), error.headers)

    def rpc(self, method: str, **params: Any) -> Any:
        return self.post("/", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    @property
    def log(self) -> str:
        """Everything on stderr; of an ended process."""
        self.process.wait(30)
        assert self.process.stderr is not None
        self.said.append(self.process.stderr.read())
        return "".join(self.said)


def environment(**values: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PORT": "0", **values}


def launch(module: str, env: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"kaos_ext.runtime.{module}", *arguments]
    return subprocess.Popen(command, env=dict(env), stderr=subprocess.PIPE, text=True)


class Processes:
    """Starts runtimes; `close` kills what still runs."""

    def __init__(self) -> None:
        self._all: list[subprocess.Popen[str]] = []

    def start(self, module: str, env: Mapping[str, str], *arguments: str, ready: bool = True) -> Running:
        process = launch(module, env, *arguments)
        self._all.append(process)
        running = Running(process, "", [])
        assert process.stderr is not None
        line = self._line(process, process.stderr, running.said)
        running.url = ADDRESS.findall(line)[0]
        if ready:
            eventually(lambda: running.get("/ready").status == 200, "the runtime is ready")
        return running

    def openai(self, *arguments: str) -> Running:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._all.append(process)
        running = Running(process, "", [])
        running.url = ADDRESS.findall(self._line(process, process.stdout, running.said))[0]
        return running

    def _line(self, process: subprocess.Popen[str], stream: Any, said: list[str]) -> str:
        """The line that tells the address."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not select.select([stream], [], [], 1)[0]:
                continue
            line: str = stream.readline()
            said.append(line)
            if ADDRESS.search(line):
                return line
            if not line:
                break
        raise AssertionError(f"no address; it said: {''.join(said)} (exit status {process.poll()})")

    def close(self) -> None:
        for process in self._all:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def eventually(check: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first truthy value of `check`, asked again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        select.select([], [], [], 0.01)


def agent_env(state: Path | None = None, *, mcp: Mapping[str, str] | None = None, **values: str) -> dict[str, str]:
    """The environment of an agent named `auto-agent`."""
    servers = dict(mcp or {})
    env = environment(AGENT_NAME="auto-agent", **values)
    if state is not None:
        env["AGENT_STATE_DIR"] = str(state)
    if servers:
        env["MCP_SERVERS"] = ",".join(sorted(servers))
        env |= {f"MCP_SERVER_{name}_URL": url for name, url in servers.items()}
    return env


def mocks(*responses: Any) -> str:
    """The value of DEBUG_MOCK_RESPONSES; what is no text is written as JSON text."""
    return json.dumps([item if isinstance(item, str) else json.dumps(item) for item in responses])


def tool_call(name: str, id: str = "call_1", **arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"id": id, "name": name, "arguments": arguments}]}


@contextmanager
def stream(url: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Server-sent events as dicts of their fields; `data` is parsed."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as reply:
        yield _frames(reply)


def _frames(reply: Any) -> Iterator[dict[str, Any]]:
    frame: dict[str, Any] = {}
    for raw in reply:
        line = raw.decode().rstrip("\n")
        if not line and frame:
            yield frame
            frame = {}
        name, colon, value = line.partition(": ")
        if name and colon:
            frame[name] = json.loads(value) if name == "data" and value != "[DONE]" else value
