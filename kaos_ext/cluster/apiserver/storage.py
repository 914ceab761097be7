"""The objects: in memory as they are, every change in the log before anyone hears of it.

A write is decided against the committed object while its key is held, gets the next revision (which is the log's id,
the object's resourceVersion and the whole server's clock), and goes to the group commit. Only when the commit has
returned does the change enter memory, where readers, watchers and listeners find it; then the writer is answered.
Objects in memory are shared by all readers and must not be changed by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from kaos_ext.cluster.apiserver.collection import Change, Collection, Stored, encode
from kaos_ext.cluster.apiserver.space import Space
from kaos_ext.kube.objects import Object
from kaos_ext.store import FullError, GroupCommit, Log, Schema, StoreError, Sync, Value, is_full

__all__ = ["Change", "Collection", "Decide", "Decision", "Keep", "Put", "Remove", "Storage", "Stored", "encode"]

LOG_SCHEMA = Schema(
    columns=(("key", "TEXT NOT NULL"), ("deleted", "INTEGER NOT NULL"), ("value", "BLOB NOT NULL")),
    indexes=(("key",),),
    version=2,
    upgrades={1: ()},  # files of format 1 could not shrink; the opening makes every upgraded one so
)
STUCK_SECONDS = 10.0
"""A commit that takes longer than this is a fault of the disk."""
KEEP = 10_000
"""Revisions the log keeps behind the newest before it forgets superseded ones."""
KEEP_BYTES = 128 * 2**20
"""So much of superseded rows at most."""
CROWD = 2
"""A compaction does not wait for its time when there is so many times what is kept."""
UNUSED_PAGES = 1024
"""Unused pages that stay in the file for the rows to come."""


@dataclass(frozen=True, slots=True)
class Put:
    """A decision: this is the object now."""

    object: Object


@dataclass(frozen=True, slots=True)
class Remove:
    """A decision: the object goes, and this is the last that is seen of it."""

    object: Object


@dataclass(frozen=True, slots=True)
class Keep:
    """A decision: nothing changes."""

    stored: Stored


Decision = Put | Remove | Keep
Decide = Callable[[Stored | None], Decision]


class Storage:
    """Use `Storage.open`."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.group = GroupCommit(log)
        self.revision = log.last_id
        """The newest committed revision."""
        self._given = log.last_id
        self._collections: dict[str, Collection] = {}
        self._busy: dict[tuple[str, str, str], asyncio.Future[None]] = {}
        self._superseded: list[tuple[int, int]] = []
        """Revision and size of the rows that a compaction may take, in the order in which they became so."""
        self._superseded_bytes = 0
        self.compacted = int(log.meta("compacted") or 0)
        """Superseded revisions up to this one are gone, or may be."""
        self.crowded = asyncio.Event()
        """So many rows are superseded that a compaction is due."""
        self.space = Space(log.path.parent)
        self.failed = False
        """Whether the last commit failed, and not for want of space."""

    @classmethod
    def open(cls, path: Path) -> Storage:
        """Open the log and rebuild memory from it; call in the event loop that will use it."""
        storage = cls(Log.open(path, LOG_SCHEMA, sync=Sync.FULL, auto_checkpoint=False))
        storage._load()
        return storage

    def _load(self) -> None:
        for row in self.log.select():
            id, key, value = row["id"], row["key"], row["value"]
            assert isinstance(id, int) and isinstance(key, str) and isinstance(value, bytes)
            collection_id, namespace, name = _split(key)
            collection = self.collection(collection_id)
            deleted = bool(row["deleted"])
            change = collection.put(Stored(namespace, name, id, value), deleted=deleted)
            self._note_superseded(change)

    def _note_superseded(self, change: Change) -> None:
        for stored in (change.previous, change.stored if change.kind == "DELETED" else None):
            if stored is not None:
                self._superseded.append((stored.revision, stored.size))
                self._superseded_bytes += stored.size
        if len(self._superseded) > CROWD * KEEP or self._superseded_bytes > CROWD * KEEP_BYTES:
            self.crowded.set()

    def collection(self, id: str) -> Collection:
        found = self._collections.get(id)
        if found is None:
            found = self._collections[id] = Collection(id, 0)
            # Also one that is empty now: what it had before may have been forgotten.
            found.evicted = self.compacted
        return found

    def forget(self, id: str) -> None:
        """A resource is served no more (its objects are gone): end its watches."""
        gone = self._collections.pop(id, None)
        if gone is not None:
            gone.close()

    def collections(self) -> list[Collection]:
        return list(self._collections.values())

    async def settled(self, collection: Collection, namespace: str, name: str) -> None:
        """Wait until no write of this object is on its way."""
        while (busy := self._busy.get((collection.id, namespace, name))) is not None:
            await asyncio.shield(busy)

    async def write(self, collection: Collection, namespace: str, name: str, decide: Decide) -> Stored:
        """Decide on one object while nobody else changes it, and commit the decision.

        Cancelling the caller does not take the write back.
        """
        await self.settled(collection, namespace, name)
        decision = decide(collection.get(namespace, name))
        if isinstance(decision, Keep):
            return decision.stored
        if isinstance(decision, Put) and self.space.is_tight():
            self._refuse_for_space()
        self._given += 1
        revision = self._given
        object = decision.object
        object["metadata"]["resourceVersion"] = str(revision)
        encoded = encode(object)
        stored = Stored(namespace, name, revision, encoded, object)
        deleted = isinstance(decision, Remove)
        key = (collection.id, namespace, name)
        released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._busy[key] = released

        def committed(_ids: list[int]) -> None:
            change = collection.put(stored, deleted=deleted)
            self.revision = revision
            self._note_superseded(change)
            for listener in collection.listeners:
                listener(change)
            collection.tell(change)

        def release(done: asyncio.Future[list[int]]) -> None:
            error = None if done.cancelled() else done.exception()
            # A full disk is no fault of the storage: what is there is served, as by the real one.
            self.failed = error is not None and not is_full(error)
            self._busy.pop(key, None)
            released.set_result(None)

        row: dict[str, Value] = {
            "id": revision,
            "key": _join(collection.id, namespace, name),
            "deleted": int(deleted),
            "value": encoded,
        }
        done = self.group.submit([row], then=committed)
        done.add_done_callback(release)
        await asyncio.shield(done)
        return stored

    def _refuse_for_space(self) -> NoReturn:
        if self._superseded:
            self.crowded.set()  # history makes room for the present
        error = FullError(f"{self.log.path}: of the disk only what deletions need is left", hint="free some space")
        self.group.failures(error)
        raise error

    def _floor(self) -> int:
        """The revision up to which superseded rows go: far enough behind, or below what is too much together."""
        floor, kept = self.revision - KEEP, 0
        for revision, size in sorted(self._superseded, reverse=True):
            kept += size
            if revision <= floor:
                break
            if kept > KEEP_BYTES:
                return revision
        return floor

    async def compact(self, keep: int | None = None) -> int:
        """Forget superseded revisions that lie far behind; returns how many rows went.

        The mark comes first: a log that has lost rows must know it, one that still has them may think it has not.
        What the rows leave unused is given back to the disk, a little at a time: a commit waits for no more than that.
        On a disk that is all but full every superseded row goes, and every unused page.
        """
        self.crowded.clear()
        tight = self.space.is_tight()
        if tight:
            keep = 0
        floor = self.revision - keep if keep is not None else self._floor()
        old = [revision for revision, _ in self._superseded if revision <= floor]
        if not old:
            return 0
        await asyncio.to_thread(self.log.set_meta, "compacted", str(floor))
        self.compacted = floor
        for start in range(0, len(old), 500):
            chunk = old[start : start + 500]
            await asyncio.to_thread(self.log.trim, f"id IN ({','.join('?' * len(chunk))})", chunk)
        self._superseded = [row for row in self._superseded if row[0] > floor]
        self._superseded_bytes = sum(size for _, size in self._superseded)
        unused, enough = self.log.unused_pages, 0 if tight else UNUSED_PAGES
        while unused > enough:
            left = await asyncio.to_thread(self.log.shrink, min(256, unused - enough))
            if left >= unused:
                break
            unused = left
        if tight:
            await asyncio.to_thread(self.log.checkpoint)  # only then does the file get shorter
        return len(old)

    @property
    def superseded(self) -> int:
        """How many rows a compaction may take, the recent ones included."""
        return len(self._superseded)

    def size(self) -> int:
        """Bytes of the database and of its write-ahead file."""
        path = self.log.path
        return sum(file.stat().st_size for file in (path, path.with_name(f"{path.name}-wal")) if file.exists())

    async def wrong(self) -> str:
        """What is wrong with the storage, if anything; a failed commit is not held against it once it can write."""
        if self.group.busy_seconds > STUCK_SECONDS:
            return f"a commit has been under way for {self.group.busy_seconds:.0f} s"
        if self.failed:
            try:
                await asyncio.to_thread(self.log.set_meta, "probed", str(self.revision))
            except StoreError as error:
                if not is_full(error):
                    return str(error)
            self.failed = False
        return ""

    async def close(self) -> None:
        await self.group.close()
        self.log.close()


def _join(collection: str, namespace: str, name: str) -> str:
    return f"{collection}/{namespace}/{name}"


def _split(key: str) -> tuple[str, str, str]:
    group, plural, namespace, name = key.split("/", 3)
    return f"{group}/{plural}", namespace, name
