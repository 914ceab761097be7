"""The supervisor's side of templates: started once, kept warm, asked for a fork; exec is what remains without one.

    cold → starting → warm → (ended: cold)        one that keeps ending soon is tried again later and later

A start that meets a starting template waits for it, `PATIENCE` at most: many pods at once (a node that comes back)
must not become many interpreters. Standard library only.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kaos_ext.cluster.node.processes import MARK, kill, roomy_mark
from kaos_ext.cluster.node.protocol import FORK, GO, READY, SHIM, Birth, ProcessSpec
from kaos_ext.cluster.node.spawning import Pipes

AVAILABLE = sys.platform.startswith("linux")
PATIENCE = 5.0
"""Seconds that a start waits for a template that is just starting."""
_FORK_SECONDS = 5.0
_SHORT_LIFE = 10.0
_KEEP_ENVIRONMENT = "SPT_NOENV"
"""Has setproctitle leave the place of the environment alone, where the mark of a process stands."""
_NODES_OWN = {"PYTHONPATH", "PYTHONUNBUFFERED"}
_EARLY = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANGUAGE", "OPENSSL_", "SSLKEYLOGFILE", "PYDANTIC_"),
    *("AIOHTTP_", "FROZENLIST_", "MULTIDICT_", "PROPCACHE_", "YARL_", "OTEL_PROPAGATORS", "OTEL_PYTHON_"),
)
"""Prefixes of variables that a process reads before its program begins, or when a module is imported."""


class NoFork(Exception):
    """The template did not fork: it has ended, or does not answer."""


def fits(spec: ProcessSpec) -> bool:
    """Whether a fork would be what exec would be: `python -m module`, and no variable that came too late."""
    if not AVAILABLE or not spec.template or len(spec.argv) < 3:
        return False
    if spec.argv[0] != sys.executable or spec.argv[1] != "-m" or spec.env.get("LANG") != "C.UTF-8":
        return False
    if spec.env.get("PYTHONPATH", SHIM) != SHIM or spec.env.get("PYTHONUNBUFFERED") != "1":
        return False
    return not any(name.startswith(_EARLY) and name not in _NODES_OWN for name in spec.env)


@dataclass(frozen=True, slots=True)
class Unborn:
    """A forked process that does nothing yet."""

    pid: int
    _talk: socket.socket

    def let_go(self) -> None:
        with self._talk:
            try:
                self._talk.sendall(GO)
            except OSError:
                return  # it has been killed meanwhile: that is its exit

    def give_up(self) -> None:
        self._talk.close()


@dataclass(eq=False)
class _Template:
    modules: tuple[str, ...]
    pid: int = 0
    control: socket.socket | None = None
    warm: bool = False
    born_at: float = 0.0
    failures: int = 0
    """Lives in a row that were short."""
    retry_at: float = 0.0
    waiting: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """Starts that wait until it is warm, each with the time at which it waits no longer."""


class Templates:
    def __init__(self, root: Path, selector: selectors.BaseSelector) -> None:
        self._root = root
        self._selector = selector
        self._all: dict[tuple[str, ...], _Template] = {}
        self._closed = False

    @property
    def pids(self) -> set[int]:
        return {each.pid for each in self._all.values() if each.pid}

    def want(self, modules: Iterable[str]) -> None:
        """Have a template with these modules, from now on."""
        if AVAILABLE and not self._closed:
            key = tuple(modules)
            template = self._all.setdefault(key, _Template(key))
            if not template.pid and time.monotonic() >= template.retry_at:
                self._start(template)

    def starting(self, modules: Iterable[str]) -> bool:
        template = self._all.get(tuple(modules))
        return template is not None and template.pid != 0 and not template.warm

    def when_decided(self, modules: Iterable[str], then: Callable[[], None]) -> None:
        """Call back when that template is warm, has ended, or has taken too long."""
        self._all[tuple(modules)].waiting.append((time.monotonic() + PATIENCE, then))

    def patience(self) -> float | None:
        """Seconds until somebody has waited long enough."""
        until = [at for each in self._all.values() for at, _ in each.waiting]
        return max(0.0, min(until) - time.monotonic()) if until else None

    def check_patience(self) -> None:
        now = time.monotonic()
        for template in self._all.values():
            over = [then for at, then in template.waiting if at <= now]
            template.waiting = [(at, then) for at, then in template.waiting if at > now]
            for then in over:
                then()

    def _start(self, template: _Template) -> None:
        ours, theirs = socket.socketpair()
        env = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", _KEEP_ENVIRONMENT: "1"}
        env["HOME"] = str(self._root)  # as no pod's home is the user's: packages installed there are not seen
        command = [sys.executable, "-P", "-m", "kaos_ext.cluster.node.template", "--control", str(theirs.fileno())]
        try:
            process = subprocess.Popen(
                [*command, *template.modules],
                env=env | {MARK: roomy_mark(self._root)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        except OSError as error:
            print(f"template {' '.join(template.modules)}: {error}", file=sys.stderr, flush=True)
            ours.close()
            self._failed(template)
            return
        finally:
            theirs.close()
        process.returncode = 0  # the supervisor reaps it
        template.pid, template.control, template.warm = process.pid, ours, False
        template.born_at = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(template))

    def _hear(self, template: _Template) -> None:
        if template.control is None:
            return  # hung up by an earlier event of the same moment
        try:
            said = template.control.recv(16)
        except OSError:
            said = b""
        if said == READY:
            template.warm = True
            self._decided(template)
        else:
            self._hang_up(template)

    def _hang_up(self, template: _Template) -> None:
        """It says no more: it has ended, or is to end. Its pid is known until it is reaped."""
        if template.control is not None:
            self._selector.unregister(template.control)
            template.control.close()
            template.control, template.warm = None, False
            if template.pid:
                kill(template.pid)

    def reaped(self, pid: int) -> bool:
        """Told of a child's end; whether it was a template."""
        template = next((each for each in self._all.values() if each.pid == pid), None)
        if template is None:
            return False
        template.pid = 0  # by now it may be anybody's
        self._hang_up(template)
        self._failed(template)
        if template.failures <= 1:
            self.want(template.modules)
        if not template.pid:
            self._decided(template)
        return True

    def _failed(self, template: _Template) -> None:
        """Note the end of a life: after a long one the next begins at once, after short ones later and later."""
        now = time.monotonic()
        template.failures = 1 if now - template.born_at > _SHORT_LIFE else template.failures + 1
        template.retry_at = now if template.failures <= 1 else now + min(60.0, 2.0**template.failures)

    def _decided(self, template: _Template) -> None:
        waiting, template.waiting = template.waiting, []
        for _, then in waiting:
            then()

    def fork(self, spec: ProcessSpec, env: Mapping[str, str], pipes: Pipes) -> Unborn:
        """A child of the supervisor that waits to be let go. NoFork: exec it; OSError: it cannot be started."""
        template = self._all.get(spec.template)
        if template is None or template.control is None or not template.warm:
            raise NoFork
        ours, theirs = socket.socketpair()
        try:
            ours.settimeout(_FORK_SECONDS)
            handed = [theirs.fileno(), pipes.stdin, pipes.stdout, pipes.stderr]
            with theirs:
                socket.send_fds(template.control, [FORK], handed)
            birth = Birth(spec.argv[2], spec.argv[3:], dict(env), spec.cwd)
            ours.sendall(json.dumps(asdict(birth)).encode() + b"\n")
            with ours.makefile("rb") as lines:
                line = lines.readline()
            if not line:
                raise NoFork
            answer = json.loads(line)
        except (OSError, NoFork, ValueError) as error:
            # Whatever it was in the middle of ends by itself: nobody lets it go.
            ours.close()
            self._hang_up(template)
            raise NoFork from error
        if "error" in answer:
            ours.close()
            raise OSError(answer["error"])
        return Unborn(int(answer["pid"]), ours)

    def close(self) -> None:
        """End them all; nobody waits any more."""
        self._closed = True
        for template in self._all.values():
            self._hang_up(template)
            self._decided(template)
