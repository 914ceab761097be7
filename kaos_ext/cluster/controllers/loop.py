"""What every controller shares: informers used by several, a queue with a worker, events, and their common life.

    shared = Shared(client)              one informer per resource, whoever asks
    controller = SomeController(shared)  registers its handlers
    await start_all(...)                 informers first; workers when all copies are complete

A controller has a name, a queue and `reconcile(key)`; it returns None, or the seconds after which it wants to look at
the key again. A refusal because of a stale state is tried again soon, quietly; any other error after a growing pause,
and logged.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.controllers.events import Recorder
from kaos_ext.cluster.controllers.informer import Informer, Key
from kaos_ext.cluster.controllers.queue import WorkQueue
from kaos_ext.kube.objects import ApiError, Object, Resource, is_conflict, is_not_found
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)


class Shared:
    """The client, the recorder of events, and one informer for each resource that some controller follows."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.recorder = Recorder(client)
        self._informers: dict[Resource, Informer] = {}

    def informer(self, resource: Resource) -> Informer:
        if resource not in self._informers:
            self._informers[resource] = Informer(self.client, resource)
        return self._informers[resource]

    def known(self, resource: Resource) -> Informer | None:
        """The informer of a resource that somebody follows already."""
        return self._informers.get(resource)

    @property
    def informers(self) -> list[Informer]:
        return list(self._informers.values())


class Controller(ABC):
    """Reconciles keys, `workers` at a time."""

    name: str = ""
    workers: int = 4

    def __init__(self) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()

    @abstractmethod
    async def reconcile(self, key: Key) -> float | None:
        """Bring the world one step nearer to what the object asks for."""

    async def started(self) -> None:
        """Called once, when all informers are complete and before the first key."""
        return

    async def work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                again = await self.reconcile(key)
            except KaosError as error:
                self.queue.retry(key)
                if not (is_conflict(error) or is_not_found(error) or namespace_ends(error)):
                    _log.warning("%s %s/%s: %s", self.name, *key, error)
            except Exception:
                self.queue.retry(key)
                _log.exception("%s %s/%s failed", self.name, *key)
            else:
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.workers):
                    group.create_task(self.work())
        finally:
            self.queue.close()


def namespace_ends(error: KaosError) -> bool:
    """Whether a creation was refused because the namespace is being deleted."""
    return isinstance(error, ApiError) and any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)


def enqueue(queue: WorkQueue[Key]) -> Callable[[Object | None, Object | None], None]:
    """A handler that queues the changed object itself."""

    def handler(old: Object | None, new: Object | None) -> None:
        metadata = (new or old or {})["metadata"]
        queue.add((metadata.get("namespace") or "", metadata["name"]))

    return handler
