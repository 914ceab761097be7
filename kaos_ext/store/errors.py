"""What can go wrong with a log.

StoreError
├─ LockedError     another process writes this log (its pid is named)
├─ FormatError     the file is of a format that this version of the program does not know
├─ DamagedError    the file is malformed; `salvage` makes a new one of what can be read
├─ FullError       the disk is full; nothing of the transaction was kept
└─ CommitFailed    a commit that this write was built on failed, so this one was not tried
"""

from __future__ import annotations

from pathlib import Path

from kaos_ext.model.errors import KaosError


class StoreError(KaosError):
    """The log could not do what was asked; what was acknowledged before is safe."""


class LockedError(StoreError):
    """Another process holds the writer's lock."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{path} is being written by {holder}", hint="one log has one writer: end the other first")
        self.pid = pid


class FormatError(StoreError):
    """The file was written by another version of the program and cannot be used by this one; nothing was touched."""


class DamagedError(StoreError):
    """SQLite finds the file malformed, or no database at all."""


class FullError(StoreError):
    """The disk is full; the transaction was rolled back."""


class CommitFailed(StoreError):
    """A write submitted before this one failed to commit, so this one was given up untried."""


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of space, its own or that of the one it was built on."""
    return isinstance(error, FullError) or isinstance(error.__cause__, FullError)
