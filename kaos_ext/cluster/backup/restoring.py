"""Making a cluster from a backup: all of it, or nothing.

The file is unpacked and checked beside the clusters, brought to its new place, and only then becomes a cluster, in one
rename. A cluster that is there already is never touched. The restored one is stopped; `kaos up` starts it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from kaos_ext.cluster.backup.manifest import LARGEST_TEXT, MANIFEST, STATE, SUMS, Manifest, NotABackup
from kaos_ext.cluster.backup.relocate import relocate
from kaos_ext.cluster.config import (
    ClusterConfig,
    check_place,
    cluster_root,
    kaos_home,
    known_configs,
    private_folder,
    unwritable,
)
from kaos_ext.cluster.network import choose_octet, choose_port, port_is_free
from kaos_ext.model.errors import KaosError

Progress = Callable[[str], None]
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, UnicodeError)


@dataclass(frozen=True, slots=True)
class Restored:
    """The cluster that was made, or would be."""

    config: ClusterConfig
    manifest: Manifest
    files: int
    bytes: int


def restore(
    file: Path, name: str | None = None, *, check_only: bool = False, on_progress: Progress = lambda step: None
) -> Restored:
    """Make the cluster `name` (the backup's own by default); with `check_only` read all of the file and make nothing.

    The caller holds the cluster's lock.
    """
    on_progress("the file to be read")
    manifest = read_manifest(file)
    root = cluster_root(name or manifest.cluster)
    check_place(root)
    if not check_only:
        refuse_existing(root, file)
    config = _config(root, manifest)
    fresh = _scratch(root.name)
    try:
        with _reading(file, to_its_end=True) as archive:
            files, size = _Unpacking(file, fresh, on_progress).run(archive)
        on_progress("the store to be checked")
        _check_store(file, fresh / config.database.name)
        if not check_only:
            relocate(fresh / config.database.name, manifest, config)
            _become(fresh, config)
    except OSError as error:
        raise unwritable(fresh, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(OSError):
            fresh.parent.rmdir()
    return Restored(config, manifest, files, size)


def read_manifest(file: Path) -> Manifest:
    """What the backup says of itself; NotABackup when it is none."""
    with _reading(file, to_its_end=False) as archive:
        first = archive.next()
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > LARGEST_TEXT:
            raise NotABackup(file, "it is no backup of a cluster")
        return Manifest.read(file, _content(archive, first))


def refuse_existing(root: Path, file: Path) -> None:
    """Nothing that is there is ever replaced."""
    if not root.exists() or not any(root.iterdir()):
        return
    raise KaosError(
        f"there is a cluster {root.name!r} already, which a restore does not replace",
        hint=f"restore it under another name: `kaos restore {file} {root.name}-2`; or give the present one up first: "
        f"`kaos down {root.name} --delete`",
    )


@contextlib.contextmanager
def _reading(file: Path, *, to_its_end: bool) -> Iterator[tarfile.TarFile]:
    """The archive as a stream; whatever is wrong with it is a NotABackup."""
    try:
        opened = file.open("rb")
    except OSError as error:
        raise KaosError(f"{file} cannot be read: {error.strerror}", hint="which file did you mean?") from error
    with opened:
        if opened.read(2) != b"\x1f\x8b":
            raise NotABackup(file, "it is no backup of a cluster")
        opened.seek(0)
        try:
            with gzip.open(opened) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
                yield archive
                while to_its_end and plain.read(2**20):
                    pass  # only now is its checksum compared
        except _DAMAGED as error:
            raise NotABackup(file, f"it is cut off or damaged ({error or type(error).__name__})") from error


def _content(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(entry)
    assert opened is not None
    return opened.read()


def _config(root: Path, manifest: Manifest) -> ClusterConfig:
    """Where the cluster will be: at its old port and network where these are free."""
    others = known_configs()
    ports, octets = {other.port for other in others}, {other.octet for other in others}
    port, octet = manifest.port, manifest.octet
    if port in ports or not port_is_free(port):
        port = choose_port(ports)
    if octet in octets:
        octet = choose_octet(root, octets)
    config = ClusterConfig(root=root, name=root.name, port=port, octet=octet)
    return (
        config if config.node_name == manifest.node else ClusterConfig(root, root.name, port, octet, host=manifest.node)
    )


def _scratch(name: str) -> Path:
    """A folder of our own beside the clusters; those of restores that were killed go."""
    folder = private_folder(kaos_home() / "restoring")
    for left in folder.iterdir():
        pid = left.name.rpartition(".")[2]
        if not pid.isdecimal() or not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return private_folder(folder / f"{name}.{os.getpid()}")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass
class _Unpacking:
    """The archive into a folder: plain files, folders and links below it, and nothing anywhere else."""

    file: Path
    folder: Path
    on_progress: Progress
    sums: dict[str, tuple[int, str]] = field(default_factory=dict)
    links: list[tuple[Path, str]] = field(default_factory=list)

    def run(self, archive: tarfile.TarFile) -> tuple[int, int]:
        promised: dict[str, list[object]] | None = None
        for entry in archive:
            if entry.name == MANIFEST:
                continue
            if promised is not None:
                raise NotABackup(self.file, "something follows its end")
            if entry.name == SUMS:
                promised = self._promised(archive, entry)
                continue
            self._entry(archive, entry)
        if promised is None:
            raise NotABackup(self.file, "it is cut off: its end is missing")
        found = {name: list(sum) for name, sum in self.sums.items()}
        if promised != found:
            wrong = sorted(name for name in promised.keys() | found.keys() if promised.get(name) != found.get(name))
            raise NotABackup(self.file, f"{wrong[0].removeprefix(STATE)} is not what was saved")
        # Last, so that nothing is ever written through one of them.
        for path, target in self.links:
            path.symlink_to(target)
        return len(self.sums), sum(size for size, _ in self.sums.values())

    def _promised(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> dict[str, list[object]]:
        if not entry.isreg() or entry.size > LARGEST_TEXT:
            raise NotABackup(self.file, "its end is damaged")
        try:
            promised = json.loads(_content(archive, entry))
        except ValueError:
            raise NotABackup(self.file, "its end is damaged") from None
        if not isinstance(promised, dict):
            raise NotABackup(self.file, "its end is damaged")
        return promised

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = PurePosixPath(entry.name).parts
        inside = entry.name.startswith(STATE) and ".." not in parts and "." not in parts and len(parts) > 1
        if not inside or not (entry.isreg() or entry.isdir() or entry.issym()):
            raise NotABackup(self.file, f"it holds {entry.name!r}, which no backup has")
        path = self.folder.joinpath(*parts[1:])
        # Told of every file, so that whoever listens can stop it there.
        self.on_progress(f"volume {parts[2]}" if len(parts) > 2 and parts[1] == "volumes" else parts[1])
        if entry.isdir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700 | (entry.mode & 0o777))
        elif entry.issym():
            self.links.append((path, entry.linkname))
        else:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content = archive.extractfile(entry)
            assert content is not None
            self.sums[entry.name] = _write(path, content, entry)


def _write(path: Path, content: IO[bytes], entry: tarfile.TarInfo) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while block := content.read(2**20):
            digest.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fchmod(out.fileno(), entry.mode & 0o777)
        os.fsync(out.fileno())
    os.utime(path, (entry.mtime, entry.mtime))
    return size, digest.hexdigest()


def _check_store(file: Path, store: Path) -> None:
    from kaos_ext.cluster.apiserver.storage import LOG_SCHEMA
    from kaos_ext.store.upgrade import check_format

    try:
        with contextlib.closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True)) as opened:
            (sound,) = opened.execute("PRAGMA integrity_check(1)").fetchone()
            opened.execute("SELECT count(*) FROM log").fetchone()
            check_format(opened, file, LOG_SCHEMA.version, LOG_SCHEMA.upgrades)
    except sqlite3.Error as error:
        raise NotABackup(file, f"its store is damaged ({error})") from None
    if sound != "ok":
        raise NotABackup(file, f"its store is damaged ({sound})")


def _become(fresh: Path, config: ClusterConfig) -> None:
    """The folder becomes the cluster's, in one step."""
    private_folder(config.root.parent)
    ClusterConfig(fresh, config.name, config.port, config.octet, host=config.host).save()
    fresh.rename(config.root)  # onto nothing, or an empty folder
    descriptor = os.open(config.root.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
