"""Kubernetes events of the node, in the kubelet's words; the same event again raises its count.

Telling never delays a pod: events are queued, and one that the API server refuses (its namespace is going) is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Any

from kaos_ext.cluster.client import Client
from kaos_ext.kube.objects import EVENTS, Object
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)
_REMEMBERED = 2048


def timestamp() -> str:
    """A moment as metav1.Time writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Recorder:
    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[tuple[Object, str, str, str, str]] = asyncio.Queue(maxsize=4096)
        self._known: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()
        self._stamp = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="node events")

    async def close(self) -> None:
        """Write what is queued, then stop."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(2):
                await self._queue.join()
        except TimeoutError:
            _log.warning("%d events were not written", self._queue.qsize())
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def normal(self, object: Object, reason: str, message: str, container: str = "") -> None:
        self._put(object, "Normal", reason, message, container)

    def warning(self, object: Object, reason: str, message: str, container: str = "") -> None:
        self._put(object, "Warning", reason, message, container)

    def _put(self, object: Object, type_: str, reason: str, message: str, container: str) -> None:
        try:
            self._queue.put_nowait((object, type_, reason, message[:1024], container))
        except asyncio.QueueFull:
            _log.warning("too many events; dropped %s: %s", reason, message)

    async def _run(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self._write(*item)
            except (KaosError, OSError, TimeoutError) as error:
                _log.debug("event not written: %s", error)
            finally:
                self._queue.task_done()

    async def _write(self, object: Object, type_: str, reason: str, message: str, container: str) -> None:
        metadata = object["metadata"]
        namespace = metadata.get("namespace") or "default"
        key = (metadata.get("uid", ""), container, type_, reason, message)
        now = timestamp()
        if key in self._known:
            name, count = self._known[key]
            self._known[key] = (name, count + 1)
            patch: dict[str, Any] = {"count": count + 1, "lastTimestamp": now}
            await self._client.patch(EVENTS, name, patch, namespace)
            return
        # Named by the moment, as the real one's: a list by name is a list in time.
        self._stamp = max(time.time_ns(), self._stamp + 1)
        name = f"{metadata['name']}.{self._stamp:x}"
        involved = {
            "kind": object.get("kind", "Pod"),
            "apiVersion": object.get("apiVersion", "v1"),
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        if metadata.get("namespace"):
            involved["namespace"] = metadata["namespace"]
        if container:
            init = any(each["name"] == container for each in object.get("spec", {}).get("initContainers") or [])
            involved["fieldPath"] = f"spec.{'initContainers' if init else 'containers'}{{{container}}}"
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": type_,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._client.create(EVENTS, event, namespace)
        self._known[key] = (name, 1)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
