"""What the server does for itself now and then: forget old revisions, let old events go."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta

from kaos_ext.cluster.apiserver.metadata import with_metadata
from kaos_ext.cluster.apiserver.storage import Decision, Keep, Remove, Storage, Stored
from kaos_ext.store import StoreError

log = logging.getLogger(__name__)
EVERY_SECONDS = 60.0
TIGHT_SECONDS = 1.0
EVENT_LIFE = timedelta(hours=1)


class Upkeep:
    """A task over one storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="upkeep")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._storage.crowded.wait(), EVERY_SECONDS)
            try:
                await self.forget_events(datetime.now(UTC))
                await self._storage.compact()
            except StoreError as error:
                log.warning("upkeep: %s", error)
            except Exception:
                log.exception("upkeep")
            if self._storage.space.is_tight():
                await asyncio.sleep(TIGHT_SECONDS)  # every refused write asks for a compaction

    async def forget_events(self, now: datetime) -> int:
        """Remove events nobody has touched for an hour; how many went."""
        before = (now - EVENT_LIFE).strftime("%Y-%m-%dT%H:%M:%SZ")
        events = self._storage.collection("/events")
        old = [stored for stored in events.scan() if _touched(stored) < before]
        for stored in old:
            await self._storage.write(events, stored.namespace, stored.name, lambda current: _decision(current, before))
        return len(old)


def _decision(current: Stored | None, before: str) -> Decision:
    if current is None or _touched(current) >= before:
        return Keep(current if current is not None else Stored("", "", 0, b"{}"))
    return Remove(with_metadata(current.object))


def _touched(stored: Stored) -> str:
    event = stored.object
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event["metadata"].get("creationTimestamp"),
    )
    return max((str(one) for one in times if one), default="")
