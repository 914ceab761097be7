"""A log whose file is damaged: it is set aside, and what can be read of it goes on in a new one.

    DamagedError       what a log raises when SQLite finds its file malformed; a mark is left beside the file
    salvage(path)      the file (and its write-ahead file) move to `<name>.damaged-<n>`; rows keep their ids

Nothing is deleted. Rows are read by id, around what cannot be read; a first page whose header is gone gets a new one
first. A write-ahead file that was torn needs none of this: SQLite itself drops the transaction that is not whole.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaos_ext.store.lock import WriterLock
from kaos_ext.store.log import Log, Schema

CHUNK = 256
EMPTY_CHUNKS = 64
"""So many ids in a row without a row, and there are no more."""
HEADER = 100


@dataclass(frozen=True, slots=True)
class Salvaged:
    aside: Path
    """The damaged file."""
    rows: int
    lost: int
    """Ids up to the last known one that could not be read (trimmed ones are among them)."""


def mark(path: Path) -> Path:
    """The file that says that a log was found damaged while it was in use."""
    return path.with_name(f"{path.name}.damaged")


def salvage(path: Path, schema: Schema) -> Salvaged:
    """Put a new log at `path` with every row of the old one that can be read; LockedError while it is written."""
    lock = WriterLock(path.with_name(path.name + ".lock"))
    try:
        aside = _set_aside(path)
    finally:
        lock.release()
    log = Log.open(path, schema)
    try:
        _mend_header(aside, path)
        columns = ("id", *(name for name, _ in schema.columns))
        rows, lost = 0, 0
        with sqlite3.connect(aside) as connection:
            for chunk in _chunks(connection, columns):
                log.append([dict(zip(columns, row, strict=True)) for row in chunk])
                rows += len(chunk)
            lost = max(0, max(log.last_id, _last(connection)) - rows)
            for key, value in _read(connection, "SELECT key, value FROM meta", ()) or ():
                if key not in ("schema_version", "written_by"):
                    log.set_meta(key, value)
        connection.close()
        log.checkpoint()
    finally:
        log.close()
    mark(path).unlink(missing_ok=True)
    return Salvaged(aside, rows, lost)


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        shutil.move(wal, aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    shutil.move(path, aside)
    return aside


def _mend_header(aside: Path, fresh: Path) -> None:
    """Where the file does not begin as a database does: the header of a new one of the same schema."""
    with aside.open("r+b") as file:
        head = file.read(HEADER)
        if head.startswith(b"SQLite format 3\0") or len(head) < HEADER:
            return
        sample = bytearray(fresh.read_bytes()[:HEADER])
        # Its size is that of the file, and nothing is free: both counts are of the other file.
        sample[28:40] = bytes(12)
        file.seek(0)
        file.write(sample)


def _last(connection: sqlite3.Connection) -> int:
    found = _read(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'log'", ())
    return int(found[0][0]) if found else 0


def _chunks(connection: sqlite3.Connection, columns: tuple[str, ...]) -> Iterator[list[Any]]:
    query = f"SELECT {', '.join(columns)} FROM log NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608
    bounds = _read(connection, "SELECT min(id), max(id) FROM log NOT INDEXED", ())
    first, last = bounds[0] if bounds and bounds[0][0] is not None else (1, None)
    known, empty = int(last or _last(connection)), 0
    while first <= known or (last is None and empty < EMPTY_CHUNKS):
        found = _read(connection, query, (first, first + CHUNK - 1))
        if found is None:
            found = [row for id in range(first, first + CHUNK) for row in _read(connection, query, (id, id)) or ()]
        empty = 0 if found else empty + 1
        if found:
            yield found
        first += CHUNK


def _read(connection: sqlite3.Connection, query: str, parameters: tuple[int, ...]) -> list[Any] | None:
    """The rows, or None where they cannot be read."""
    try:
        return connection.execute(query, parameters).fetchall()
    except (sqlite3.Error, OverflowError, UnicodeDecodeError):
        return None
