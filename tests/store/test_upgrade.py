"""A log of another version: upgraded whole or not at all, with a copy of the old one; a newer one is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kaos_ext import __version__
from kaos_ext.store import FormatError, Log, Schema, StoreError

COLUMNS = (("key", "TEXT NOT NULL"),)
NEW = Schema(
    (*COLUMNS, ("size", "INTEGER")),
    version=3,
    upgrades={
        1: ("ALTER TABLE log ADD COLUMN size INTEGER", "UPDATE log SET size = length(key)"),
        2: ("UPDATE log SET key = upper(key)", "UPDATE log SET size = size * 10"),
    },
)
ROWS = 500


def old(path: Path, rows: int = ROWS) -> Path:
    """A log as the first version of the program left it."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.executescript(
            "PRAGMA journal_mode=WAL;"
            "CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL);"
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
            "INSERT INTO meta VALUES ('schema_version', '1');"
        )
        made.executemany("INSERT INTO log (key) VALUES (?)", ((f"key{n}",) for n in range(rows)))
        made.execute("DELETE FROM log WHERE id = ?", (rows,))
        made.commit()
    return path


def content(path: Path) -> tuple[str, list[tuple[object, ...]], str]:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        (version,) = opened.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
        rows = opened.execute("SELECT * FROM log ORDER BY id").fetchall()
        (sound,) = opened.execute("PRAGMA integrity_check").fetchone()
        return version, rows, sound


def test_an_older_log_is_upgraded_and_the_old_file_kept(tmp_path: Path) -> None:
    path = old(tmp_path / "a.db")
    before = content(path)
    log = Log.open(path, NEW)
    assert log.last_id == ROWS, "an id that was given is not given again"
    assert log.select(limit=1) == [{"id": 1, "key": "KEY0", "size": 40}]
    assert log.append([{"key": "new", "size": 0}]) == [ROWS + 1]
    log.close()
    copy = tmp_path / "a.db.v1"
    assert content(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert content(path)[0] == "3"
    Log.open(path, NEW).close()
    assert content(copy) == before, "only an upgrade makes a copy"


def test_an_upgraded_log_can_shrink(tmp_path: Path) -> None:
    path = old(tmp_path / "a.db", 50_000)
    log = Log.open(path, NEW)
    log.trim("id > 10")
    assert log.unused_pages > 100
    assert log.shrink(10**6) == 0
    log.checkpoint()
    log.close()
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("by", ["", "9.9.9"])
def test_a_newer_log_is_refused_untouched_and_both_versions_are_named(tmp_path: Path, by: str) -> None:
    path = old(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
        if by:
            made.execute("INSERT INTO meta VALUES ('written_by', ?)", (by,))
        made.commit()
    before = path.read_bytes()
    with pytest.raises(FormatError) as caught:
        Log.open(path, NEW)
    assert "format 7" in caught.value.message and "up to 3" in caught.value.message
    assert f"kaos {__version__}" in caught.value.message and by in caught.value.message
    assert "upgrade" in caught.value.hint
    assert path.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} <= {"a.db", "a.db.lock"}
    with pytest.raises(FormatError):
        Log.open(path, NEW)  # and not LockedError: the refusal holds nothing


def test_a_log_too_old_to_be_upgraded_is_refused(tmp_path: Path) -> None:
    path = old(tmp_path / "a.db")
    with pytest.raises(FormatError, match="too old"):
        Log.open(path, Schema(COLUMNS, version=3, upgrades={2: ()}))
    assert content(path)[0] == "1"


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = old(tmp_path / "a.db")
    before = content(path)
    broken = Schema(COLUMNS, version=3, upgrades={1: ("UPDATE log SET key = upper(key)",), 2: ("NONSENSE",)})
    with pytest.raises(StoreError, match="from format 1 to 3"):
        Log.open(path, broken)
    assert content(path) == before


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database, but long enough to be taken for one by nobody" * 20)
    with pytest.raises(StoreError, match=r"no log|not a database"):
        Log.open(path, NEW)


def test_what_writes_the_log_is_known(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "a.db", Schema(COLUMNS))
    assert log.meta("written_by") == __version__
    log.close()


def upgraded_until(path: Path, statement: int) -> int:
    """Open the log in a process that kills itself before its n-th SQL statement; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left, connect = statement, sqlite3.connect

    def told(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(*arguments: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*arguments, **named)
        made.set_trace_callback(told)
        return made

    try:
        setattr(sqlite3, "connect", counting)  # noqa: B010 (a module's function is not assigned to)
        Log.open(path, NEW).close()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.process
def test_killed_at_any_statement_it_is_the_old_log_or_the_new_one(tmp_path: Path) -> None:
    original = content(old(tmp_path / "original.db"))
    upgraded_path = old(tmp_path / "upgraded.db")
    Log.open(upgraded_path, NEW).close()
    upgraded = content(upgraded_path)
    seen: set[str] = set()
    for statement in range(1, 100):
        path = old(tmp_path / f"{statement}.db")
        ended = upgraded_until(path, statement)
        found = content(path)
        assert found in (original, upgraded), f"killed at statement {statement}"
        seen.add(found[0])
        Log.open(path, NEW).close()
        assert content(path) == upgraded, "the next start upgrades it"
        assert content(path.with_name(f"{path.name}.v1")) == original
        if ended == 0:
            assert seen == {"1", "3"}
            return
        assert ended == -signal.SIGKILL
    raise AssertionError("the upgrade never came to its end")


def test_the_copy_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old(tmp_path / "a.db")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        Log.open(path, NEW)
    assert {found.name for found in tmp_path.iterdir()} <= {"a.db", "a.db.lock", "a.db-wal", "a.db-shm"}
    assert content(path)[0] == "1"
