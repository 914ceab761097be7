"""A queue of keys to reconcile: each key waits at most once, is worked on by one worker at a time, and comes back.

    add(key)            while it waits: nothing; while it is worked on: once more afterwards
    add_after(key, s)   the earliest of several times counts
    retry(key)          after a pause that doubles with each failure in a row; `forget` ends the row

`Pending` is the bookkeeping without a clock or a loop; `WorkQueue` adds both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 30.0


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 5 ms, 10 ms, … 30 s."""
    return min(FIRST_PAUSE * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE)


@dataclass(slots=True)
class Pending(Generic[K]):
    """Which keys wait and which are worked on."""

    waiting: deque[K] = field(default_factory=deque)
    queued: set[K] = field(default_factory=set)
    working: set[K] = field(default_factory=set)
    again: set[K] = field(default_factory=set)
    failures: dict[K, int] = field(default_factory=dict)

    def add(self, key: K) -> bool:
        """Whether a worker should wake up for it."""
        if key in self.working:
            self.again.add(key)
            return False
        if key in self.queued:
            return False
        self.queued.add(key)
        self.waiting.append(key)
        return True

    def take(self) -> K:
        key = self.waiting.popleft()
        self.queued.discard(key)
        self.working.add(key)
        return key

    def done(self, key: K) -> bool:
        """Give a key back; whether it waits again because it was added meanwhile."""
        self.working.discard(key)
        if key not in self.again:
            return False
        self.again.discard(key)
        return self.add(key)

    def failed(self, key: K) -> float:
        """Count a failure; the seconds until the next try."""
        self.failures[key] = self.failures.get(key, 0) + 1
        return pause(self.failures[key])

    def forget(self, key: K) -> None:
        self.failures.pop(key, None)


class WorkQueue(Generic[K]):
    """`Pending` on the running event loop."""

    def __init__(self) -> None:
        self._pending: Pending[K] = Pending()
        self._wake = asyncio.Event()
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def add(self, key: K) -> None:
        if self._pending.add(key):
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def retry(self, key: K) -> float:
        seconds = self._pending.failed(key)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        self._pending.forget(key)

    async def take(self) -> K:
        while not self._pending.waiting:
            self._wake.clear()
            await self._wake.wait()
        return self._pending.take()

    def done(self, key: K) -> None:
        if self._pending.done(key):
            self._wake.set()

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is worked on (timers aside)."""
        return not self._pending.waiting and not self._pending.working

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
