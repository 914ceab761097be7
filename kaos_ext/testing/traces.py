"""What a run leaves behind: processes that know its folder, ports they listened on, threads of ours, files.

Everything a run writes lies in its own folder, which is deleted; what is in the working folder or the temporary folder
when the notebook has ended is what the notebook left.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil

from kaos_ext.testing.findings import Finding, Verdict
from kaos_ext.testing.kernels import Place
from kaos_ext.testing.leftovers import wait_until_none

SECONDS = 4.0
CHILD_SECONDS = 0.5
THREAD_SECONDS = 1.0
_HELPERS = re.compile(r"multiprocessing\.(?:resource_tracker|forkserver)")
"""Helpers of Python's own that end with the kernel."""
QUIET_NAMES = frozenset({".ipynb_checkpoints", "__pycache__"})


def files(place: Place) -> frozenset[Path]:
    """What there is before the run."""
    return frozenset(_files(place))


def files_left(place: Place, was: frozenset[Path]) -> list[Finding]:
    """Files that the notebook made beside itself or in the temporary folder; asked while its folder is still there."""
    new = sorted(path for path in _files(place) if path not in was)
    return [Finding(Verdict.LEFTOVERS, f"a file is left: {path.relative_to(place.root)}") for path in new]


def children_left(kernel: int) -> list[Finding]:
    """Processes that the notebook started and did not end; asked while its kernel, which may take them along, lives."""
    try:
        children = psutil.Process(kernel).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    _, alive = psutil.wait_procs(children, timeout=CHILD_SECONDS)
    found = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            command = " ".join(process.cmdline())[:120]
            if process.status() != psutil.STATUS_ZOMBIE and not _HELPERS.search(command):
                found.append(_process(process.pid, command))
    return found


def processes_left(place: Place, seconds: float = SECONDS) -> list[Finding]:
    """Processes that still know this run's folder when kernel and cluster have ended, and the ports they listen on."""
    lines = (line.partition(" ") for line in wait_until_none(place.root, seconds))
    return [_process(int(pid), command) for pid, _, command in lines]


def _process(pid: int, command: str) -> Finding:
    ports = _ports(pid)
    listens = f", listening on {', '.join(map(str, ports))}" if ports else ""
    return Finding(Verdict.LEFTOVERS, f"a process is left: {command} (pid {pid}{listens})")


def threads_left(ours: Iterable[threading.Thread]) -> list[Finding]:
    """Threads of this run that have not ended with it."""
    for thread in ours:
        thread.join(THREAD_SECONDS)
    return [Finding(Verdict.LEFTOVERS, f"a thread is left: {thread.name}") for thread in ours if thread.is_alive()]


def stop(place: Place) -> None:
    """End what is left, so that one red run does not trouble the next."""
    for line in wait_until_none(place.root, 0):
        try:
            psutil.Process(int(line.partition(" ")[0])).kill()
        except psutil.NoSuchProcess:
            continue


def _ports(pid: int) -> list[int]:
    try:
        connections = psutil.Process(pid).net_connections(kind="inet")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return sorted({c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN})


def _files(place: Place) -> list[Path]:
    return [
        path
        for folder in (place.cwd, place.tmp)
        for path in folder.rglob("*")
        if path.is_file() and not QUIET_NAMES & set(path.parts)
    ]
