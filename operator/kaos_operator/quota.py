"""How many Kubernetes events one object gets: BURST at once, then one every REFILL_SECONDS, as kubectl's own recorder.

What is left out is in the object's status and in the agent's own record all the same.
"""

from __future__ import annotations

from collections.abc import Callable

BURST = 25
REFILL_SECONDS = 300.0


class Quota:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        """By the object's key: how many it has left, and when that was so."""

    def take(self, key: str) -> bool:
        """Whether there is room for one more event of this object."""
        now = self._clock()
        left, at = self._left.get(key, (float(BURST), now))
        left = min(float(BURST), left + (now - at) / REFILL_SECONDS)
        if left < 1:
            return False
        self._left[key] = (left - 1, now)
        return True

    def forget(self, key: str) -> None:
        self._left.pop(key, None)
