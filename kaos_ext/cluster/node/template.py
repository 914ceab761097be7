"""A template: a process that has imported what pods of an image need, and forks into them.

    python -P -m kaos_ext.cluster.node.template --control FD MODULE…

The supervisor starts it with an environment built from nothing, and hands over, for each pod, a socket and the pod's
stdin, stdout and stderr. The template forks twice, so the pod's parent is the supervisor, which reaps it as any other.
Only the child reads what it is to be: a template never holds a variable of a pod, so no pod inherits another's.

    child → supervisor   {"pid": 7}        and it waits: what is not yet on disk does not run
    supervisor → child   a byte: go        the end of the socket instead: the child ends, having done nothing

It forks only as it was born: one thread, no event loop, no open file but its control. It ends when the supervisor
does, and when a file that it imported has changed: old code never starts new pods. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kaos_ext.cluster.node.processes import MARK
from kaos_ext.cluster.node.protocol import FORK, GO, READY, SHIM, Birth

_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGPIPE: signal.SIG_IGN,
    signal.SIGXFSZ: signal.SIG_IGN,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="template", description="A process that forks into pods.")
    parser.add_argument("--control", type=int, required=True, help="a socket to the supervisor")
    parser.add_argument("modules", nargs="+", help="what to import before")
    arguments = parser.parse_args()
    os.set_inheritable(arguments.control, False)
    os.chdir("/")
    mark = _mark_in_memory()
    _set_title()
    for module in arguments.modules:
        importlib.import_module(module)
    resolver = _resolver()
    files = _files()
    with socket.socket(fileno=arguments.control) as control:
        if why := _unfit(control.fileno()):
            raise SystemExit(f"a template may not fork: {why}")
        gc.collect()
        gc.freeze()
        control.sendall(READY)
        birth = _serve(control, files, mark)
    if birth is not None:
        _become(birth, resolver)


def _set_title() -> None:
    # Not only for its looks: a title that is set first in a child finds the kernel's place for it no more.
    from setproctitle import setproctitle

    setproctitle("kaos: template")


def _unfit(control: int) -> str:
    """Why a fork would copy more than memory; empty when it would not."""
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        return "the imports have started a thread"
    # The listing itself is one more; it is closed by the time one looks.
    opened = {int(each.name) for each in Path("/proc/self/fd").iterdir()} - {0, 1, 2, control}
    extra = [fd for fd in opened if Path(f"/proc/self/fd/{fd}").is_symlink()]
    return f"the imports have opened files: {extra}" if extra else ""


def _files() -> dict[bytes, tuple[int, int]]:
    """Everything that was imported from a file, as it was then."""
    names = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    # Copies that lie side by side: who touches the originals, all over the memory, has to copy it for each fork.
    copies = [os.fsencode(name) for name in names if name]
    return {name: stamp for name in copies if (stamp := _stamp(name)) is not None}


def _stamp(name: bytes) -> tuple[int, int] | None:
    try:
        stat = os.stat(name)  # noqa: PTH116  # a thousand of them for each pod
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _serve(control: socket.socket, files: Mapping[bytes, tuple[int, int]], mark: Callable[[str], None]) -> Birth | None:
    """Fork whenever told to. None in the template, at its end; in a child, what it is to be."""
    while True:
        data, handed, _, _ = socket.recv_fds(control, 1, 4)
        if data != FORK or len(handed) != 4:
            return None
        if any(_stamp(name) != stamp for name, stamp in files.items()):
            return None
        middle = os.fork()
        if middle == 0:
            if os.fork():
                os._exit(0)
            return _born(control, handed, mark)
        os.waitpid(middle, 0)
        for fd in handed:
            os.close(fd)


def _born(control: socket.socket, handed: list[int], mark: Callable[[str], None]) -> Birth:
    """In the child: own session, own files, and what it is to be, once the supervisor has written it down."""
    os.setsid()
    talk, *standard = handed
    for target, source in enumerate(standard):
        os.dup2(source, target)
    control.detach()
    for each in Path("/proc/self/fd").iterdir():
        if int(each.name) > 2 and int(each.name) != talk:
            with contextlib.suppress(OSError):
                os.close(int(each.name))
    with socket.socket(fileno=talk) as supervisor, supervisor.makefile("rb") as lines:
        line = lines.readline()
        if not line:
            os._exit(0)
        birth = Birth(**json.loads(line))
        mark(birth.env.get(MARK, ""))
        try:
            os.chdir(birth.cwd)
            answer: dict[str, Any] = {"pid": os.getpid()}
        except OSError as error:
            answer = {"error": str(error)}
        try:
            supervisor.sendall(json.dumps(answer).encode() + b"\n")
            if lines.read(1) != GO:
                os._exit(0)
        except OSError:
            os._exit(0)
    return birth


def _become(birth: Birth, resolver: types.ModuleType) -> None:
    """Be the pod's process as if it had been started by `python -m module`."""
    os.environ.clear()
    os.environ.update(birth.env)
    time.tzset()
    tempfile.tempdir = None
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # those that libc keeps for itself
            signal.signal(number, _DEFAULTS.get(number, signal.SIG_DFL))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    paths = [path for path in birth.env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [birth.cwd, *paths]
    sys.argv = [birth.module, *birth.arguments]
    sys.orig_argv = [sys.executable, "-m", birth.module, *birth.arguments]
    importlib.invalidate_caches()
    if SHIM in paths and birth.env.get("KAOS_HOSTS"):
        resolver.install(birth.env["KAOS_HOSTS"], tuple(birth.env.get("KAOS_SEARCH", "").split()))
    gc.enable()
    runpy.run_module(birth.module, run_name="__main__", alter_sys=True)


def _resolver() -> types.ModuleType:
    """The node's resolver of service names, which programs started by exec get as their sitecustomize."""
    spec = importlib.util.spec_from_file_location("kaos_resolver", Path(SHIM) / "sitecustomize.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mark_in_memory() -> Callable[[str], None]:
    """Rewrites this process's mark where the kernel reads it: what /proc shows of a fork is its template's."""
    variables = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    addresses = ctypes.cast(variables, ctypes.POINTER(ctypes.c_void_p))
    head = f"{MARK}=".encode()
    index = 0
    while (text := variables[index]) is not None and not text.startswith(head):
        index += 1
    address, room = addresses[index], 0 if text is None else len(text) - len(head)

    def rewrite(mark: str) -> None:
        value = mark.encode()
        if address is not None and value and len(value) <= room:
            ctypes.memmove(address + len(head), value.ljust(room, b"\0"), room)

    return rewrite


if __name__ == "__main__":
    main()
