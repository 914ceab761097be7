"""The supervisor: holds the processes of a node's pods, and outlives the daemon that asked for them.

    python -m kaos_ext.cluster.node.supervisor --root DIR

One thread around one selector: a 0600 unix socket with JSON lines (`peers.py`), the pipes of every process
(`held.py`), and SIGCHLD. It starts processes in sessions of their own, by exec or as forks of a template, writes what
they say to CRI logs, reaps them and whatever they orphan, and records every exit on disk before it tells anybody. It
knows nothing of pods. Being told `stop_all`, or SIGTERM, it ends every process and then itself. A lock on
`supervisor.pid` keeps it single; a new one first ends what a crashed one left. Exit status 0 of the command means: a
supervisor listens. Standard library only.
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
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from kaos_ext.cluster.node.held import HeldProcess
from kaos_ext.cluster.node.logs import LogWriter
from kaos_ext.cluster.node.peers import Peer, Peers
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
    ProcessRecord,
    ProcessSpec,
    rfc3339,
)
from kaos_ext.cluster.node.spawning import Pipes, execute
from kaos_ext.cluster.node.templates import NoFork, Templates, Unborn, fits

_PR_SET_CHILD_SUBREAPER = 36
_STOP_GRACE = 5.0

Reply = Callable[[dict[str, Any]], None]


class Supervisor:
    def __init__(self, root: Path, listener: socket.socket) -> None:
        self.root = root
        self._records = Records(root)
        self._selector = selectors.DefaultSelector()
        self._peers = Peers(self._selector, listener, self._answer, self._left_alone)
        self._templates = Templates(root, self._selector)
        self._running: dict[int, HeldProcess] = {}
        self._known: dict[str, ProcessRecord] = {record.id: record for record in self._records.read()}
        self._claims: dict[str, socket.socket] = {}
        self._stopping: float | None = None
        self._waiting_for_stop: list[tuple[Peer, int]] = []
        self._orphan_seconds: float | None = None
        self._alone_since = time.monotonic()
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "hello": self._hello,
            "start": self._start,
            "warm": self._warm,
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
        self._selector.register(wake, selectors.EVENT_READ, lambda: _drain(wake))
        while not self._finished():
            for key, mask in self._selector.select(self._patience()):
                if isinstance(key.data, Peer):
                    self._peers.converse(key.data, mask)
                else:
                    key.data()
            self._reap()
            self._check_deadlines()
        (self.root / SOCKET).unlink(missing_ok=True)
        for claim in self._claims.values():
            claim.close()
        for peer, request in self._waiting_for_stop:
            self._peers.farewell(peer, {"id": request, "ok": {}})

    def _finished(self) -> bool:
        return self._stopping is not None and not self._running and not self._templates.pids

    def _patience(self) -> float | None:
        if self._stopping is not None:
            return max(0.0, min(self._stopping - time.monotonic(), 0.5))
        if self._orphan_seconds is not None and not self._peers:
            return max(0.0, self._alone_since + self._orphan_seconds - time.monotonic())
        return self._templates.patience()

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        if self._stopping is not None:
            self._templates.close()
            if now >= self._stopping:
                for process in self._running.values():
                    signal_group(process.record.pid, signal.SIGKILL)
        elif self._orphan_seconds is not None and not self._peers and now >= self._alone_since + self._orphan_seconds:
            self._begin_stop(_STOP_GRACE)
        else:
            self._templates.check_patience()

    # -- conversations -------------------------------------------------------------------------------------------

    def _left_alone(self) -> None:
        self._alone_since = time.monotonic()

    def _answer(self, peer: Peer, message: dict[str, Any]) -> None:
        request = message.pop("id")
        operation = message.pop("op")
        if operation == "stop_all":
            self._waiting_for_stop.append((peer, request))
            self._peers.tell({"event": "stopping"})
            self._begin_stop(float(message.get("grace", _STOP_GRACE)))
            return
        if operation == "start" and (template := self._awaited(message)):
            # Answered once it is known whether there is something to fork from.
            self._templates.when_decided(template, partial(self._perform, peer, request, operation, message))
            return
        self._perform(peer, request, operation, message)

    def _perform(self, peer: Peer, request: int, operation: str, message: dict[str, Any]) -> None:
        try:
            reply: dict[str, Any] = {"id": request, "ok": self._operations[operation](message)}
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            reply = {"id": request, "error": str(error) or type(error).__name__}
        self._peers.send(peer, reply)

    # -- operations ----------------------------------------------------------------------------------------------

    def _hello(self, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "processes": [record.to_json() for record in self._known.values()],
        }

    def _warm(self, message: dict[str, Any]) -> dict[str, Any]:
        for modules in message["templates"]:
            self._templates.want(modules)
        return {}

    def _awaited(self, message: dict[str, Any]) -> tuple[str, ...]:
        """The template that this start has to wait for."""
        modules = tuple((message.get("process") or {}).get("template") or ())
        if not modules or self._stopping is not None or not fits(ProcessSpec.from_json(message["process"])):
            return ()
        self._templates.want(modules)
        return modules if self._templates.starting(modules) else ()

    def _start(self, message: dict[str, Any]) -> dict[str, Any]:
        spec = ProcessSpec.from_json(message["process"])
        if self._stopping is not None:
            raise ValueError("the node is stopping")
        if spec.id in self._known:
            return {"process": self._known[spec.id].to_json()}
        log = LogWriter(Path(spec.log))
        try:
            pipes = Pipes.open(spec.hold_stdin)
            try:
                pid, unborn = self._spawn(spec, pipes)
            except OSError:
                pipes.close()
                raise
            finally:
                pipes.hand_over()
        except OSError:
            log.close(time.time_ns())
            raise
        record = ProcessRecord(spec.id, pid, birth(pid) or "", rfc3339(), spec.labels)
        process = HeldProcess(record, log, pipes, self._selector)
        try:
            self._records.write(record)
        except OSError:
            # What the disk does not know must not run. It is reaped as any orphan.
            signal_group(pid, signal.SIGKILL)
            if unborn is not None:
                unborn.give_up()
            process.close()
            raise
        process.listen()
        self._known[spec.id] = record
        self._running[pid] = process
        if unborn is not None:
            unborn.let_go()
        return {"process": record.to_json()}

    def _spawn(self, spec: ProcessSpec, pipes: Pipes) -> tuple[int, Unborn | None]:
        env = spec.env | {MARK: mark(self.root, spec.id)}
        if fits(spec):
            with contextlib.suppress(NoFork):
                unborn = self._templates.fork(spec, env, pipes)
                return unborn.pid, unborn
        return execute(spec.argv, env, spec.cwd, pipes), None

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
            else:
                self._templates.reaped(pid)

    def _ended(self, process: HeldProcess, status: int) -> None:
        """As in a container, the end of the first process is the end of all."""
        record = process.record
        signal_group(record.pid, signal.SIGKILL)
        if set(children()) - self._running.keys() - self._templates.pids:
            for pid in marked(self.root, record.id):
                kill(pid)
        process.close()
        code, number = (128 - status, -status) if status < 0 else (status, 0)
        ended = replace(record, finished_at=rfc3339(), exit_code=code, signal=number)
        try:
            self._records.write(ended)
        except OSError as error:
            print(f"exit of {record.id} is not on disk: {error.strerror}", file=sys.stderr, flush=True)
        self._known[record.id] = ended
        self._peers.tell({"event": "exited", "process": ended.to_json()})


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
