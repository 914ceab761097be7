"""Backups as files: whole or refused, made and restored in one step, and never over anything."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaos_ext import __version__
from kaos_ext.cluster.apiserver.storage import LOG_SCHEMA, encode
from kaos_ext.cluster.backup import manifest, restore, save, saving
from kaos_ext.cluster.backup.relocate import GAP
from kaos_ext.cluster.backup.saving import copy_database
from kaos_ext.cluster.config import ClusterConfig, load_config, private_folder
from kaos_ext.cluster.pki import ensure_pki
from kaos_ext.model.errors import KaosError
from kaos_ext.store import Log


def put(log: Log, key: str, **object: object) -> None:
    log.append([{"key": key, "deleted": 0, "value": encode(object)}])


def database(path: Path, rows: int) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (n INTEGER)")
        made.executemany("INSERT INTO t VALUES (?)", ((n,) for n in range(rows)))
        made.commit()
    return path


def rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        return int(opened.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAOS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cluster(home: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterConfig:
    """A stopped cluster with a volume that holds all sorts of files."""
    monkeypatch.setattr(saving, "IN_MEMORY", 50_000)
    root = private_folder(home / "clusters" / "default")
    config = ClusterConfig(root=root, name="default", port=18765, octet=70)
    config.save()
    ensure_pki(config)
    config.images.write_text("{}\n")
    log = Log.open(config.database, LOG_SCHEMA)
    put(log, "/namespaces//default", metadata={"name": "default"})
    volume = config.volumes / "default-agent-a-state-1"
    path = {"path": str(volume), "type": "DirectoryOrCreate"}
    put(log, "/persistentvolumes//pvc-1", metadata={"name": "pvc-1"}, spec={"hostPath": path})
    put(log, "/persistentvolumes//own", metadata={"name": "own"}, spec={"hostPath": {"path": "/srv/elsewhere"}})
    spec = {"clusterIP": "127.70.0.10", "clusterIPs": ["127.70.0.10"]}
    put(log, "/services/default/a", metadata={"name": "a"}, spec=spec)
    put(log, "/services/default/b", metadata={"name": "b"}, spec={"clusterIP": "None", "clusterIPs": ["None"]})
    log.close()
    folder = private_folder(volume / "deep" / "empty").parent
    database(volume / "events.db", 100)
    (folder / "note.txt").write_text("kept")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "ünï\udcff").write_text("a name that is no UTF-8")
    (volume / "link").symlink_to("deep/note.txt")
    (volume / "large").write_bytes(random.Random(1).randbytes(200_000))
    (config.node / "logs").mkdir(parents=True)
    (config.node / "logs" / "0.log").write_text("not in it")
    return config


@pytest.fixture
def saved(cluster: ClusterConfig, tmp_path: Path) -> Path:
    file = tmp_path / "a.kaos.tar.gz"
    save(cluster, file)
    return file


def content(config: ClusterConfig, key: str) -> dict[str, object]:
    with contextlib.closing(sqlite3.connect(config.database)) as opened:
        (value,) = opened.execute("SELECT value FROM log WHERE key = ?", (key,)).fetchone()
        found: dict[str, object] = json.loads(value)["spec"]
        return found


def tree(folder: Path) -> dict[str, object]:
    """Everything below a folder: what it is and what it holds."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder",)
        elif path.suffix == ".db":
            found[name] = ("database", rows(path))
        else:
            found[name] = (path.stat().st_mode & 0o777, path.read_bytes())
    return found


def test_a_restored_cluster_has_all_that_the_saved_one_had(cluster: ClusterConfig, saved: Path, home: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    before, keys = tree(cluster.volumes), tree(cluster.pki)
    shutil.rmtree(cluster.root)
    made = restore(saved)
    assert made.config == load_config(cluster.root)
    assert (made.config.port, made.config.octet, made.config.node_name) == (18765, 70, "kaos-default")
    assert tree(made.config.volumes) == before
    assert tree(made.config.pki) == keys
    assert cluster.root.stat().st_mode & 0o077 == 0
    assert not (cluster.root / "node").exists() and not (home / "restoring").exists()
    assert not list(saved.parent.glob(".*")), "nothing is left beside the file"


def test_under_another_name_volumes_addresses_and_the_node_are_right(cluster: ClusterConfig, saved: Path) -> None:
    made = restore(saved, "copy").config
    assert made.name == "copy" and made.port != cluster.port and made.octet != cluster.octet
    assert made.node_name == "kaos-default", "pods and volumes name their node"
    volume = str(made.volumes / "default-agent-a-state-1")
    assert content(made, "/persistentvolumes//pvc-1") == {"hostPath": {"path": volume, "type": "DirectoryOrCreate"}}
    assert content(made, "/persistentvolumes//own") == {"hostPath": {"path": "/srv/elsewhere"}}
    address = f"127.{made.octet}.0.10"
    assert content(made, "/services/default/a") == {"clusterIP": address, "clusterIPs": [address]}
    assert content(made, "/services/default/b") == {"clusterIP": "None", "clusterIPs": ["None"]}


def test_revisions_go_on_far_above_and_all_before_is_compacted(saved: Path) -> None:
    made = restore(saved, "copy")
    log = Log.open(made.config.database, LOG_SCHEMA)
    assert log.last_id == made.manifest.revision + GAP
    assert log.meta("compacted") == str(log.last_id)
    log.close()


def test_a_cluster_that_is_there_is_never_replaced(cluster: ClusterConfig, saved: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cluster.root.rglob("*")}
    with pytest.raises(KaosError, match="already") as caught:
        restore(saved)
    assert "default-2" in caught.value.hint and "kaos down default --delete" in caught.value.hint
    assert {path: path.stat().st_mtime_ns for path in cluster.root.rglob("*")} == before
    checked = restore(saved, check_only=True)
    assert checked.manifest.objects == 5
    assert {path: path.stat().st_mtime_ns for path in cluster.root.rglob("*")} == before


def test_a_file_that_is_there_is_replaced_only_when_asked(cluster: ClusterConfig, saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(KaosError, match="there already"):
        save(cluster, saved)
    assert saved.read_bytes() == before
    put_more = Log.open(cluster.database, LOG_SCHEMA)
    put(put_more, "/namespaces//more", metadata={"name": "more"})
    put_more.close()
    save(cluster, saved, overwrite=True)
    assert restore(saved, "copy").manifest.objects == 6


def test_without_volumes_there_are_none(cluster: ClusterConfig, tmp_path: Path) -> None:
    file = tmp_path / "small"
    assert not save(cluster, file, volumes=False).manifest.volumes
    assert file.stat().st_size < 100_000
    assert not restore(file, "copy").config.volumes.exists()


def test_what_is_no_file_is_left_out_and_told(cluster: ClusterConfig, tmp_path: Path) -> None:
    os.mkfifo(cluster.volumes / "pipe")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as opened:
        opened.bind(str(cluster.volumes / "s"))
        left = save(cluster, tmp_path / "a").left_out
    assert sorted(Path(path).name for path in left) == ["pipe", "s"]


def test_a_database_that_is_written_meanwhile_is_whole(cluster: ClusterConfig, tmp_path: Path) -> None:
    """Pairs are written in one transaction each; no copy has half of one, and none is older than the store."""
    path = cluster.volumes / "pairs.db"
    stop = threading.Event()
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (n INTEGER)")

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path)) as writer:
            while not stop.is_set():
                writer.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
                writer.commit()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        counts = []
        for number in range(5):
            save(cluster, tmp_path / f"{number}")
            made_of = restore(tmp_path / f"{number}", f"copy-{number}").config.volumes / "pairs.db"
            with contextlib.closing(sqlite3.connect(made_of)) as opened:
                assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counts.append(rows(made_of))
    finally:
        stop.set()
        writing.join()
    assert all(count % 2 == 0 for count in counts) and counts == sorted(counts) and counts[-1] > 0


def test_a_database_held_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LOCKED_SECONDS", 0.1)
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as held:
        held.execute("CREATE TABLE t (n INTEGER)")
        held.execute("BEGIN EXCLUSIVE")
        with pytest.raises(KaosError, match=r"a\.db cannot be copied: database is locked"):
            copy_database(path, tmp_path / "copy.db")


def refused(file: Path, home: Path, words: str = "") -> str:
    with pytest.raises(KaosError) as caught:
        restore(file, "copy")
    assert not (home / "clusters" / "copy").exists(), "nothing is made of it"
    assert not (home / "restoring").exists()
    assert words in caught.value.message
    return caught.value.message


def test_a_backup_that_was_cut_off_is_refused_wherever_it_was(saved: Path, home: Path, tmp_path: Path) -> None:
    whole, torn = saved.read_bytes(), tmp_path / "torn"
    choice = random.Random(7)
    for length in [0, 1, 10, 100, *(choice.randrange(len(whole)) for _ in range(12)), len(whole) - 30]:
        torn.write_bytes(whole[:length])
        refused(torn, home)


def test_a_backup_that_was_changed_is_refused(saved: Path, home: Path, tmp_path: Path) -> None:
    """Not one bit: also where the compression would not notice."""
    plain, changed = bytearray(gzip.decompress(saved.read_bytes())), tmp_path / "changed"
    choice = random.Random(8)
    with tarfile.open(saved) as archive:
        places = [entry.offset_data + choice.randrange(entry.size) for entry in archive if entry.size]
    for place in places[1:]:
        plain[place] ^= 1
        changed.write_bytes(gzip.compress(bytes(plain), 1))
        refused(changed, home)
        plain[place] ^= 1


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("hello"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(gzip.compress(b"hello" * 1000)),
        lambda path: tarfile.open(path, "w:gz").close(),
        lambda path: database(path, 10),
    ],
    ids=["text", "empty", "gzip", "empty-tar", "database"],
)
def test_what_is_no_backup_is_refused(home: Path, tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a")
    refused(tmp_path / "a", home, "cannot be restored")


def test_a_file_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none", home, "No such file")


def repacked(saved: Path, target: Path, change: Callable[[tarfile.TarFile, tarfile.TarInfo, bytes], None]) -> Path:
    """The same backup, each entry of it written by `change`."""
    with tarfile.open(saved) as old, tarfile.open(target, "w:gz", compresslevel=1) as new:
        for entry in old:
            opened = old.extractfile(entry) if entry.isreg() else None
            change(new, entry, opened.read() if opened else b"")
    return target


@pytest.mark.parametrize(
    "evil",
    ["../evil", "/tmp/evil", "state/../../evil", "state/volumes/../../../evil", "evil"],
)
def test_nothing_is_written_outside_the_cluster(saved: Path, home: Path, tmp_path: Path, evil: str) -> None:
    def change(new: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
        if entry.name == manifest.SUMS:
            extra = tarfile.TarInfo(evil)
            extra.size = 1
            new.addfile(extra, io.BytesIO(b"x"))
        new.addfile(entry, io.BytesIO(data))

    refused(repacked(saved, tmp_path / "a", change), home, "which no backup has")
    assert not list(tmp_path.rglob("evil*"))


def test_nothing_is_written_through_a_link(saved: Path, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def change(new: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
        if entry.name == manifest.SUMS:
            link = tarfile.TarInfo("state/volumes/way-out")
            link.type, link.linkname = tarfile.SYMTYPE, str(outside)
            new.addfile(link)
            through = tarfile.TarInfo("state/volumes/way-out/file")
            through.size = 1
            new.addfile(through, io.BytesIO(b"x"))
        new.addfile(entry, io.BytesIO(data))

    refused(repacked(saved, tmp_path / "a", change), home)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_what_no_backup_holds_is_not_made(saved: Path, home: Path, tmp_path: Path, kind: bytes) -> None:
    def change(new: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
        if entry.name == manifest.SUMS:
            extra = tarfile.TarInfo("state/volumes/x")
            extra.type, extra.linkname = kind, "/etc/passwd"
            new.addfile(extra)
        new.addfile(entry, io.BytesIO(data))

    refused(repacked(saved, tmp_path / "a", change), home, "which no backup has")


def test_a_backup_of_a_later_version_is_refused_and_both_are_named(saved: Path, home: Path, tmp_path: Path) -> None:
    def change(new: tarfile.TarFile, entry: tarfile.TarInfo, data: bytes) -> None:
        if entry.name == manifest.MANIFEST:
            data = json.dumps({**json.loads(data), "version": 9, "kaos": "9.0", "more": 1}).encode()
            entry.size = len(data)
        new.addfile(entry, io.BytesIO(data))

    said = refused(repacked(saved, tmp_path / "a", change), home)
    for word in ("format 9", "kaos 9.0", f"kaos {__version__}"):
        assert word in said


def test_a_store_of_a_later_version_is_refused_before_it_is_a_cluster(
    cluster: ClusterConfig, home: Path, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(cluster.database)) as opened:
        opened.execute("UPDATE meta SET value = '9' WHERE key = 'schema_version'")
        opened.execute("UPDATE meta SET value = '9.9' WHERE key = 'written_by'")
        opened.commit()
    save(cluster, tmp_path / "a")
    said = refused(tmp_path / "a", home, "format 9, written by kaos 9.9")
    assert f"kaos {__version__}" in said


def test_a_cluster_that_never_ran_is_not_saved(home: Path, tmp_path: Path) -> None:
    root = private_folder(home / "clusters" / "new")
    with pytest.raises(KaosError, match="never run"):
        save(ClusterConfig(root=root, name="new", port=1, octet=64), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@contextlib.contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    left = after
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield


def test_a_disk_that_gets_full_leaves_nothing_half_made(
    cluster: ClusterConfig, saved: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(monkeypatch, 0), pytest.raises(KaosError, match="No space left"):
        save(cluster, tmp_path / "new")
    assert not list(tmp_path.glob("*new*"))
    before = saved.read_bytes()
    with full_disk(monkeypatch, 0), pytest.raises(KaosError, match="No space left"):
        save(cluster, saved, overwrite=True)
    assert saved.read_bytes() == before
    for after in (0, 5):
        with full_disk(monkeypatch, after):
            assert "No space left" in refused(saved, home)


CHILD = """
import os, pathlib, signal, sys
from kaos_ext.cluster.backup import restore
left = int(sys.argv[2])
real = os.fsync
def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
restore(pathlib.Path(sys.argv[1]), "copy")
"""


@pytest.mark.process
def test_killed_meanwhile_there_is_no_cluster_and_the_next_one_clears_up(saved: Path, home: Path) -> None:
    for moment in (1, 8, 12):
        ended = subprocess.run([sys.executable, "-c", CHILD, str(saved), str(moment)], check=False).returncode
        assert ended == -signal.SIGKILL
        assert not (home / "clusters" / "copy").exists()
        assert list((home / "restoring").iterdir())
    restore(saved, "copy")
    assert not (home / "restoring").exists()
    assert load_config(home / "clusters" / "copy").name == "copy"


@pytest.mark.process
def test_interrupted_it_ends_at_once_and_leaves_nothing(cluster: ClusterConfig, home: Path, tmp_path: Path) -> None:
    for number in range(10):
        (cluster.volumes / f"large-{number}").write_bytes(os.urandom(6 * 2**20))

    def interrupted(*words: str, once: Callable[[], bool]) -> None:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "kaos"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        deadline = time.monotonic() + 20
        while not once():
            assert time.monotonic() < deadline and process.poll() is None, f"{words} never came so far"
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
        assert (process.returncode, out) == (130, "") and "Traceback" not in said

    before = {path.name for path in tmp_path.iterdir()}
    interrupted("backup", "x", once=lambda: bool(list(tmp_path.glob(".x.*"))))
    assert {path.name for path in tmp_path.iterdir()} == before
    save(cluster, tmp_path / "whole")
    interrupted("restore", "whole", "copy", once=(home / "restoring").exists)
    assert not (home / "restoring").exists() and not (home / "clusters" / "copy").exists()
