"""Clusters in a folder of their own; whatever a test leaves running is an error, and is ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from kaos_ext.cluster.lifecycle import list_clusters, stop_cluster

SERVER = (
    "import http.server, os\n"
    "class Handler(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(str(os.getpid()).encode())\n"
    "    def log_message(self, *words): pass\n"
    "http.server.ThreadingHTTPServer((os.environ['HOST'], 8000), Handler).serve_forever()\n"
)
IMAGES = {"images": {"test/server": {"command": ["{python}", "-c", SERVER]}}}


def processes(folder: Path) -> list[psutil.Process]:
    """Every process that names the folder in its arguments, lives in it, or carries it in its environment."""
    mark = str(folder)
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if any(mark in word for word in words):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


async def until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (value := condition()):
        assert loop.time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)
    return value


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A home for clusters that must be empty of processes when the test ends."""
    path = tmp_path / "home"
    monkeypatch.setenv("KAOS_HOME", str(path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield path
    left = processes(tmp_path)
    names = [" ".join(process.cmdline())[:200] for process in left if process.is_running()]
    for status in await list_clusters():
        await stop_cluster(status.config.name)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    assert not names, f"left running: {names}"
