"""Processes by pid and birth: is it still there, and wait until it is not.

On Linux the kernel tells the end of any process through a pidfd, at once and whoever's child it is; elsewhere it is
looked for twice a second.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kaos_ext.cluster.node.processes import birth

_LOOK_SECONDS = 0.5


def lives(pid: int, born: str | None) -> bool:
    """Whether the process with this pid is the one that was meant, and has not ended."""
    now = birth(pid)
    return now is not None and (not born or now == born)


async def ended(pid: int, born: str | None) -> None:
    """Return when the process has ended (at once when it has already)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        while lives(pid, born):  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(_LOOK_SECONDS)
        return
    try:
        # Opened first, looked at afterwards: from here on the pid cannot have become another's.
        if not lives(pid, born):
            return
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def read_pid_file(path: Path) -> tuple[int, str] | None:
    """Pid and birth from a `<pid> <birth> <version>` file; None when it is missing or does not say them."""
    try:
        words = path.read_text().split()
        return int(words[0]), words[1]
    except (FileNotFoundError, IndexError, ValueError):
        return None


def version_of(path: Path) -> str:
    """Which version of this package the process of a pid file runs; empty where the file does not say."""
    try:
        return path.read_text().split()[2]
    except (FileNotFoundError, IndexError):
        return ""
