"""A store that an earlier version of the server left is taken over with everything in it, and the old file is kept."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaos_ext import __version__
from kaos_ext.kube.objects import CONFIGMAPS
from kaos_ext.store import FormatError
from tests.apiserver.conftest import CMS, Running, config_map, next_of

FORMAT_1 = """
PRAGMA journal_mode=WAL;
BEGIN;
CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, deleted INTEGER NOT NULL,
                  value BLOB NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE INDEX log_key ON log (key);
INSERT INTO meta VALUES ('schema_version', '1');
"""


def as_format_1(path: Path) -> None:
    """Write the rows of a store into a new file, as the first version of the program made it."""
    with contextlib.closing(sqlite3.connect(path)) as now:
        rows = now.execute("SELECT id, key, deleted, value FROM log ORDER BY id").fetchall()
        meta = now.execute("SELECT key, value FROM meta WHERE key = 'compacted'").fetchall()
        (last,) = now.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(FORMAT_1)
        old.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", rows)
        old.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        old.execute("UPDATE sqlite_sequence SET seq = ?", (last,))
        old.commit()


def meta(path: Path, key: str) -> str | None:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        row = opened.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])


async def test_a_server_takes_over_the_store_of_the_version_before(start: Callable[[], Any]) -> None:
    first: Running = await start()
    made = (await first.http.post(CMS, config_map("a", data={"x": "1"}))).body
    await first.http.post(CMS, config_map("gone"))
    await first.http("DELETE", f"{CMS}/gone")
    last = (await first.http.get(CMS)).body["metadata"]["resourceVersion"]
    path = first.server.config.database
    await first.server.stop()
    as_format_1(path)
    assert meta(path, "written_by") is None

    second: Running = await start()
    assert (await second.http.get(f"{CMS}/a")).body == made
    assert (await second.http.get(f"{CMS}/gone")).status == 404
    events = second.http.watch(f"{CMS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert [(await next_of(events))["type"] for _ in range(2)] == ["ADDED", "DELETED"], "watches resume over it"
    new = (await second.http.post(CMS, config_map("b"))).body
    assert int(new["metadata"]["resourceVersion"]) > int(last)
    assert (meta(path, "schema_version"), meta(path, "written_by")) == ("2", __version__)
    kept = path.with_name("cluster.db.v1")
    assert meta(kept, "schema_version") == "1" and kept.stat().st_mode & 0o777 == 0o600


async def test_a_server_refuses_the_store_of_a_later_version_and_leaves_it_alone(start: Callable[[], Any]) -> None:
    first: Running = await start()
    path = first.server.config.database
    await first.server.stop()
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("UPDATE meta SET value = '9' WHERE key = 'schema_version'")
        opened.execute("UPDATE meta SET value = '9.9' WHERE key = 'written_by'")
        opened.commit()
    before = path.read_bytes()
    with pytest.raises(FormatError) as refused:
        await start()
    for words in ("format 9", "kaos 9.9", f"kaos {__version__}", "up to 2"):
        assert words in refused.value.message
    assert path.read_bytes() == before


async def test_clients_in_the_process_see_what_was_upgraded(start: Callable[[], Any]) -> None:
    first: Running = await start()
    await first.http.post(CMS, config_map("a"))
    path = first.server.config.database
    await first.server.stop()
    as_format_1(path)
    second: Running = await start()
    found = await second.server.client().list(CONFIGMAPS, "default")
    assert [item["metadata"]["name"] for item in found.items] == ["a"]
