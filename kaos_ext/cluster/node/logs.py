"""Container logs in the CRI format: `<time> <stream> <F|P> <text>`, one file per attempt, rotated.

    logs/<namespace>_<pod>_<uid>/<container>/<attempt>.log, older parts .log.1 … .log.4

The supervisor writes them, the kubelet API reads them. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_LINE = 16 * 1024
MAX_FILE = 10 * 1024 * 1024
MAX_PARTS = 5


def _timestamp(nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode() + b".%09dZ" % rest


def parts(path: Path) -> list[Path]:
    """All files of one log, oldest first."""
    older = [path.with_name(f"{path.name}.{n}") for n in range(MAX_PARTS - 1, 0, -1)]
    return [part for part in (*older, path) if part.exists()]


class LogWriter:
    """Writes what a container says to its log; a line comes whole, or in parts of 16 KiB."""

    def __init__(self, path: Path, max_file: int = MAX_FILE) -> None:
        self.path = path
        self._max = max_file
        self._failed = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open()
        self._rest = {"stdout": b"", "stderr": b""}

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def feed(self, stream: str, data: bytes, now: int) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        head = _timestamp(now) + b" " + stream.encode()
        out: list[bytes] = []
        for line in lines:
            while len(line) > MAX_LINE:
                out.append(head + b" P " + line[:MAX_LINE] + b"\n")
                line = line[MAX_LINE:]
            out.append(head + b" F " + line + b"\n")
        while len(rest) >= MAX_LINE:
            out.append(head + b" P " + rest[:MAX_LINE] + b"\n")
            rest = rest[MAX_LINE:]
        self._rest[stream] = rest
        self._write(b"".join(out))

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self._size and self._size + len(data) > self._max:
                self._rotate()
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            # A full disk costs lines of a log, never the process that writes it.
            if not self._failed:
                print(f"{self.path}: {error.strerror}", file=sys.stderr, flush=True)
            self._failed = True
            return
        self._failed = False
        self._size += len(data)

    def _rotate(self) -> None:
        os.close(self._fd)
        for n in range(MAX_PARTS - 2, 0, -1):
            part = self.path.with_name(f"{self.path.name}.{n}")
            if part.exists():
                part.replace(self.path.with_name(f"{self.path.name}.{n + 1}"))
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._open()

    def close(self, now: int) -> None:
        for stream, rest in self._rest.items():
            if rest:
                self._write(_timestamp(now) + b" " + stream.encode() + b" F " + rest + b"\n")
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What a reader asks for, by the API's names."""

    follow: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class LogReader:
    """Turns a log's files into what `kubectl logs` prints; `read()` again gives what was added since."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._left = options.limit_bytes
        self._position: tuple[int, int] = (0, 0)  # inode of the newest file seen, offset in it
        self._rest = b""
        self._mid_line = False
        self._first = True
        self.finished = options.limit_bytes == 0

    def read(self) -> bytes:
        """Everything there is by now (within the options)."""
        lines = list(self._new_lines())
        if self._first:
            self._first = False
            if self._options.tail_lines is not None:
                lines = _tail(lines, self._options.tail_lines)
        out = b"".join(self._render(line) for line in lines)
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
            self.finished = self._left == 0
        return out

    def _new_lines(self) -> Iterator[bytes]:
        files = parts(self._path)
        inode, offset = self._position
        for index, path in enumerate(files):
            try:
                stat = path.stat()
                if inode and stat.st_ino != inode:
                    if any(_inode(later) == inode for later in files[index + 1 :]):
                        continue  # read before the file it was rotated from
                    start = 0
                else:
                    start, inode = (offset if inode else 0), 0
                with path.open("rb") as file:
                    file.seek(start)
                    data = file.read()
            except FileNotFoundError:
                continue  # rotated away between two looks
            self._position = (stat.st_ino, start + len(data))
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from lines

    def _render(self, line: bytes) -> bytes:
        time, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        since = self._options.since
        if since is not None and _moment(time) < since:
            return b""
        head = b"" if self._mid_line or not self._options.timestamps else time + b" "
        self._mid_line = tag == b"P"
        return head + text + (b"" if self._mid_line else b"\n")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _moment(time: bytes) -> datetime:
    return datetime.fromisoformat(time[:26].rstrip(b"Z").decode()).replace(tzinfo=UTC)


def _tail(lines: list[bytes], count: int) -> list[bytes]:
    """The records of the last `count` whole lines."""
    if count <= 0:
        return []
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].split(b" ", 3)[2:3] == [b"F"]:
            count -= 1
            if count < 0:
                return lines[index + 1 :]
    return lines
