"""Proof that nothing is left: processes that belong to a state folder.

A process belongs to it by its command line, by its environment or by where it works: one that gives itself a title
overwrites the first two, and a pod's process works in a folder of its own there.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil


def processes_of(home: Path) -> list[str]:
    """Processes, other than this one, that know `home`."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "name"]):
        if process.pid == os.getpid() or process.pid == os.getppid():
            continue
        words = list(process.info["cmdline"] or ())
        with suppress(psutil.Error):
            words += process.environ().values()
        with suppress(psutil.Error):
            words.append(process.cwd())
        if any(str(home) in word for word in words):
            found.append(f"{process.pid} {' '.join(process.info['cmdline'] or [process.info['name'] or '?'])[:120]}")
    return found


def wait_until_none(home: Path, seconds: float = 5.0) -> list[str]:
    """What is still there after that long; usually nothing, at once."""
    deadline = time.monotonic() + seconds
    while left := processes_of(home):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []
