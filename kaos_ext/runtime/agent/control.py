"""What a run listens to beside its own work: the process stopping, and the owner's wishes.

The owner's wishes are a mounted JSON file, looked at a few times a second: a ConfigMap's files are replaced by renames
of a link, which notification interfaces report in different ways or not at all.

    {"suspend": true}                the loop parks at the next step
    {"suspend": "afterIteration"}    it parks once the open iteration has ended
    {"runNow": "<id>"}               one iteration at once, even while suspended; each new id is one iteration
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the owner wants of the loop."""

    suspend: bool = False
    after_iteration: bool = False
    run_now: str = ""


class Control:
    def __init__(self, stopping: asyncio.Event, *, suspended: bool = False) -> None:
        self.stopping = stopping
        self.suspended = suspended
        self.hold_after = False
        """Suspended, but only once the open iteration has ended."""
        self.request = ""
        """The newest wish for one iteration now."""
        self._changed = asyncio.Event()

    def suspend(self, wanted: bool) -> None:
        self.wish(Wish(suspend=wanted, run_now=self.request))

    def wish(self, wish: Wish) -> None:
        after = wish.suspend and wish.after_iteration
        wanted = (wish.suspend and not after, after, wish.run_now)
        if wanted != (self.suspended, self.hold_after, self.request):
            self.suspended, self.hold_after, self.request = wanted
            self._changed.set()

    def wake(self) -> None:
        """Something the run waits for may have happened."""
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
                    self.wish(wanted)
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


def _wish(path: Path) -> Wish | None:
    try:
        value = json.loads(path.read_text())
        suspend = value.get("suspend", False)
        return Wish(bool(suspend), suspend == "afterIteration", str(value.get("runNow") or ""))
    except (OSError, ValueError, AttributeError) as error:
        log.warning("the control file %s says nothing that can be read: %s", path, error)
        return None
