"""Versions of objects in memory: each collection as it is, and a ring of its recent changes for watches that resume.

A version that is superseded keeps its bytes as long as the ring has it, and nothing else: packed, once as many changes
have followed as watchers are usually behind. What is here is committed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.kube.objects import Object

RING = 2048
"""Changes a collection remembers, at least, for watches that resume."""
RING_BYTES = 64 * 2**20
"""Unless they are so large together: then half of them go."""
RECENT = 64
"""So many of them are kept ready for watchers; who resumes further back has them unpacked."""
_PACKED_BYTES = 512
"""Smaller ones are not worth packing."""
log = logging.getLogger(__name__)

_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)


def encode(value: Any) -> bytes:
    return _encoder.encode(value).encode("utf-8", "replace")


class Stored:
    """One committed version of one object. `views` caches renderings by whoever renders, unless `views` is None."""

    __slots__ = ("_encoded", "_object", "_packed", "name", "namespace", "revision", "size", "views")

    def __init__(self, namespace: str, name: str, revision: int, encoded: bytes, object: Object | None = None) -> None:
        self.namespace = namespace
        self.name = name
        self.revision = revision
        self.size = len(encoded)
        self._encoded = encoded
        self._packed = False
        self._object = object
        self.views: dict[Any, Any] | None = {}

    @property
    def encoded(self) -> bytes:
        return zlib.decompress(self._encoded) if self._packed else self._encoded

    @property
    def object(self) -> Object:
        """The parsed object, shared: read only."""
        if self._object is not None:
            return self._object
        parsed: Object = json.loads(self.encoded)
        if self.views is not None:
            self._object = parsed
        return parsed

    def fresh(self) -> Object:
        """A copy of its own for the caller to change."""
        copy: Object = json.loads(self.encoded)
        return copy

    def pack(self) -> None:
        """Superseded, and hardly asked for any more: keep only the bytes, and keep nothing that is made of them."""
        self._object = self.views = None
        if not self._packed and len(self._encoded) > _PACKED_BYTES:
            self._encoded, self._packed = zlib.compress(self._encoded, 1), True


@dataclass(slots=True, eq=False)
class Change:
    """One committed change; `frames` caches its encodings for watchers while it is recent."""

    kind: str
    stored: Stored
    previous: Stored | None
    frames: dict[Any, bytes] | None = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return self.stored.revision

    def age(self) -> None:
        """No longer recent: let go of what only watchers that keep up need."""
        self.frames = None
        if self.previous is not None:
            self.previous.pack()
        if self.kind == "DELETED":
            self.stored.pack()


Take = Callable[[Change], bool]
"""Takes a change at once, or says that it does not."""


class Collection:
    """All objects of one storage, and its ring of recent changes."""

    def __init__(self, id: str, birth: int) -> None:
        self.id = id
        self.birth = birth
        """Revision before which the collection was certainly empty."""
        self.evicted = 0
        """Highest revision the ring has forgotten."""
        self.ring: list[Change] = []
        self._weight = 0
        self.first = 0
        """Number of the ring's first change, counted from the beginning of the process."""
        self.count = 0
        self._namespaces: dict[str, dict[str, Stored]] = {}
        self._order: list[Stored] | None = None
        self._waiting: dict[asyncio.Future[None], Take | None] = {}
        self.listeners: list[Callable[[Change], None]] = []
        self.closed = False
        """Set when its watchers are to go: the server stops, or the resource is no longer served."""

    def get(self, namespace: str, name: str) -> Stored | None:
        objects = self._namespaces.get(namespace)
        return objects.get(name) if objects else None

    def scan(self, namespace: str | None = None) -> list[Stored]:
        """Objects of one namespace or all, in the order of their keys."""
        if namespace is not None:
            objects = self._namespaces.get(namespace)
            return [objects[name] for name in sorted(objects)] if objects else []
        if self._order is None:
            self._order = [objects[name] for _, objects in sorted(self._namespaces.items()) for name in sorted(objects)]
        return self._order

    def namespaces(self) -> Iterator[str]:
        return (name for name, objects in self._namespaces.items() if objects)

    @property
    def end(self) -> int:
        """Number of the change after the newest."""
        return self.first + len(self.ring)

    def after(self, revision: int) -> int | None:
        """Number of the first change above `revision`; None when the ring cannot tell any more."""
        if revision < max(self.evicted, self.birth):
            return None
        return self.first + bisect_right(self.ring, revision, key=lambda change: change.revision)

    def since(self, number: int) -> list[Change] | None:
        """Changes from `number` on; None when some of them are forgotten."""
        if number < self.first:
            return None
        return self.ring[number - self.first :]

    async def changed(self, seconds: float, take: Take | None = None) -> None:
        """Wait for the next change, or the next that `take` does not take at once; at most so long."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting[future] = take
        timer = loop.call_later(seconds, _wake, future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.pop(future, None)

    def put(self, stored: Stored, *, deleted: bool) -> Change:
        """Take a committed version in."""
        objects = self._namespaces.setdefault(stored.namespace, {})
        previous = objects.get(stored.name)
        if deleted:
            objects.pop(stored.name, None)
            self.count -= previous is not None
            if not objects:
                del self._namespaces[stored.namespace]
            kind = "DELETED"
        else:
            objects[stored.name] = stored
            self.count += previous is None
            kind = "ADDED" if previous is None else "MODIFIED"
        self._order = None
        change = Change(kind, stored, previous)
        self.ring.append(change)
        if len(self.ring) > RECENT:
            self.ring[-RECENT - 1].age()
        self._weight += stored.size
        if len(self.ring) > 2 * RING or (self._weight > RING_BYTES and len(self.ring) > 1):
            self._evict(len(self.ring) // 2)
        return change

    def _evict(self, count: int) -> None:
        self.evicted = self.ring[count - 1].revision
        self._weight -= sum(change.stored.size for change in self.ring[:count])
        del self.ring[:count]
        self.first += count

    def close(self) -> None:
        self.closed = True
        self.wake()

    def tell(self, change: Change) -> None:
        """Those who wait take a change that was put in, or wake."""
        for future, take in list(self._waiting.items()):
            try:
                taken = take is not None and take(change)
            except Exception:
                # It is committed whatever a watcher makes of it; woken, that one fails by itself.
                log.exception("a watcher cannot take revision %s", change.revision)
                taken = False
            if not taken:
                self._waiting.pop(future, None)
                _wake(future)

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            _wake(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
