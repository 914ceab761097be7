"""Taking a backup, also of a cluster that runs.

The store is copied first, by SQLite and in one transaction, so it is the cluster at one resourceVersion. Then the
volumes: each database in them (an agent's events) by SQLite as well, whole in itself and never older than the store;
other files as they are at that moment. Not in it: pods' logs and scratch volumes, the kubeconfig (it is made anew).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from kaos_ext.cluster.backup.manifest import MANIFEST, STATE, SUMS, Manifest
from kaos_ext.cluster.config import ClusterConfig, damaged, unwritable
from kaos_ext.model.errors import KaosError

Progress = Callable[[str], None]
IN_MEMORY = 4 * 2**20
LOCKED_SECONDS = 30.0
_HEADER = b"SQLite format 3\x00"
_SIDECARS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written where."""

    file: Path
    manifest: Manifest
    files: int
    databases: int
    bytes: int
    left_out: tuple[str, ...] = ()
    """Sockets, pipes and devices: nothing that a file can hold."""


def save(
    config: ClusterConfig,
    file: Path,
    *,
    volumes: bool = True,
    overwrite: bool = False,
    on_progress: Progress = lambda step: None,
) -> Saved:
    """Write the backup, 0600, complete under its name or not at all."""
    if file.exists() and not overwrite:
        raise KaosError(f"{file} is there already", hint="another name, or --force to replace it")
    if not config.database.exists():
        raise KaosError(f"cluster {config.name!r} has never run: there is nothing to save", hint="`kaos up` starts it")
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            with TemporaryDirectory(prefix=".kaos-backup-", dir=file.parent) as staging:
                writer = _Writer(Path(staging))
                manifest = writer.write(out, config, volumes, on_progress)
            out.flush()
            os.fsync(out.fileno())
        size = temporary.stat().st_size
        _put_in_place(temporary, file, overwrite=overwrite)
    except OSError as error:
        raise unwritable(file, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Saved(file, manifest, len(writer.sums), writer.databases, size, tuple(writer.left_out))


def _put_in_place(temporary: Path, file: Path, *, overwrite: bool) -> None:
    if overwrite:
        temporary.replace(file)
        return
    try:
        os.link(temporary, file)  # fails where meanwhile another has made it
    except FileExistsError:
        raise KaosError(f"{file} is there already", hint="another name, or --force to replace it") from None
    except OSError:
        temporary.replace(file)  # a file system without links


@dataclass
class _Writer:
    """One archive as it grows."""

    staging: Path
    sums: dict[str, tuple[int, str]] = field(default_factory=dict)
    databases: int = 0
    left_out: list[str] = field(default_factory=list)

    def write(self, out: IO[bytes], config: ClusterConfig, volumes: bool, on_progress: Progress) -> Manifest:
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as archive:
            on_progress("the store")
            store = self.staging / "cluster.db"
            try:
                copy_database(config.database, store)
            except sqlite3.DatabaseError as error:
                raise damaged(config, str(error)) from error
            manifest = _manifest(config, store, volumes)
            _add(archive, MANIFEST, io.BytesIO(manifest.to_json()), len(manifest.to_json()))
            self._file(archive, STATE + config.database.name, store)
            store.unlink()
            on_progress("its certificates and keys")
            for path in (config.images, *sorted(config.pki.iterdir())):
                if path.is_file():
                    self._file(archive, STATE + str(path.relative_to(config.root)), path)
            if volumes and config.volumes.is_dir():
                self._volumes(archive, config, on_progress)
            sums = json.dumps(self.sums, ensure_ascii=True).encode()
            _add(archive, SUMS, io.BytesIO(sums), len(sums))
        return manifest

    def _volumes(self, archive: tarfile.TarFile, config: ClusterConfig, on_progress: Progress) -> None:
        for path in _walk(config.volumes):
            # Told of every file, so that whoever listens can stop it there.
            on_progress(f"volume {path.relative_to(config.root).parts[1]}" if path != config.volumes else "volumes")
            name = STATE + os.fsencode(path.relative_to(config.root)).decode("utf-8", "surrogateescape")
            try:
                found = path.lstat()
                if stat.S_ISDIR(found.st_mode):
                    archive.addfile(_entry(name, found, tarfile.DIRTYPE))
                elif stat.S_ISLNK(found.st_mode):
                    entry = _entry(name, found, tarfile.SYMTYPE)
                    entry.linkname = str(path.readlink())
                    archive.addfile(entry)
                elif stat.S_ISREG(found.st_mode):
                    self._kept(archive, name, path)
                else:
                    self.left_out.append(str(path))
            except FileNotFoundError:
                continue  # it went while we looked: as if we had come later

    def _kept(self, archive: tarfile.TarFile, name: str, path: Path) -> None:
        """A file of a volume: a database by SQLite, and without what only lies beside it while it is open."""
        main = next((path.with_name(path.name.removesuffix(end)) for end in _SIDECARS if path.name.endswith(end)), None)
        if main is not None and _is_database(main):
            return
        if _is_database(path):
            copy = self.staging / "database"
            try:
                copy_database(path, copy)
                os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
                copy.chmod(path.stat().st_mode & 0o777)
                self._file(archive, name, copy)
                self.databases += 1
            except sqlite3.DatabaseError:
                self._file(archive, name, path)  # damaged, or encrypted: as it is
            finally:
                copy.unlink(missing_ok=True)
            return
        self._file(archive, name, path)

    def _file(self, archive: tarfile.TarFile, name: str, path: Path) -> None:
        """A file that may grow or shrink meanwhile: what it is when it is read, once."""
        with path.open("rb") as opened:
            found = os.fstat(opened.fileno())
            content: IO[bytes] = opened
            if found.st_size <= IN_MEMORY:
                content = io.BytesIO(opened.read(IN_MEMORY))
            elif path.parent != self.staging:
                content = (self.staging / "file").open("w+b")
                _pour(opened, content)
            with contextlib.closing(content):
                size = content.seek(0, os.SEEK_END)
                content.seek(0)
                digest = hashlib.sha256()
                for block in iter(lambda: content.read(2**20), b""):
                    digest.update(block)
                content.seek(0)
                _add(archive, name, content, size, found)
                self.sums[name] = (size, digest.hexdigest())


def copy_database(source: Path, target: Path) -> None:
    """A whole copy of a database as it is between two transactions, whoever writes it."""
    began = time.monotonic()

    def waited(_status: int, _left: int, _total: int) -> None:
        if time.monotonic() - began > LOCKED_SECONDS:
            raise sqlite3.OperationalError("a program has held it for too long")

    target.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"file:{_quoted(source)}?mode=rw", uri=True, timeout=LOCKED_SECONDS)
            ) as reading,
            contextlib.closing(sqlite3.connect(target)) as writing,
        ):
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reading.backup(writing, pages=-1, progress=waited)
            # One file, with nothing beside it.
            writing.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise KaosError(
            f"{source} cannot be copied: {error}",
            hint="end the program that holds it, or leave volumes out: --without-volumes",
        ) from error
    target.chmod(0o600)


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(path))


def _manifest(config: ClusterConfig, store: Path, volumes: bool) -> Manifest:
    with contextlib.closing(sqlite3.connect(store)) as opened:
        try:
            (sound,) = opened.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            sound = str(error)
        if sound != "ok":
            raise damaged(config, sound)
        row = opened.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        (objects,) = opened.execute(
            "SELECT count(*) FROM log JOIN (SELECT max(id) AS last FROM log GROUP BY key) ON id = last "
            "WHERE NOT deleted"
        ).fetchone()
    return Manifest(
        cluster=config.name,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        revision=row[0] if row else 0,
        objects=objects,
        root=str(config.root),
        octet=config.octet,
        port=config.port,
        node=config.node_name,
        volumes=volumes,
    )


def _walk(folder: Path) -> Iterator[Path]:
    """The folder and all below it, each folder before what it holds; links are not followed."""
    yield folder
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(len(_HEADER)) == _HEADER
    except OSError:
        return False


def _entry(name: str, found: os.stat_result | None, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o600 if found is None else found.st_mode & 0o777
    entry.mtime = time.time() if found is None else found.st_mtime
    return entry


def _add(
    archive: tarfile.TarFile, name: str, content: IO[bytes], size: int, found: os.stat_result | None = None
) -> None:
    entry = _entry(name, found)
    entry.size = size
    archive.addfile(entry, content)


def _pour(source: IO[bytes], target: IO[bytes]) -> None:
    for block in iter(lambda: source.read(2**20), b""):
        target.write(block)
