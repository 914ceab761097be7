"""Times as people read them: `6 ms`, `0.42 s`, `3 m 12 s`, `2 h 05 m`, `4 d 3 h`."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def duration(seconds: float | None) -> str:
    """A measured time."""
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{max(0, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds:.2f} s"
    return span(seconds)


def span(seconds: float) -> str:
    """An age or a long time, in its two largest units."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def countdown(seconds: float) -> str:
    """The time to something, fine enough to be seen moving."""
    if seconds <= 0:
        return "now"
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def clock(epoch: float, zone: tzinfo = UTC) -> str:
    """`12:04:31.208`"""
    return datetime.fromtimestamp(epoch, zone).strftime("%H:%M:%S.%f")[:-3]
