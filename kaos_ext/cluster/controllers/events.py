"""Kubernetes events: written behind the work, in order; what repeats is counted on one object."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.client import Client
from kaos_ext.kube.objects import EVENTS, Object, is_not_found
from kaos_ext.model.errors import KaosError

NORMAL, WARNING = "Normal", "Warning"
_REMEMBERED = 2000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    about: Object
    type: str
    reason: str
    message: str
    component: str
    action: str


class Recorder:
    """`event(...)` returns at once; `run` writes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(maxsize=5000)
        self._written: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()

    def event(self, about: Object, type: str, reason: str, message: str, *, component: str, action: str = "") -> None:
        try:
            self._queue.put_nowait(_Entry(about, type, reason, message[:1024], component, action))
        except asyncio.QueueFull:
            _log.warning("event %s of %s dropped: the API server is too slow", reason, about["metadata"]["name"])

    async def run(self) -> None:
        while True:
            entry = await self._queue.get()
            try:
                await self._write(entry)
            except KaosError as error:
                # A namespace that ends takes no new events; nothing else depends on them.
                _log.debug("event %s not written: %s", entry.reason, error)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        await self._queue.join()

    async def _write(self, entry: _Entry) -> None:
        reference = reference_to(entry.about)
        namespace = reference.get("namespace") or "default"
        identity = (namespace, str(reference.get("uid")), entry.type, entry.reason, entry.message, entry.component)
        now = now_text()
        if identity in self._written:
            name, count = self._written[identity]
            try:
                await self._client.patch(EVENTS, name, {"count": count + 1, "lastTimestamp": now}, namespace)
            except KaosError as error:
                if not is_not_found(error):
                    raise
            else:
                self._written[identity] = (name, count + 1)
                self._written.move_to_end(identity)
                return
        stored = await self._client.create(EVENTS, event_object(entry, reference, namespace, now), namespace)
        self._written[identity] = (stored["metadata"]["name"], 1)
        while len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)


def event_object(entry: _Entry, reference: dict[str, Any], namespace: str, now: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{reference['name']}.{time.time_ns():x}", "namespace": namespace},
        "involvedObject": reference,
        "reason": entry.reason,
        "message": entry.message,
        "type": entry.type,
        "source": {"component": entry.component},
        "reportingComponent": entry.component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def reference_to(object: Object) -> dict[str, Any]:
    """An ObjectReference; the object needs its apiVersion and kind."""
    metadata = object["metadata"]
    reference = {
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": metadata["name"],
        "namespace": metadata.get("namespace"),
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {key: value for key, value in reference.items() if value}


def now_text(now: dt.datetime | None = None) -> str:
    return (now or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> dt.datetime:
    """A time as the API writes it, with or without a fraction."""
    return dt.datetime.fromisoformat(text)
