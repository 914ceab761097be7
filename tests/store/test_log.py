"""What the log promises to whoever appends to it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from kaos_ext.store import CommitFailed, GroupCommit, LockedError, Log, Schema, StoreError, Sync, follow
from kaos_ext.store.log import TOGETHER

SCHEMA = Schema((("key", "TEXT NOT NULL"), ("value", "BLOB")), indexes=(("key", "id"),))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log.open(tmp_path / "a.db", SCHEMA)
    yield log
    log.close()


def test_ids_ascend_and_are_never_given_again_after_trimming_and_reopening(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "a.db", SCHEMA)
    assert log.append([{"key": "a"}, {"key": "b"}]) == [1, 2]
    assert log.trim("id <= ?", (2,)) == 2
    log.close()
    log = Log.open(tmp_path / "a.db", SCHEMA)
    assert log.last_id == 2
    assert log.append([{"key": "c"}]) == [3]
    log.close()


def test_a_row_may_bring_its_own_higher_id_but_not_a_lower_one(log: Log) -> None:
    assert log.append([{"id": 10, "key": "a"}, {"key": "b"}]) == [10, 11]
    with pytest.raises(StoreError, match="not above 12"):
        log.append([{"key": "c"}, {"id": 5, "key": "d"}])
    assert [row["id"] for row in log.select()] == [10, 11]


def test_a_failed_append_keeps_nothing_of_its_transaction(log: Log) -> None:
    with pytest.raises(StoreError):
        log.append([{"key": "a"}, {"key": None}])
    assert log.select() == []
    assert log.append([{"key": "b"}]) == [1]


def test_a_second_writer_is_refused_and_told_who_writes(log: Log) -> None:
    program = (
        "import sys, pathlib; from kaos_ext.store import *\n"
        "try: Log.open(pathlib.Path(sys.argv[1]), Schema((('key', 'TEXT'),)))\n"
        "except LockedError as error: print(error.pid)"
    )
    ran = subprocess.run([sys.executable, "-c", program, str(log.path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(os.getpid())


def test_the_lock_goes_with_the_writer(tmp_path: Path) -> None:
    first = Log.open(tmp_path / "a.db", SCHEMA)
    with pytest.raises(LockedError):
        Log.open(tmp_path / "a.db", SCHEMA)
    first.close()
    Log.open(tmp_path / "a.db", SCHEMA).close()


def test_an_append_with_sync_turns_full_synchronisation_on_for_that_commit_only(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "a.db", SCHEMA, sync=Sync.NORMAL)
    statements: list[str] = []
    log._writer.set_trace_callback(statements.append)
    log.append([{"key": "a"}])
    assert not any("synchronous" in statement for statement in statements)
    log.append([{"key": "b"}], sync=True)
    order = [s.split(" (")[0] for s in statements if not s.startswith("--")]
    assert order == [
        "INSERT INTO log", "PRAGMA synchronous=FULL", "INSERT INTO log", "PRAGMA synchronous=NORMAL",
    ], "a few rows are one statement, and that is a transaction of its own"  # fmt: skip
    statements.clear()
    log.append([{"key": str(n)} for n in range(TOGETHER + 1)], sync=True)
    order = [s for s in statements if "synchronous" in s or s == "COMMIT"]
    assert order == ["PRAGMA synchronous=FULL", "COMMIT", "PRAGMA synchronous=NORMAL"]
    log.close()


@pytest.mark.parametrize("count", [1, 2, TOGETHER - 1, TOGETHER, TOGETHER + 1, 3 * TOGETHER])
def test_any_number_of_rows_is_kept_in_order_or_not_at_all(log: Log, count: int) -> None:
    rows = [{"key": f"k{n}", "value": bytes([n])} for n in range(count)]
    assert log.append(rows) == list(range(1, count + 1))
    assert [(row["key"], row["value"]) for row in log.select()] == [(row["key"], row["value"]) for row in rows]
    with pytest.raises(StoreError):
        log.append([*rows, {"key": None}])
    assert log.count() == count == log.last_id


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    Log.open(tmp_path / "a.db", SCHEMA).close()
    with pytest.raises(StoreError, match="version"):
        Log.open(tmp_path / "a.db", Schema(SCHEMA.columns, version=2))


async def test_what_is_submitted_during_a_commit_is_committed_together(log: Log) -> None:
    sizes: list[int] = []
    append = log.append

    def counted(rows: list[dict[str, str]], **options: bool) -> list[int]:
        sizes.append(len(rows))
        return append(rows, **options)

    log.append = counted  # type: ignore[method-assign,assignment]
    group = GroupCommit(log)
    ids = await asyncio.gather(*(group.submit([{"key": str(n)}]) for n in range(50)))
    assert [id for own in ids for id in own] == list(range(1, 51))
    assert len(sizes) < 5
    await group.close()


async def test_nothing_is_told_before_the_commit_returns(log: Log) -> None:
    reached, go_on = threading.Event(), threading.Event()
    append = log.append

    def held(rows: list[dict[str, str]], **options: bool) -> list[int]:
        reached.set()
        assert go_on.wait(10)
        return append(rows, **options)

    log.append = held  # type: ignore[method-assign,assignment]
    told: list[list[int]] = []
    group = GroupCommit(log)
    done = group.submit([{"key": "a"}], then=told.append)
    await asyncio.to_thread(reached.wait, 10)
    assert not done.done() and told == []
    go_on.set()
    assert await done == [1] and told == [[1]]
    await group.close()


async def test_a_failed_commit_fails_what_was_submitted_after_it_and_later_writes_go_on(log: Log) -> None:
    group = GroupCommit(log)
    bad = group.submit([{"key": None}])
    await asyncio.sleep(0)  # the commit of `bad` begins
    after = group.submit([{"key": "built on it"}])
    with pytest.raises(StoreError):
        await bad
    with pytest.raises(CommitFailed):
        await after
    assert await group.submit([{"key": "b"}]) == [1]
    await group.close()


async def test_following_gives_each_row_once_in_order_old_and_new(log: Log) -> None:
    log.append([{"key": str(n)} for n in range(1200)])
    group = GroupCommit(log)
    seen: list[int] = []
    async with aclosing(follow(log, after=100)) as rows:  # type: ignore[type-var]
        async for row in rows:
            seen.append(int(row["id"]))  # type: ignore[arg-type]
            if len(seen) == 1100:
                group.submit([{"key": "new"}])
            if len(seen) == 1101:
                break
    assert seen == list(range(101, 1202))
    await group.close()
