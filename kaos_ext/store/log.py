"""An append-only log in one SQLite file (WAL).

A row is an ascending `id`, never given twice even after trimming, and the columns its `Schema` declares. One process
writes (the writer's lock); an append is one transaction. `Sync.FULL` makes every commit safe against power loss,
`Sync.NORMAL` against the death of processes; an append with `sync=True` is always FULL and takes all earlier rows with
it. Appends may run in another thread than selects, which have a connection of their own.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from kaos_ext import __version__
from kaos_ext.store.errors import DamagedError, FullError, StoreError, is_full
from kaos_ext.store.lock import WriterLock
from kaos_ext.store.upgrade import Upgrades, prepare

WAL_BYTES = 64 * 2**20
"""What the write-ahead file keeps on disk once a checkpoint has emptied it."""
TOGETHER = 8
"""Rows that are written by one statement."""
Value = str | int | float | bytes | None
Row = dict[str, Value]


class Sync(StrEnum):
    """SQLite's `synchronous`: what a commit survives."""

    FULL = "FULL"
    NORMAL = "NORMAL"


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns beside `id` as (name, SQL type) pairs, and the indexes over them as tuples of column names."""

    columns: tuple[tuple[str, str], ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    partial: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """For an index the SQL condition of the rows that are in it, where that is not all of them."""
    version: int = 1
    upgrades: Upgrades = field(default_factory=dict)


class Log:
    """Use `Log.open`; close it to release the writer's lock."""

    def __init__(self, path: Path, schema: Schema, sync: Sync, lock: WriterLock, *, auto_checkpoint: bool) -> None:
        self.path = path
        self._schema = schema
        self._sync = sync
        self._lock = lock
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._names = tuple(name for name, _ in schema.columns)
        self._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            prepare(self._writer, path, schema.version, schema.upgrades)
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            self._writer.execute(f"PRAGMA synchronous={sync.value}")
            if not auto_checkpoint:
                self._writer.execute("PRAGMA wal_autocheckpoint=0")
            self._create()
            self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._reader.execute("PRAGMA query_only=ON")
            row = self._writer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        except (sqlite3.Error, StoreError) as error:
            self._writer.close()
            lock.release()
            if isinstance(error, StoreError):
                raise
            told = _translated(path, error)
            if is_full(told) or isinstance(told, DamagedError):
                raise told from error
            raise StoreError(f"{path}: {error}", hint="the file is no log of ours, or damaged") from error
        self._last = int(row[0]) if row else 0
        marks = f"({', '.join('?' * (len(self._names) + 1))})"
        # Column names come from the code's own schema, never from data.
        insert = f"INSERT INTO log (id, {', '.join(self._names)}) VALUES "  # noqa: S608
        self._inserts = [insert + ", ".join([marks] * rows) for rows in range(1, TOGETHER + 1)]
        """By the number of rows, one less."""

    @classmethod
    def open(cls, path: Path, schema: Schema, *, sync: Sync = Sync.FULL, auto_checkpoint: bool = True) -> Log:
        """Open or create the log at `path` (0600) and take its writer's lock.

        Raises LockedError when another process writes it, StoreError when it is no log or of another version. With
        `auto_checkpoint=False` the caller calls `checkpoint()` when it has time.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(path.with_name(path.name + ".lock"))
        path.touch(mode=0o600, exist_ok=True)
        return cls(path, schema, sync, lock, auto_checkpoint=auto_checkpoint)

    def _create(self) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in self._schema.columns)
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.execute(f"CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})")
        self._writer.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        for index in self._schema.indexes:
            name, only = "log_" + "_".join(index), self._schema.partial.get(index)
            where = f" WHERE {only}" if only else ""
            self._writer.execute(f"CREATE INDEX IF NOT EXISTS {name} ON log ({', '.join(index)}){where}")
        self._writer.execute("INSERT OR IGNORE INTO meta VALUES ('schema_version', ?)", (str(self._schema.version),))
        # Only where another wrote it before: opening a log takes no space, so it can be opened on a full disk.
        known = self._writer.execute("SELECT value FROM meta WHERE key = 'written_by'").fetchone()
        if known != (__version__,):
            self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('written_by', ?)", (__version__,))
        self._writer.execute("COMMIT")

    @property
    def last_id(self) -> int:
        """Highest id ever committed (0 in a new log), trimmed rows included."""
        return self._last

    def append(self, rows: Sequence[Mapping[str, Value]], *, sync: bool = False) -> list[int]:
        """Commit all `rows` in one transaction and return their ids, ascending.

        A row may bring its own `id` if it is higher than every id before it. Raises FullError when the disk is full
        and StoreError on any other failure; then nothing of `rows` was kept.
        """
        with self._writing:
            promote = sync and self._sync is not Sync.FULL
            if promote:
                self._writer.execute("PRAGMA synchronous=FULL")
            last = self._last
            ids: list[int] = []
            values: list[Value] = []
            try:
                for row in rows:
                    own = row.get("id")
                    id = last + 1 if own is None else int(own)
                    if id <= last:
                        raise StoreError(f"id {id} is not above {last}")
                    values += (id, *map(row.get, self._names))
                    ids.append(id)
                    last = id
                self._write(len(ids), values)
            except BaseException as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _translated(self.path, error) from error
                raise
            finally:
                if promote:
                    self._writer.execute(f"PRAGMA synchronous={self._sync.value}")
            self._last = last
        for listener in tuple(self._listeners):
            listener()
        return ids

    def _write(self, rows: int, values: Sequence[Value]) -> None:
        if 0 < rows <= TOGETHER:
            # A statement is a transaction of its own; beginning and ending one would cost as much again.
            self._writer.execute(self._inserts[rows - 1], values)
            return
        width = len(self._names) + 1
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.executemany(self._inserts[0], (values[at : at + width] for at in range(0, len(values), width)))
        self._writer.execute("COMMIT")

    def select(
        self, where: str = "", parameters: Sequence[Value] = (), *, descending: bool = False, limit: int | None = None
    ) -> list[Row]:
        """Rows that match the SQL condition `where`, in the order of their ids."""
        query = f"SELECT id, {', '.join(self._names)} FROM log"  # noqa: S608
        query += f" WHERE {where}" if where else ""
        query += " ORDER BY id" + (" DESC" if descending else "")
        query += f" LIMIT {int(limit)}" if limit is not None else ""
        names = ("id", *self._names)
        with self._reading:
            try:
                return [dict(zip(names, row, strict=True)) for row in self._reader.execute(query, parameters)]
            except sqlite3.DatabaseError as error:
                if isinstance(told := _translated(self.path, error), DamagedError):
                    raise told from error
                raise

    def count(self, where: str = "", parameters: Sequence[Value] = ()) -> int:
        query = "SELECT count(*) FROM log" + (f" WHERE {where}" if where else "")  # noqa: S608
        with self._reading:
            return int(self._reader.execute(query, parameters).fetchone()[0])

    def trim(self, where: str, parameters: Sequence[Value] = ()) -> int:
        """Delete rows that match; their ids are not given again. Returns how many went."""
        with self._writing:
            try:
                return self._writer.execute(f"DELETE FROM log WHERE {where}", parameters).rowcount  # noqa: S608
            except sqlite3.Error as error:
                raise _translated(self.path, error) from error

    def shrink(self, pages: int) -> int:
        """Give up to so many unused pages back to the disk; how many are left unused."""
        with self._writing:
            try:
                # As a script, because the statement gives one page back at each of its steps.
                self._writer.executescript(f"PRAGMA incremental_vacuum({int(pages)});")
                return int(self._writer.execute("PRAGMA freelist_count").fetchone()[0])
            except sqlite3.Error as error:
                raise _translated(self.path, error) from error

    @property
    def unused_pages(self) -> int:
        with self._reading:
            return int(self._reader.execute("PRAGMA freelist_count").fetchone()[0])

    def meta(self, key: str) -> str | None:
        with self._reading:
            row = self._reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        with self._writing:
            try:
                self._writer.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
            except sqlite3.Error as error:
                raise _translated(self.path, error) from error

    def checkpoint(self) -> None:
        """Move what is committed from the write-ahead file into the database, as far as readers allow.

        Takes a connection of its own so that it may run in any thread beside appends.
        """
        try:
            with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise _translated(self.path, error) from error

    def on_append(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each commit, in the committing thread; returns what takes it off again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()
        self._lock.release()


def _translated(path: Path, error: sqlite3.Error) -> StoreError:
    # Some files that SQLite cannot extend, and quotas, it reports as input/output errors: the disk itself is asked.
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_FULL or (code & 0xFF == sqlite3.SQLITE_IOERR and _no_space(path.parent)):
        return FullError(f"{path}: the disk is full", hint="free some space; nothing that was acknowledged is lost")
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        with contextlib.suppress(OSError):  # Whoever opens it next is to know, even if that finds nothing wrong.
            path.with_name(f"{path.name}.damaged").touch(mode=0o600)
        return DamagedError(f"{path}: {error}", hint="the file is no log of ours, or damaged")
    return StoreError(f"{path}: {error}")


def _no_space(folder: Path) -> bool:
    """Whether nothing more can be written in the folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(65536))
            probe.flush()
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False
