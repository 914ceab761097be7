"""The file of a backup: a gzipped tar that says first what it is and last what was in it.

    kaos-backup.json    the manifest: of which cluster, when, at which revision, by which version
    state/…             what lies in the state folder: cluster.db, images.json, pki/, volumes/
    kaos-backup.sums    size and SHA-256 of every file; without it the backup is not whole

So a file that was cut off, changed or is something else is known as such before anything of it is used.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaos_ext import __version__
from kaos_ext.model.errors import KaosError

FORMAT = "kaos-backup"
VERSION = 1
MANIFEST = "kaos-backup.json"
SUMS = "kaos-backup.sums"
STATE = "state/"
LARGEST_TEXT = 64 * 2**20


class NotABackup(KaosError):
    """The file is no backup of a cluster, or not all of one."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be restored: {why}", hint="nothing was changed; `kaos backup FILE` makes one")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    cluster: str
    created: str
    """When, UTC."""
    revision: int
    """The newest resourceVersion in it."""
    objects: int
    root: str
    """Where the state folder was: volumes name it."""
    octet: int
    port: int
    node: str
    volumes: bool
    """Whether what agents and other pods keep is in it."""
    kaos: str = __version__

    def to_json(self) -> bytes:
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def read(cls, file: Path, content: bytes) -> Manifest:
        try:
            data: dict[str, Any] = json.loads(content)
            if data.pop("format") != FORMAT:
                raise NotABackup(file, "it is no backup of a cluster")
            version = int(data.pop("version"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotABackup(file, "it is no backup of a cluster") from None
        if version > VERSION:
            raise KaosError(
                f"{file} has backup format {version}, written by kaos {data.get('kaos', '?')}; this is kaos "
                f"{__version__}, which knows formats up to {VERSION}",
                hint="restore it with that version or a later one: pip install --upgrade kaos-ext",
            )
        try:
            return cls(**data)
        except TypeError as error:
            raise NotABackup(file, f"its manifest is damaged ({error})") from None
