"""The writer's lock: an advisory lock on a file beside the log, released by the kernel however the writer dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kaos_ext.store.errors import LockedError


class WriterLock:
    """Held from construction to `release()`. The holder's pid stands in the file for error messages only."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.read(self._descriptor, 32).strip()
            os.close(self._descriptor)
            raise LockedError(path, int(written) if written.isdigit() else None) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
