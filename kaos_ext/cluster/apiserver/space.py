"""The space on a store's disk, and the last of it, which is kept for what makes room: deletions and compaction.

As etcd with its quota: long before a disk is really full nothing is created or changed any more, and everything can
still be deleted. What other programs write into the last megabytes is their own; then deletions are refused as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

RESERVE = 16 * 2**20
"""So much is kept, or a fiftieth of a small disk."""
LOOK_SECONDS = 0.25


def free_and_total(folder: Path) -> tuple[int, int]:
    """Bytes that this user can still write, and bytes of the whole disk."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Space:
    """Asks the disk a few times a second at most."""

    def __init__(
        self,
        folder: Path,
        ask: Callable[[Path], tuple[int, int]] = free_and_total,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._ask = ask
        self._clock = clock
        self._until = 0.0
        self._tight = False

    def free(self) -> int:
        return self._ask(self._folder)[0]

    def is_tight(self) -> bool:
        """Whether only what is kept for making room is left."""
        now = self._clock()
        if now >= self._until:
            free, total = self._ask(self._folder)
            self._tight = free < min(RESERVE, total // 50)
            self._until = now + LOOK_SECONDS
        return self._tight
