"""A task that follows changes of collections and looks at what is due, each thing once however often it changed."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod

from kaos_ext.cluster.apiserver.storage import Change, Collection
from kaos_ext.kube.objects import ApiError

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


class Follower(ABC):
    """`follow` collections, say in `due` what a change makes due, and `settle` it."""

    name = ""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def due(self, collection: Collection, change: Change) -> list[str]:
        """The keys to look at because of a change."""

    @abstractmethod
    async def settle(self, key: str) -> None:
        """Bring one thing in order."""

    def follow(self, collection: Collection) -> None:
        collection.listeners.append(lambda change: self.add(*self.due(collection, change)))

    def add(self, *keys: str) -> None:
        if keys:
            self._keys.update(dict.fromkeys(keys))
            self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._keys:
                key = next(iter(self._keys))
                del self._keys[key]
                try:
                    await self.settle(key)
                except ApiError as error:
                    if error.code == 409:
                        self.add(key)
                    elif error.code != 404:
                        self._again(key, error)
                except Exception as error:
                    self._again(key, error)

    def _again(self, key: str, error: Exception) -> None:
        log.warning("%s: %s: %s", self.name, key, error)
        asyncio.get_running_loop().call_later(RETRY_SECONDS, self.add, key)
