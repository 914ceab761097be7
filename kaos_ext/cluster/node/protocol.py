"""What node agent and supervisor say to each other: one JSON object a line over a unix socket.

    agent → supervisor   {"id": 7, "op": "start", …}
    supervisor → agent   {"id": 7, "ok": {…}}  or  {"id": 7, "error": "…"}
    supervisor → agent   {"event": "exited", "process": {…}}      to every connection, after it is on disk
    supervisor → agent   {"event": "stopping"}                    it was told to stop: do not start another

Standard library only: the supervisor imports this, and stays small.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SOCKET = "supervisor.sock"
PID_FILE = "supervisor.pid"
LOG_FILE = "supervisor.log"
PROCESSES = "processes"
VERSION = 2
"""2: processes may be forks of templates, and the node agent says which templates it wants."""
CLAIM_PORT = 7443

READY, FORK, GO = b"r", b"f", b"g"
"""What supervisor and template say: it is warm; fork; what has been forked may begin."""
SHIM = str(Path(__file__).parent / "shim")
"""The folder on the path of pods' Python that makes names of Services resolve."""

LOST_EXIT = 137
"""Exit code of a process whose end nobody could watch (its supervisor died, or the machine did)."""


def rfc3339(nanoseconds: int | None = None) -> str:
    """A moment as the API's MicroTime writes it."""
    moment = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, rest = divmod(moment, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to start: exactly this argv and environment, in a session of its own."""

    id: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    log: str
    labels: dict[str, str] = field(default_factory=dict)
    hold_stdin: bool = False
    """stdin is a pipe the supervisor holds open: its end tells the process that the supervisor is gone."""
    template: tuple[str, ...] = ()
    """Modules that a template has imported, which may fork instead of an exec of argv; empty: exec."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessSpec:
        return cls(**{**value, "template": tuple(value.get("template") or ())})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Birth:
    """What a fork of a template is to be."""

    module: str
    arguments: list[str]
    env: dict[str, str]
    cwd: str


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process as the disk knows it: who it is beyond doubt (pid and birth), and how it ended."""

    id: str
    pid: int
    birth: str
    started_at: str
    labels: dict[str, str]
    finished_at: str = ""
    exit_code: int | None = None
    signal: int = 0
    reason: str = ""

    @property
    def running(self) -> bool:
        return self.exit_code is None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ProcessRecord:
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Bytes in, whole JSON messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]
