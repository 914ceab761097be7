"""Watches: a cursor over a collection's ring of committed changes.

A watcher has no queue: it reads the ring from where it stopped, so a slow one costs nothing, and one so slow that the
ring has forgotten its place is told 410 and goes. One that waits with nothing unsent is given a change as it is
committed. Bookmarks say how far the watcher has come when nothing else does.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.faces import face
from kaos_ext.cluster.apiserver.options import ListOptions
from kaos_ext.cluster.apiserver.reads import Scope
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage, Stored, encode
from kaos_ext.kube.objects import ApiError

BOOKMARK_SECONDS = 45.0
LAST_SECONDS = 2.0
"""How long before its end a watch gets a last bookmark."""
"""Below the minute after which operators give a silent watch up."""
DEFAULT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One event for one watcher; `change` is where its shared encoding is kept, if there is one."""

    kind: str
    stored: Stored
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Bookmark:
    revision: int
    initial_end: bool = False


Event = Seen | Bookmark


def too_old(revision: int, collection: Collection) -> ApiError:
    return failures.expired(f"too old resource version: {revision} ({max(collection.evicted, collection.birth)})")


class Watch:
    """One watch from its start; iterate over `batches()`. Refusals that become ERROR events are raised by it."""

    def __init__(self, storage: Storage, scope: Scope, options: ListOptions) -> None:
        self._storage = storage
        self._scope = scope
        self._options = options
        self._collection = storage.collection(scope.served.storage)
        seconds = options.timeout_seconds or DEFAULT_SECONDS * random.uniform(1, 2)  # noqa: S311
        self._ends = asyncio.get_running_loop().time() + seconds
        self._initial: list[Event] = []
        self._floor = 0
        self._start()

    def _start(self) -> None:
        options, collection = self._options, self._collection
        asked = options.resource_version
        if asked and not asked.isdecimal():
            raise failures.internal(
                f'resourceVersion: Invalid value: "{asked}": strconv.ParseUint: parsing "{asked}": invalid syntax'
            )
        revision = int(asked or 0)
        self._cursor = collection.end
        self._late: ApiError | None = None
        if options.initial_events or (options.initial_events is None and revision == 0):
            if revision > self._storage.revision:
                self._late = failures.future_version(revision, self._storage.revision)
                return
            matching = (one for one in collection.scan(self._scope.namespace) if self._scope.matches(one))
            self._initial = [Seen("ADDED", face(one, self._scope.served)) for one in matching]
            if options.initial_events and options.bookmarks:
                self._initial.append(Bookmark(self._storage.revision, initial_end=True))
        elif revision > self._storage.revision:
            self._floor = revision
        elif revision:
            number = collection.after(revision)
            if number is None:
                self._late = too_old(revision, collection)
            else:
                self._cursor = number

    async def batches(self, give: Callable[[Event], bool] | None = None) -> AsyncIterator[list[Event]]:
        """Events as they come, as many at once as there are; ends at its time, or when the server stops.

        Whoever waits for the next with all before written may be given it at once, without being woken: `give` says
        whether it took it.
        """
        if self._late is not None:
            raise self._late
        if self._initial:
            yield self._initial
            self._initial = []
        loop = asyncio.get_running_loop()
        take = None if give is None else functools.partial(self._taken, give)
        # One comes before the end too, so that the next watch begins late.
        bookmark_at = min(loop.time() + BOOKMARK_SECONDS, max(self._ends - LAST_SECONDS, loop.time() + LAST_SECONDS))
        while True:
            changes = self._collection.since(self._cursor)
            if changes is None:
                raise too_old(self._floor or self._storage.revision, self._collection)
            if changes:
                self._cursor += len(changes)
                events = [event for change in changes if (event := self._seen(change)) is not None]
                if events:
                    yield events
                continue
            now = loop.time()
            if self._collection.closed or now >= self._ends:
                return
            if self._options.bookmarks and now >= bookmark_at:
                bookmark_at = now + BOOKMARK_SECONDS
                yield [Bookmark(self._storage.revision)]
                continue
            await self._collection.changed(
                min(self._ends, bookmark_at) - now if self._options.bookmarks else self._ends - now, take
            )

    def _taken(self, give: Callable[[Event], bool], change: Change) -> bool:
        if self._cursor != self._collection.end - 1:
            return False
        event = self._seen(change)
        if event is not None and not give(event):
            return False
        self._cursor += 1
        return True

    def _seen(self, change: Change) -> Event | None:
        if change.revision <= self._floor:
            return None
        scope = self._scope
        if scope.namespace is not None and change.stored.namespace != scope.namespace:
            return None
        if not scope.labels and not scope.fields:
            return Seen(change.kind, face(change.stored, scope.served), change)
        before = change.previous is not None and scope.matches(change.previous)
        now = change.kind != "DELETED" and scope.matches(change.stored)
        if now:
            kind = "MODIFIED" if before else "ADDED"
            return Seen(kind, face(change.stored, scope.served), change)
        if not before:
            return None
        if change.kind == "DELETED":
            return Seen("DELETED", face(change.stored, scope.served), change)
        assert change.previous is not None
        return Seen("DELETED", face(_left(change.previous, change.revision), scope.served))


def _left(previous: Stored, revision: int) -> Stored:
    """An object that no longer matches, as it was when it did, under the revision at which it stopped."""
    object = json.loads(previous.encoded)
    object["metadata"]["resourceVersion"] = str(revision)
    return Stored(previous.namespace, previous.name, revision, encode(object), object)
