"""What a run listens to beside its own work: the process stopping, and the owner's suspension.

The owner's wish is a mounted JSON file, `{"suspend": true}`, looked at a few times a second: a ConfigMap's files are
replaced by renames of a link, which notification interfaces report in different ways or not at all.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

POLL_SECONDS = 0.2
log = logging.getLogger(__name__)


class Control:
    def __init__(self, stopping: asyncio.Event, *, suspended: bool = False) -> None:
        self.stopping = stopping
        self.suspended = suspended
        self._changed = asyncio.Event()

    def suspend(self, wanted: bool) -> None:
        if wanted != self.suspended:
            self.suspended = wanted
            self._changed.set()

    async def wait(self, seconds: float | None) -> None:
        """Return after so long, or as soon as the owner's wish changes or the process is to stop."""
        self._changed.clear()
        waits = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(self.stopping.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def follow(self, path: Path) -> None:
        """Follow the control file until the process stops. No file means no wish: what the environment said stays."""
        seen: object = None
        while not self.stopping.is_set():
            mark = _mark(path)
            if mark is not None and mark != seen:
                seen = mark
                wanted = _wish(path)
                if wanted is not None:
                    self.suspend(wanted)
            try:
                await asyncio.wait_for(self.stopping.wait(), POLL_SECONDS)
            except TimeoutError:
                continue


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _wish(path: Path) -> bool | None:
    try:
        value = json.loads(path.read_text())
        return bool(value.get("suspend", False))
    except (OSError, ValueError, AttributeError) as error:
        log.warning("the control file %s says nothing that can be read: %s", path, error)
        return None
