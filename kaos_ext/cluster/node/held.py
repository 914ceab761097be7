"""A running process as its supervisor holds it: its record, its pipes, and the log that takes what it says."""

from __future__ import annotations

import os
import selectors
import time
from dataclasses import dataclass, field

from kaos_ext.cluster.node.logs import LogWriter
from kaos_ext.cluster.node.protocol import ProcessRecord
from kaos_ext.cluster.node.spawning import Pipes

_CHUNK = 64 * 1024


@dataclass(eq=False)
class HeldProcess:
    record: ProcessRecord
    log: LogWriter
    pipes: Pipes
    selector: selectors.BaseSelector
    _streams: dict[int, str] = field(default_factory=dict)

    def listen(self) -> None:
        self._streams = {self.pipes.out: "stdout", self.pipes.err: "stderr"}
        for fd in self._streams:
            self.selector.register(fd, selectors.EVENT_READ, lambda fd=fd: self._hear(fd))

    def _hear(self, fd: int, limit: int = 16) -> None:
        for _ in range(limit):
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.selector.unregister(fd)
                del self._streams[fd]
                return
            self.log.feed(self._streams[fd], data, time.time_ns())

    def close(self) -> None:
        """Take what it said last, and let go of everything."""
        for fd in list(self._streams):
            self._hear(fd, limit=1024)
            if fd in self._streams:
                self.selector.unregister(fd)
        self.pipes.close()
        self.log.close(time.time_ns())
