"""How long to pause after an iteration: the interval; after failed ones longer, up to a cap, the more in a row.

A server that says when it wants to be asked again (`Retry-After`) is heeded, up to a cap of its own.
"""

from __future__ import annotations

FIRST_SECONDS = 1.0
CAP_SECONDS = 300.0
ASKED_CAP_SECONDS = 3600.0


def pause(interval_seconds: float, failures: int, asked_seconds: float = 0) -> float:
    """Seconds from the end of one iteration to the start of the next."""
    interval_seconds = max(interval_seconds, min(asked_seconds, ASKED_CAP_SECONDS))
    if failures <= 0:
        return interval_seconds
    # The exponent is bounded so that a loop that failed for a year does not overflow a float.
    backed_off = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 32))
    return max(interval_seconds, backed_off)
