"""A disk without space: what is refused is refused alone, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from kaos_ext.store import CommitFailed, FullError, GroupCommit, Log, Schema, StoreError, commit, is_full

SCHEMA = Schema(columns=(("value", "TEXT"),))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log.open(tmp_path / "a.db", SCHEMA, auto_checkpoint=False)


def bounded(log: Log, more: int) -> None:
    """Let the database of this log grow by so many pages."""
    (pages,) = log._writer.execute("PRAGMA page_count").fetchone()
    log._writer.execute(f"PRAGMA max_page_count={pages + more}")


async def test_a_checkpoint_without_space_is_tried_again_and_holds_no_write_up(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "CHECKPOINT_ROWS", 2)
    tried: list[bool] = []

    def full() -> None:
        tried.append(True)
        raise FullError("the disk is full")

    monkeypatch.setattr(log, "checkpoint", full)
    group = GroupCommit(log)
    for number in range(1, 7):
        assert await asyncio.wait_for(group.submit([{"value": "a"}]), 5) == [number]
    await group.close()
    assert len(tried) == 3
    log.close()


async def test_large_rows_are_checkpointed_by_their_size(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "CHECKPOINT_BYTES", 1000)
    done: list[bool] = []
    monkeypatch.setattr(log, "checkpoint", lambda: done.append(True))
    group = GroupCommit(log)
    for _ in range(6):
        await group.submit([{"value": "a" * 500}])
    await group.close()
    assert len(done) == 3
    log.close()


async def test_a_full_database_refuses_the_write_and_takes_the_next_one_that_fits(log: Log) -> None:
    group = GroupCommit(log)
    await group.submit([{"value": "a"}])
    bounded(log, 2)
    refused = group.submit([{"value": "a" * 50_000}])
    with pytest.raises(FullError):
        await refused
    assert await group.submit([{"value": "b"}]) == [2]
    bounded(log, 1000)
    assert await group.submit([{"value": "a" * 50_000}]) == [3]
    await group.close()
    log.close()


async def test_what_was_built_on_a_write_that_found_no_space_is_refused_for_the_same_reason(log: Log) -> None:
    group = GroupCommit(log)
    bounded(log, 2)
    first = group.submit([{"value": "a" * 50_000}])
    await asyncio.sleep(0)  # the commit of the first is under way
    second = group.submit([{"value": "b"}])
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [FullError, CommitFailed]
    assert all(isinstance(answer, StoreError) and is_full(answer) for answer in answers)
    await group.close()
    log.close()


def test_another_fault_of_the_disk_is_not_taken_for_want_of_space(tmp_path: Path) -> None:
    from kaos_ext.store.log import _translated

    fault = sqlite3.OperationalError("disk I/O error")
    fault.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert not is_full(_translated(tmp_path / "a.db", fault))
    fault.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert is_full(_translated(tmp_path / "a.db", fault))
