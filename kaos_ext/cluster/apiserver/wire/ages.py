"""Ages as kubectl shows them: `5s`, `3m20s`, `4h`, `12d`."""

from __future__ import annotations

from datetime import UTC, datetime

_DAY = 24


def moment(text: str) -> datetime | None:
    """An RFC 3339 time; None when there is none."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def human(seconds: float) -> str:
    """A duration in at most two units."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 2 * _DAY:
        return f"{hours}h"
    if hours < 8 * _DAY:
        return f"{hours // _DAY}d{hours % _DAY}h" if hours % _DAY else f"{hours // _DAY}d"
    days = hours // _DAY
    if days < 2 * 365:
        return f"{days}d"
    if days < 8 * 365:
        return f"{days // 365}y{days % 365}d" if days % 365 else f"{days // 365}y"
    return f"{days // 365}y"


def since(text: str | None, now: datetime) -> str:
    """How long ago a time of an object was."""
    then = moment(text or "")
    return "<unknown>" if then is None else human((now - then).total_seconds())
