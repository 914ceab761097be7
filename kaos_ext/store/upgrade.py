"""A log's format, from one version of the program to the next.

    same       nothing happens
    newer      refused before anything is touched: only the program that wrote it (or a later one) may write it
    older      the file is copied to `<name>.v<old>`, made shrinkable, then changed step by step in one transaction

Killed at any moment, the file is either the old one, which the next start upgrades, or the new one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from kaos_ext import __version__
from kaos_ext.store.errors import FormatError, StoreError

Upgrades = Mapping[int, tuple[str, ...]]
"""From each older version the SQL statements that lead to the one after it."""
_INCREMENTAL = 2


def prepare(connection: sqlite3.Connection, path: Path, version: int, upgrades: Upgrades) -> None:
    """See that what is at `path` is new, or of this version; the caller holds the writer's lock."""
    found = found_version(connection)
    if found is None:
        connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
        return
    _refuse_unknown(connection, path, found, version, upgrades)
    if found == version:
        return
    try:
        keep_copy(connection, path.with_name(f"{path.name}.v{found}"))
        _make_shrinkable(connection)
        connection.execute("BEGIN IMMEDIATE")
        for step in range(found, version):
            for statement in upgrades[step]:
                connection.execute(statement)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (str(version),))
        connection.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise StoreError(
            f"{path} could not be brought from format {found} to {version}: {error}",
            hint="nothing of it was changed; it needs as much free space as the file has, then start again",
        ) from error


def _refuse_unknown(connection: sqlite3.Connection, path: Path, found: int, version: int, upgrades: Upgrades) -> None:
    """FormatError when the file is of a format that cannot be brought to this version's."""
    if found > version:
        writer = _meta(connection, "written_by")
        by = f", written by kaos {writer}" if writer else ""
        raise FormatError(
            f"{path} has format {found}{by}; this is kaos {__version__}, which knows formats up to {version}",
            hint=f"use kaos {writer or 'of the version that wrote it'} or a later one: pip install --upgrade kaos-ext",
        )
    missing = [step for step in range(found, version) if step not in upgrades]
    if missing:
        raise FormatError(
            f"{path} has format {found}, too old for kaos {__version__} (format {version})",
            hint=f"open it once with a kaos between: none of this one's steps starts at format {missing[0]}",
        )


def check_format(connection: sqlite3.Connection, path: Path, version: int, upgrades: Upgrades) -> None:
    """Whether a program of this version could open the log; FormatError, or sqlite3.DatabaseError when it is none."""
    found = found_version(connection)
    if found is None:
        raise sqlite3.DatabaseError("it is empty")
    _refuse_unknown(connection, path, found, version, upgrades)


def found_version(connection: sqlite3.Connection) -> int | None:
    """The format of the file; None when it is empty. Raises sqlite3.DatabaseError when it is no log."""
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables:
        return None
    found = _meta(connection, "schema_version")
    if not found.isdecimal():
        raise sqlite3.DatabaseError("it says no format")
    return int(found)


def keep_copy(connection: sqlite3.Connection, copy: Path) -> None:
    """A copy of the whole database beside it, complete under its name or not there at all."""
    fresh = copy.with_name(f"{copy.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.closing(sqlite3.connect(fresh)) as target:
            connection.backup(target)
        os.fsync(descriptor)
        fresh.replace(copy)
        _sync_folder(copy.parent)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _make_shrinkable(connection: sqlite3.Connection) -> None:
    """Pages that are no longer used can then be given back to the disk. Files of format 1 never shrank."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if mode != _INCREMENTAL:
        connection.execute(f"PRAGMA auto_vacuum={_INCREMENTAL}")
        connection.execute("VACUUM")


def _meta(connection: sqlite3.Connection, key: str) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return "" if row is None else str(row[0])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
