"""The ring of recent changes: nothing is forgotten early, and what is old takes little room."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from kaos_ext.cluster.apiserver.collection import RECENT, Change, Collection, Stored, encode


def stored(name: str, revision: int) -> Stored:
    object: dict[str, Any] = {"metadata": {"name": name, "labels": {"n": str(revision)}}, "text": "same words " * 200}
    return Stored("default", name, revision, encode(object), object)


def written(collection: Collection, revisions: range) -> None:
    for revision in revisions:
        collection.put(stored("one", revision), deleted=False)


def test_versions_that_were_superseded_long_ago_are_read_as_they_were() -> None:
    collection = Collection("/things", 0)
    written(collection, range(1, 3 * RECENT))
    changes = collection.since(0)
    assert changes is not None
    assert [change.stored.object["metadata"]["labels"]["n"] for change in changes] == [
        str(revision) for revision in range(1, 3 * RECENT)
    ]
    assert changes[0].stored.encoded == stored("one", 1).encoded
    assert changes[5].previous is changes[4].stored


def test_only_recent_versions_are_held_parsed_and_in_frames() -> None:
    collection = Collection("/things", 0)
    written(collection, range(1, 3 * RECENT))
    for change in collection.ring:
        if change.frames is not None:
            change.frames["watcher"] = change.stored.encoded
    assert sum(change.frames is not None for change in collection.ring) == RECENT
    old, recent = collection.ring[0].stored, collection.ring[-2].stored
    assert old.object is not old.object
    assert recent.object is recent.object
    assert old.views is None and recent.views is not None


def test_an_object_that_nobody_changes_stays_ready_however_old_its_last_change_is() -> None:
    collection = Collection("/things", 0)
    collection.put(stored("quiet", 1), deleted=False)
    written(collection, range(2, 3 * RECENT))
    quiet = collection.get("default", "quiet")
    assert quiet is not None and quiet.object is quiet.object and quiet.views is not None


def test_what_a_deleted_object_was_is_packed_as_well() -> None:
    collection = Collection("/things", 0)
    collection.put(stored("gone", 1), deleted=False)
    collection.put(stored("gone", 2), deleted=True)
    written(collection, range(3, 3 * RECENT))
    gone = collection.ring[1]
    assert gone.kind == "DELETED" and gone.stored.views is None
    assert gone.stored.object["metadata"]["name"] == "gone"


def test_old_versions_take_a_fraction_of_their_size() -> None:
    one = stored("one", 1)
    size = len(one.encoded)
    one.pack()
    assert one.size == size == len(one.encoded)
    assert sys.getsizeof(one._encoded) < size / 4


async def test_a_change_is_taken_at_once_and_only_who_does_not_take_it_wakes() -> None:
    ring = Collection("/things", 0)
    taken: list[int] = []

    def takes(change: Change) -> bool:
        taken.append(change.revision)
        return True

    def fails(change: Change) -> bool:
        raise ValueError("cannot be drawn")

    waiting = {
        name: asyncio.create_task(ring.changed(30, take))
        for name, take in {"takes": takes, "refuses": lambda change: False, "fails": fails, "reads": None}.items()
    }
    await asyncio.sleep(0)
    for revision in (1, 2):
        ring.tell(ring.put(stored("one", revision), deleted=False))
    takes_task = waiting.pop("takes")
    await asyncio.wait_for(asyncio.gather(*waiting.values()), 5)
    assert taken == [1, 2] and not takes_task.done()
    ring.wake()
    await asyncio.wait_for(takes_task, 5)
