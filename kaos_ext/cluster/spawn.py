"""Start a cluster's daemon and hear from it, over a pipe, until it is ready or says why it cannot be."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.daemon_lock import hold
from kaos_ext.cluster.owner import ended
from kaos_ext.model.errors import KaosError

Progress = Callable[[str], None]
"""Told in a few words what is being waited for."""

START_SECONDS = 60.0
_LOG_LIMIT = 5_000_000
_KEPT = {"KAOS_HOME", "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH"}
_KEPT_PREFIXES = ("LC_", "PYTHON", "SSL_CERT_", "XDG_")


async def start_daemon(config: ClusterConfig, on_progress: Progress) -> None:
    """Returns when the daemon says that it is ready."""
    on_progress("its daemon")
    reading = await asyncio.to_thread(_spawn, config)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            while line := await reader.readline():
                message = json.loads(line)
                if "step" in message:
                    on_progress(message["step"])
                elif "error" in message:
                    await ended(message["pid"], None)  # so that a failed start leaves nothing behind
                    raise KaosError(message["error"], hint=message["hint"] or f"see {config.log_file}")
                elif message.get("ready"):
                    return
    except TimeoutError:
        raise KaosError(
            f"cluster {config.name!r} did not start within {START_SECONDS:g} s", hint=f"see {config.log_file}"
        ) from None
    finally:
        transport.close()
    raise KaosError(
        f"the daemon of cluster {config.name!r} ended while it started",
        hint=f"see {config.log_file}",
        details=tuple(tail(config.log_file)),
    )


def _spawn(config: ClusterConfig) -> int:
    """The reading end of the daemon's report.

    The daemon's lock is taken here and handed down, so that there is no moment in which a daemon comes up unseen, even
    when whoever started it is interrupted.
    """
    lock = hold(config)
    try:
        return _launch(config, lock)
    finally:
        os.close(lock)


def _launch(config: ClusterConfig, lock: int) -> int:
    config.pid_file.unlink(missing_ok=True)
    if config.log_file.exists() and config.log_file.stat().st_size > _LOG_LIMIT:
        config.log_file.replace(config.log_file.with_suffix(".log.1"))
    reading, writing = os.pipe()
    log = os.open(config.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    command = [sys.executable, "-P", "-m", "kaos_ext.cluster.daemon", "--state", str(config.root)]
    try:
        process = subprocess.Popen(
            [*command, "--report-fd", str(writing), "--lock-fd", str(lock)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=config.root,
            env=_environment(),
            pass_fds=(writing, lock),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        os.close(log)
    # The command ends as soon as the daemon proper is a process of its own: nobody's child, nobody's zombie.
    process.wait()
    return reading


def _environment() -> dict[str, str]:
    """What the daemon inherits: where things are, and no keys, tokens or notebook settings."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}


def tail(path: Path, lines: int = 5) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
