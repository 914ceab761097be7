"""Start, stop and look at clusters: what `kaos up`, `down` and `status` do.

    start   under the cluster's lock: connect to the daemon that runs, or start one and wait until it answers /readyz
    stop    ask the daemon to take everything down (end it, when it does not), then end what the node still holds
    status  from the state folder and from what answers

A daemon is known by pid *and* birth, so a stale pid file, or one whose pid is another process's now, is only a file.
One lock per cluster lets any number of `up` and `down` run at once: the second finds what the first has done.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from kaos_ext.cluster.config import (
    DEFAULT_NAME,
    ClusterConfig,
    check_place,
    cluster_root,
    kaos_home,
    known_configs,
    load_config,
    private_folder,
    write_private,
)
from kaos_ext.cluster.daemon_lock import is_held
from kaos_ext.cluster.network import choose_octet, choose_port, is_claimed, port_is_free
from kaos_ext.cluster.node.processes import birth
from kaos_ext.cluster.node.supervisor_client import SupervisorClient, stop_node
from kaos_ext.cluster.owner import ended, lives, read_pid_file, version_of
from kaos_ext.cluster.probe import is_ready
from kaos_ext.cluster.spawn import START_SECONDS, Progress, start_daemon, tail
from kaos_ext.model.errors import KaosError, NotFoundError, UnreachableError

STOP_SECONDS = 20.0
RELEASE_SECONDS = 1.0
_POLL = 0.02


class ClusterState(StrEnum):
    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    CRASHED = "crashed"
    """The daemon is gone, pods still run; `kaos up` adopts them."""


@dataclass(frozen=True, slots=True)
class ClusterHandle:
    """A cluster that answers; `started` tells whether this call started it."""

    config: ClusterConfig
    started: bool
    version: str = ""
    """Of the package that its daemon runs."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    config: ClusterConfig
    state: ClusterState
    pid: int | None = None
    processes: int = 0
    """Running processes of the node: pods' containers and the forwarder."""
    version: str = ""
    """Of the package that its daemon runs."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "state": str(self.state),
            "context": self.config.context,
            "server": self.config.server,
            "pid": self.pid,
            "version": self.version or None,
            "processes": self.processes,
            "ephemeral": self.config.ephemeral,
            "state_folder": str(self.config.root),
        }


async def start_cluster(
    name: str = DEFAULT_NAME,
    *,
    images: Mapping[str, Any] | None = None,
    ephemeral: bool = False,
    owner_pid: int | None = None,
    idle_seconds: float | None = None,
    on_progress: Progress = lambda step: None,
) -> ClusterHandle:
    """Create the cluster, restart it or connect to it; returns when its API server is ready.

    An ephemeral cluster ends, state and all, when the process `owner_pid` (this one by default) does; one that has a
    state to keep never becomes ephemeral.
    """
    root = cluster_root(name)
    check_place(root)
    await sweep_ephemeral(except_for=name)
    async with locked(name, on_progress):
        async with _choosing():
            config = await asyncio.to_thread(_load_or_create, root, name, on_progress)
        await _seen(config)
        if ephemeral and not config.ephemeral and (config.database.exists() or _daemon(config) is not None):
            raise KaosError(
                f"cluster {name!r} keeps its state, so it cannot be made to end with a program",
                hint="an ephemeral cluster needs a name that is not in use, or none",
            )
        if _daemon(config) is not None:
            if images is not None:
                _write_images(config, images)
            if await _wait_ready(config, on_progress):
                return ClusterHandle(config, started=False, version=version_of(config.pid_file))
            on_progress("a new daemon, because the one that ran has just ended")
        owner = (owner_pid or os.getpid()) if ephemeral else None
        async with _choosing():
            config = await _with_network(await _with_port(config, on_progress))
            config = config.with_run_options(
                ephemeral=ephemeral,
                idle_seconds=idle_seconds,
                owner_pid=owner,
                owner_birth=birth(owner) if owner else None,
            )
            config.save()
        if images is not None:
            _write_images(config, images)
        await _start(config, on_progress)
        if not await _wait_ready(config, on_progress):
            raise KaosError(
                f"the daemon of cluster {config.name!r} ended",
                hint=f"`kaos up` starts it again; see {config.log_file}",
                details=tuple(tail(config.log_file)),
            )
        return ClusterHandle(config, started=True, version=version_of(config.pid_file))


async def stop_cluster(
    name: str = DEFAULT_NAME, *, delete_state: bool = False, on_progress: Progress = lambda step: None
) -> bool:
    """End every process of the cluster; False when none ran. The state stays unless it is to be deleted."""
    root = cluster_root(name)
    async with locked(name, on_progress):
        try:
            config = load_config(root)
        except FileNotFoundError:
            raise _no_cluster(name) from None
        except KaosError:
            if not delete_state:
                raise
            config = ClusterConfig(root=root, name=name, port=0, octet=0)  # its paths are all that is needed now
        await _seen(config)
        ran = await _stop(config, on_progress)
        if delete_state:
            on_progress("its state to be deleted")
            await asyncio.to_thread(shutil.rmtree, root)
        return ran


async def cluster_status(name: str = DEFAULT_NAME) -> ClusterStatus:
    try:
        config = load_config(cluster_root(name))
    except FileNotFoundError:
        raise _no_cluster(name) from None
    pid = _daemon(config)
    processes = await _node_processes(config)
    if pid is not None:
        ready = await is_ready(config)
        state = ClusterState.RUNNING if ready else ClusterState.STARTING
        return ClusterStatus(config, state, pid, processes or 0, version_of(config.pid_file))
    state = ClusterState.STOPPED if processes is None else ClusterState.CRASHED
    return ClusterStatus(config, state, None, processes or 0)


async def list_clusters() -> list[ClusterStatus]:
    """All clusters of this home that have a state folder, by name."""
    return [await cluster_status(config.name) for config in known_configs()]


async def sweep_ephemeral(except_for: str = "") -> None:
    """Remove ephemeral clusters that outlived their owner (their daemon was killed before it could)."""
    for config in known_configs():
        if not config.ephemeral or config.name == except_for or config.owner_pid is None:
            continue
        if lives(config.owner_pid, config.owner_birth) or _daemon(config) is not None:
            continue
        async with locked(config.name, lambda step: None):
            await _stop(config, lambda step: None)
            await asyncio.to_thread(shutil.rmtree, config.root, ignore_errors=True)


def _no_cluster(name: str) -> NotFoundError:
    names = ", ".join(config.name for config in known_configs())
    return NotFoundError(
        f"there is no cluster {name!r}", hint=f"clusters here: {names}" if names else "`kaos up` starts one"
    )


def _daemon(config: ClusterConfig) -> int | None:
    """The pid of the cluster's daemon when it lives."""
    known = read_pid_file(config.pid_file)
    return known[0] if known is not None and lives(*known) else None


async def _seen(config: ClusterConfig) -> None:
    """Wait for a daemon that was started a moment ago, by a command since interrupted, to say who it is, or to end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while _daemon(config) is None and config.root.exists() and is_held(config):
        if loop.time() > deadline:
            raise KaosError(
                f"a daemon of cluster {config.name!r} is being started for too long", hint=f"see {config.log_file}"
            )
        await asyncio.sleep(_POLL)


async def _node_processes(config: ClusterConfig) -> int | None:
    """How many processes the node's supervisor holds; None when there is no supervisor."""
    client = SupervisorClient(config.node)
    try:
        known = await client.connect(start=False)
    except (UnreachableError, OSError):
        return None
    await client.close()
    return sum(record.running for record in known)


@contextlib.asynccontextmanager
async def locked(name: str, on_progress: Progress) -> AsyncIterator[None]:
    """Hold the cluster's lock, across processes; it lies outside the state folder, which may come and go."""
    late = KaosError(
        f"cluster {name!r} is being started or stopped by another command for too long",
        hint="end that command, then try again",
    )
    async with _held(f"{name}.lock", late, lambda: on_progress("another command that starts or stops this cluster")):
        yield


@contextlib.asynccontextmanager
async def _choosing() -> AsyncIterator[None]:
    """What a cluster takes as its addresses is on disk before another one looks for its own."""
    late = KaosError(
        "another command chooses a new cluster's addresses for too long", hint="end that command, then try again"
    )
    async with _held(".addresses.lock", late, lambda: None):  # No cluster's name begins with a dot.
        yield


@contextlib.asynccontextmanager
async def _held(file: str, late: KaosError, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    folder = private_folder(kaos_home() / "locks")
    descriptor = os.open(folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        deadline = asyncio.get_running_loop().time() + START_SECONDS + STOP_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    on_wait()
                    told = True
                if asyncio.get_running_loop().time() > deadline:
                    raise late from None
                await asyncio.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def _load_or_create(root: Path, name: str, on_progress: Progress) -> ClusterConfig:
    try:
        return load_config(root)
    except FileNotFoundError:
        on_progress("a place for the new cluster")
    for folder in (kaos_home(), root.parent, root):
        private_folder(folder)
    others = known_configs()
    config = ClusterConfig(
        root=root,
        name=name,
        port=choose_port({other.port for other in others}),
        octet=choose_octet(root, {other.octet for other in others}),
    )
    try:
        config.save()
    except KaosError:
        with contextlib.suppress(OSError):
            root.rmdir()  # so that a start that failed leaves no half of a cluster
        raise
    return config


async def _soon(condition: Callable[[], bool]) -> bool:
    """Whether it holds, now or in a moment: what a killed process had is free only when the kernel is done with it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RELEASE_SECONDS
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL)
    return True


async def _with_port(config: ClusterConfig, on_progress: Progress) -> ClusterConfig:
    """The config with a port that nobody listens on: the one it has, unless another program took it."""
    if await _soon(lambda: port_is_free(config.port)):
        return config
    port = choose_port({other.port for other in known_configs()})
    on_progress(f"a new port, {port}, because another program listens on {config.port}")
    return replace(config, port=port)


async def _with_network(config: ClusterConfig) -> ClusterConfig:
    """The config with a network that is ours or free: a cluster that has objects cannot move to another."""
    if await _node_processes(config) is not None or await _soon(lambda: not is_claimed(config.octet)):
        return config
    if config.database.exists():
        raise KaosError(
            f"{config.network}, the network of cluster {config.name!r}, is used by another process",
            hint="end the cluster that uses it, or give this one's state up: `kaos down --delete`",
        )
    return replace(config, octet=choose_octet(config.root, {other.octet for other in known_configs()}))


def _write_images(config: ClusterConfig, images: Mapping[str, Any]) -> None:
    table = images if "images" in images else {"images": images}
    content = json.dumps(table, indent=1, sort_keys=True).encode() + b"\n"
    if not config.images.exists() or config.images.read_bytes() != content:
        write_private(config.images, content)


async def _start(config: ClusterConfig, on_progress: Progress) -> None:
    adopts = await _node_processes(config) is not None
    try:
        await start_daemon(config, on_progress)
    except KaosError:
        if not adopts:
            await stop_node(config.node)
        raise


async def _wait_ready(config: ClusterConfig, on_progress: Progress) -> bool:
    """Wait until the API server is ready; False when its daemon ends meanwhile."""
    told = False
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while not await is_ready(config):
        if _daemon(config) is None:
            return False
        if asyncio.get_running_loop().time() > deadline:
            raise UnreachableError(
                f"{config.server} does not answer", hint=f"`kaos down`, then `kaos up`; see {config.log_file}"
            )
        if not told:
            on_progress("the API server")
            told = True
        await asyncio.sleep(_POLL)
    return True


async def _stop(config: ClusterConfig, on_progress: Progress) -> bool:
    known = read_pid_file(config.pid_file)
    ran = known is not None and lives(*known)
    if known is not None and ran:
        pid, born = known
        on_progress("the daemon and its pods to end")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await ended(pid, born)
        except TimeoutError:
            on_progress("the daemon, which does not end by itself, to be killed")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await ended(pid, born)
    # However the daemon ended: nothing of the node may stay.
    ran = await stop_node(config.node) or ran
    config.pid_file.unlink(missing_ok=True)
    return ran
