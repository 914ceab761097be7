"""How long to pause after an iteration: the interval, and longer, up to a cap, the more iterations failed in a row."""

from __future__ import annotations

FIRST_SECONDS = 1.0
CAP_SECONDS = 300.0


def pause(interval_seconds: float, failures: int) -> float:
    """Seconds from the end of one iteration to the start of the next."""
    if failures <= 0:
        return interval_seconds
    # The exponent is bounded so that a loop that failed for a year does not overflow a float.
    backed_off = min(CAP_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 32))
    return max(interval_seconds, backed_off)
