"""Following a log as it grows, from any id, without polling, gap or double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from kaos_ext.store.log import Log, Row, Value

PAGE = 500


async def follow(log: Log, *, after: int = 0, where: str = "", parameters: Sequence[Value] = ()) -> AsyncIterator[Row]:
    """Rows with an id above `after` (that match `where`), first those there are, then each as it is committed."""
    loop = asyncio.get_running_loop()
    grown = asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(grown.set)

    stop = log.on_append(wake)
    condition = f"id > ? AND ({where})" if where else "id > ?"
    try:
        while True:
            # Cleared before reading: what is appended meanwhile wakes us again.
            grown.clear()
            seen = log.last_id
            rows = log.select(condition, (after, *parameters), limit=PAGE)
            for row in rows:
                after = int(row["id"] or 0)
                yield row
            if len(rows) < PAGE:
                after = max(after, seen)
                await grown.wait()
    finally:
        stop()
