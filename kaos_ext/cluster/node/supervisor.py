"""The supervisor: holds the processes of a node's pods, and outlives the daemon that asked for them.

    python -m kaos_ext.cluster.node.supervisor --root DIR

One thread around one selector: a 0600 unix socket with JSON lines (`protocol.py`), the pipes of every process, and
SIGCHLD. It starts processes in sessions of their own, writes what they say to CRI logs, reaps them and whatever they
orphan, and records every exit on disk before it tells anybody. It knows nothing of pods. Being told `stop_all`, or
SIGTERM, it ends every process and then itself. A lock on `supervisor.pid` keeps it single; a new one first ends what a
crashed one left. Exit status 0 of the command means: a supervisor listens. Standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from kaos_ext.cluster.node.logs import LogWriter
from kaos_ext.cluster.node.processes import (
    MARK,
    Records,
    birth,
    children,
    end_what_was_left,
    kill,
    lock,
    mark,
    marked,
    signal_group,
)
from kaos_ext.cluster.node.protocol import (
    LOG_FILE,
    PROCESSES,
    SOCKET,
    VERSION,
    Lines,
    ProcessRecord,
    ProcessSpec,
    encode,
    rfc3339,
)

_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 64 * 1024
_STOP_GRACE = 5.0


@dataclass(eq=False)
class _Process:
    record: ProcessRecord
    log: LogWriter
    streams: dict[int, str]
    held: int | None
    handle: subprocess.Popen[bytes]


@dataclass(eq=False)
class _Peer:
    connection: socket.socket
    lines: Lines = field(default_factory=Lines)
    pending: bytearray = field(default_factory=bytearray)


class Supervisor:
    def __init__(self, root: Path, listener: socket.socket) -> None:
        self.root = root
        self._records = Records(root)
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._running: dict[int, _Process] = {}
        self._known: dict[str, ProcessRecord] = {record.id: record for record in self._records.read()}
        self._peers: set[_Peer] = set()
        self._claims: dict[str, socket.socket] = {}
        self._stopping: float | None = None
        self._waiting_for_stop: list[tuple[_Peer, int]] = []
        self._orphan_seconds: float | None = None
        self._alone_since = time.monotonic()
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "hello": self._hello,
            "start": self._start,
            "signal": self._signal,
            "forget": self._forget,
            "claim": self._claim,
            "configure": self._configure,
        }

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        # Handlers, not SIG_IGN: what is ignored stays ignored in what we exec.
        for ignored in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
            signal.signal(ignored, _nothing)
        signal.signal(signal.SIGTERM, lambda number, frame: self._begin_stop(_STOP_GRACE))
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(wake, selectors.EVENT_READ, lambda: _drain(wake))
        while not self._finished():
            for key, mask in self._selector.select(self._patience()):
                if isinstance(key.data, _Peer):
                    self._converse(key.data, mask)
                else:
                    key.data()
            self._reap()
            self._check_deadlines()
        (self.root / SOCKET).unlink(missing_ok=True)
        for claim in self._claims.values():
            claim.close()
        for peer, request in self._waiting_for_stop:
            with contextlib.suppress(OSError):
                peer.connection.setblocking(True)
                peer.connection.settimeout(1)
                peer.connection.sendall(bytes(peer.pending) + encode({"id": request, "ok": {}}))

    def _finished(self) -> bool:
        return self._stopping is not None and not self._running

    def _patience(self) -> float | None:
        if self._stopping is not None:
            return max(0.0, min(self._stopping - time.monotonic(), 0.5))
        if self._orphan_seconds is not None and not self._peers:
            return max(0.0, self._alone_since + self._orphan_seconds - time.monotonic())
        return None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        if self._stopping is not None and now >= self._stopping:
            for process in self._running.values():
                signal_group(process.record.pid, signal.SIGKILL)
        elif (
            self._stopping is None
            and self._orphan_seconds is not None
            and not self._peers
            and now >= self._alone_since + self._orphan_seconds
        ):
            self._begin_stop(_STOP_GRACE)

    # -- conversations -------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            peer = _Peer(connection)
            self._peers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _converse(self, peer: _Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(peer)
            if mask & selectors.EVENT_READ:
                data = peer.connection.recv(_CHUNK * 4)
                if not data:
                    raise ConnectionResetError
                for message in peer.lines.feed(data):
                    self._answer(peer, message)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._hang_up(peer)

    def _answer(self, peer: _Peer, message: dict[str, Any]) -> None:
        request = message.pop("id")
        operation = message.pop("op")
        if operation == "stop_all":
            self._waiting_for_stop.append((peer, request))
            for each in list(self._peers):
                self._send(each, {"event": "stopping"})
            self._begin_stop(float(message.get("grace", _STOP_GRACE)))
            return
        try:
            reply: dict[str, Any] = {"id": request, "ok": self._operations[operation](message)}
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            reply = {"id": request, "error": str(error) or type(error).__name__}
        self._send(peer, reply)

    def _send(self, peer: _Peer, message: dict[str, Any]) -> None:
        peer.pending += encode(message)
        try:
            self._flush(peer)
        except OSError:
            self._hang_up(peer)

    def _flush(self, peer: _Peer) -> None:
        try:
            while peer.pending:
                del peer.pending[: peer.connection.send(peer.pending)]
        except BlockingIOError:
            pass
        if peer in self._peers:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.pending else 0)
            self._selector.modify(peer.connection, wanted, peer)

    def _hang_up(self, peer: _Peer) -> None:
        if peer in self._peers:
            self._peers.discard(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()
            self._alone_since = time.monotonic()

    # -- operations ----------------------------------------------------------------------------------------------

    def _hello(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "processes": [record.to_json() for record in self._known.values()],
        }

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        spec = ProcessSpec.from_json(message["process"])
        if self._stopping is not None:
            raise ValueError("the node is stopping")
        if spec.id in self._known:
            return {"process": self._known[spec.id].to_json()}
        log = LogWriter(Path(spec.log))
        try:
            handle = subprocess.Popen(
                spec.argv,
                env=spec.env | {MARK: mark(self.root, spec.id)},
                cwd=spec.cwd,
                stdin=subprocess.PIPE if spec.hold_stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            log.close(time.time_ns())
            raise
        record = ProcessRecord(spec.id, handle.pid, birth(handle.pid) or "", rfc3339(), spec.labels)
        try:
            self._records.write(record)
        except OSError:
            # What the disk does not know must not run. It is reaped as any orphan.
            signal_group(handle.pid, signal.SIGKILL)
            handle.returncode = -signal.SIGKILL
            log.close(time.time_ns())
            raise
        assert handle.stdout is not None and handle.stderr is not None
        streams = {handle.stdout.fileno(): "stdout", handle.stderr.fileno(): "stderr"}
        process = _Process(record, log, streams, handle.stdin.fileno() if handle.stdin else None, handle)
        for fd in streams:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, lambda fd=fd: self._hear(process, fd))
        self._known[spec.id] = record
        self._running[handle.pid] = process
        return {"process": record.to_json()}

    def _signal(self, message: dict[str, Any]) -> dict[str, Any]:
        record = self._known.get(message["process"])
        if record is None or not record.running:
            return {"sent": False}
        signal_group(record.pid, int(message["signal"]))
        return {"sent": True}

    def _forget(self, message: dict[str, Any]) -> dict[str, Any]:
        record = self._known.get(message["process"])
        if record is not None:
            if record.running:
                raise ValueError(f"process {record.id} is running")
            self._records.forget(record.id)
            del self._known[record.id]
        return {}

    def _claim(self, message: dict[str, Any]) -> dict[str, Any]:
        """Hold a UDP address for as long as pods live: two clusters never share a loopback network."""
        address = f"{message['host']}:{message['port']}"
        if address not in self._claims:
            claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                claim.bind((message["host"], int(message["port"])))
            except OSError:
                claim.close()
                return {"held": False}
            self._claims[address] = claim
        return {"held": True}

    def _configure(self, message: dict[str, Any]) -> dict[str, Any]:
        seconds = message.get("orphan_seconds")
        self._orphan_seconds = None if seconds is None else float(seconds)
        return {}

    def _begin_stop(self, grace: float) -> None:
        deadline = time.monotonic() + grace
        if self._stopping is None:
            for process in self._running.values():
                signal_group(process.record.pid, signal.SIGTERM)
            self._stopping = deadline
        else:
            self._stopping = min(self._stopping, deadline)

    # -- processes -----------------------------------------------------------------------------------------------

    def _hear(self, process: _Process, fd: int, limit: int = 16) -> None:
        for _ in range(limit):
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(fd)
                del process.streams[fd]
                return
            process.log.feed("stdout" if process.streams[fd] == "stdout" else "stderr", data, time.time_ns())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._running.pop(pid, None)
            if process is not None:
                self._ended(process, os.waitstatus_to_exitcode(status))

    def _ended(self, process: _Process, status: int) -> None:
        """As in a container, the end of the first process is the end of all."""
        record = process.record
        process.handle.returncode = status
        signal_group(record.pid, signal.SIGKILL)
        if any(pid not in self._running for pid in children()):
            for pid in marked(self.root, record.id):
                kill(pid)
        for fd in list(process.streams):
            self._hear(process, fd, limit=1024)
            if fd in process.streams:
                self._selector.unregister(fd)
        for pipe in (process.handle.stdin, process.handle.stdout, process.handle.stderr):
            if pipe is not None:
                pipe.close()
        process.log.close(time.time_ns())
        code, number = (128 - status, -status) if status < 0 else (status, 0)
        ended = replace(record, finished_at=rfc3339(), exit_code=code, signal=number)
        try:
            self._records.write(ended)
        except OSError as error:
            print(f"exit of {record.id} is not on disk: {error.strerror}", file=sys.stderr, flush=True)
        self._known[record.id] = ended
        for peer in list(self._peers):
            self._send(peer, {"event": "exited", "process": ended.to_json()})


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler, so that the wake-up pipe is written."""


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _become_subreaper() -> None:
    """Orphans of pods come to us instead of to init (Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _serve(root: Path) -> None:
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    (root / PROCESSES).mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    held = lock(root)
    if held is None:
        return
    end_what_was_left(Records(root))
    (root / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(SOCKET)  # relative: the path of a socket may not be long
    listener.listen(64)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    _become_subreaper()
    log = os.open(root / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDWR)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    try:
        Supervisor(root, listener).run()
    except BaseException:
        traceback.print_exc()
        raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="supervisor", description="Holds the processes of a node's pods.")
    parser.add_argument("--root", type=Path, required=True, help="the node's folder")
    _serve(parser.parse_args().root.absolute())


if __name__ == "__main__":
    main()
