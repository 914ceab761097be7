"""Processes told apart beyond pid reuse, and their records on disk.

A record is one small file per process, replaced atomically: written when the process has started, again when it has
ended. A process's birth is its kernel start time and the boot it belongs to. Every process carries a mark in its
environment (`KAOS_PROCESS=<root>:<id>`), so that what left its group, or was started in the instant before a crash, is
found as well. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kaos_ext.cluster.node.protocol import LOST_EXIT, PID_FILE, PROCESSES, ProcessRecord, rfc3339

MARK = "KAOS_PROCESS"
_LINUX = sys.platform.startswith("linux")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def birth(pid: int) -> str | None:
    """When a pid was born, or None when no process has it (a zombie has ended)."""
    if not _LINUX:
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else f"{_boot()}:{fields[19]}"


def mark(root: Path, process_id: str) -> str:
    return f"{root}:{process_id}"


def roomy_mark(root: Path) -> str:
    """The mark of a process that forks into others; the mark of each fits into its place."""
    return f"{root}:{'template'.ljust(40, '-')}"


def marked(root: Path, process_id: str = "") -> Iterator[int]:
    """Pids whose environment carries the mark of this root, or of one process of it."""
    if not _LINUX:
        return
    needle = f"{MARK}={root}:{process_id}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(item == needle if process_id else item.startswith(needle) for item in environment.split(b"\0")):
            yield int(entry.name)


def children() -> list[int]:
    """Pids whose parent is this process (orphans of pods come to the supervisor, which is their subreaper)."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Gone, or (macOS) only zombies are left in it.
        return


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def lock(root: Path) -> int | None:
    """The supervisor's lock, held until the process ends; None when another holds it."""
    descriptor = os.open(root / PID_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class Records:
    """The folder of process records."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / PROCESSES

    def write(self, record: ProcessRecord) -> None:
        path = self.folder / f"{record.id}.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record.to_json()))
        temporary.replace(path)

    def read(self) -> list[ProcessRecord]:
        records = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                records.append(ProcessRecord.from_json(json.loads(path.read_text())))
            except (ValueError, TypeError):
                # Torn by a power cut: what it named is found by its mark.
                path.unlink(missing_ok=True)
        return records

    def forget(self, process_id: str) -> None:
        (self.folder / f"{process_id}.json").unlink(missing_ok=True)


def end_what_was_left(records: Records, patience: float = 5.0) -> list[ProcessRecord]:
    """Kill what a dead supervisor left running and record its end; returns those records."""
    lost = [record for record in records.read() if record.running]
    alive: dict[int, str] = {}
    for record in lost:
        if birth(record.pid) == record.birth:
            signal_group(record.pid, signal.SIGKILL)
            alive[record.pid] = record.birth
    for pid in marked(records.root):
        born = birth(pid)
        kill(pid)
        if born:
            alive[pid] = born
    deadline = time.monotonic() + patience
    while alive and time.monotonic() < deadline:
        alive = {pid: born for pid, born in alive.items() if birth(pid) == born}
        if alive:
            time.sleep(0.005)
    ended = [
        replace(record, finished_at=rfc3339(), exit_code=LOST_EXIT, signal=9, reason="ContainerStatusUnknown")
        for record in lost
    ]
    for record in ended:
        records.write(record)
    return ended
