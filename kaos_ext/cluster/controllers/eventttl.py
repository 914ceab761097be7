"""Events are kept for a while and then removed."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Iterable

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.controllers.events import parse_time
from kaos_ext.kube.objects import EVENTS, ApiError, Object, is_not_found
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)


def last_seen(event: Object) -> dt.datetime:
    series = event.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"]["creationTimestamp"]
    )
    return parse_time(text)


def expired(events: Iterable[Object], now: dt.datetime, keep: dt.timedelta) -> list[Object]:
    return [event for event in events if last_seen(event) + keep < now]


async def remove_expired(client: Client, now: dt.datetime, keep: dt.timedelta) -> int:
    """One round; how many were removed."""
    old = expired((await client.list(EVENTS)).items, now, keep)
    for event in old:
        metadata = event["metadata"]
        try:
            await client.delete(EVENTS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except ApiError as error:
            if not is_not_found(error):
                raise
    return len(old)


async def run(client: Client, keep: dt.timedelta, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            await remove_expired(client, dt.datetime.now(dt.UTC), keep)
        except KaosError as error:
            _log.warning("old events not removed: %s", error)
