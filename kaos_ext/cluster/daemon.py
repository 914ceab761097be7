"""The daemon of one cluster: `python -m kaos_ext.cluster.daemon --state DIR`.

The composition root: certificates → API server → controllers and node agent, in one event loop. It lives in a session
of its own, child of nobody, holds `daemon.lock` as long as it lives, and reports over `--report-fd` until it is ready.

    SIGTERM  end, and leave the pods to their supervisor: the next daemon adopts them
    SIGUSR1  take down: pods first, while the API still answers them, then the rest (`kaos down`)
    owner    an ephemeral cluster takes itself down, state and all, when the process it belongs to ends
    idle     a cluster with an idle time takes itself down, state kept, when nobody used it for that long
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import traceback
from asyncio import sslproto
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaos_ext import __version__
from kaos_ext.model.errors import KaosError

if TYPE_CHECKING:
    from kaos_ext.cluster.apiserver.server import ApiServer
    from kaos_ext.cluster.config import ClusterConfig
    from kaos_ext.cluster.controllers import Controllers

TLS_BYTES = 64 * 1024
_log = logging.getLogger("kaos_ext.cluster.daemon")

ORPHAN_SECONDS = 10.0
"""How long the pods of an ephemeral cluster live on without a daemon before their supervisor ends them."""


class End(StrEnum):
    """Why the daemon ends, and so what stays."""

    LEAVE = "leave the pods running"
    DOWN = "take everything down"
    OWNER = "the owner ended"
    IDLE = "nobody used the cluster"


class Report:
    """The pipe to whoever started us; silent once they are gone or we are ready."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def _send(self, **message: object) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            self._descriptor = None

    def step(self, text: str) -> None:
        _log.info("starting %s", text)
        self._send(step=text)

    def error(self, error: KaosError) -> None:
        self._send(error=str(error), hint=error.hint, pid=os.getpid())

    def ready(self) -> None:
        self._send(ready=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="kaos-daemon", description="Runs one embedded cluster.")
    parser.add_argument("--state", type=Path, required=True, help="the cluster's state folder")
    parser.add_argument("--report-fd", type=int, help="a pipe to report the start on")
    parser.add_argument("--lock-fd", type=int, help="the cluster's daemon.lock, already held")
    arguments = parser.parse_args()
    for handed_down in (arguments.report_fd, arguments.lock_fd):
        if handed_down is not None:
            os.set_inheritable(handed_down, False)
    # Before anything is imported or started: the parent ends, and we are nobody's child.
    if os.fork():
        os._exit(0)
    report = Report(arguments.report_fd)
    os.umask(0o077)
    gc.disable()  # a start is mostly the creation of modules and classes: collecting meanwhile finds nothing
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # Each connection has a buffer of that size for what comes in, touched as a whole: 256 KiB, if asyncio is let.
    sslproto.SSLProtocol.max_size = TLS_BYTES
    try:
        status = asyncio.run(_run(arguments.state.absolute(), report, arguments.lock_fd))
    except KaosError as error:
        _log.error("%s", error)
        report.error(error)
        status = 1
    except OSError as error:
        traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        report.error(KaosError(f"the daemon could not go on: {where}{error.strerror or error}"))
        status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.exit(status)


async def _run(root: Path, report: Report, lock: int | None) -> int:
    from setproctitle import setproctitle

    from kaos_ext.cluster.config import load_config
    from kaos_ext.cluster.daemon_lock import hold
    from kaos_ext.cluster.node.processes import birth

    config = load_config(root)
    if lock is None:
        hold(config)  # for as long as this process lives
    setproctitle(f"kaos: cluster {config.name} {root}")
    _write_pid(config, birth(os.getpid()) or "")
    try:
        end = await _serve(config, report)
    finally:
        config.pid_file.unlink(missing_ok=True)
    _log.info("ended: %s", end)
    if end is End.OWNER:
        shutil.rmtree(config.root, ignore_errors=True)
    return 0


def _write_pid(config: ClusterConfig, born: str) -> None:
    from kaos_ext.cluster.config import write_private

    write_private(config.pid_file, f"{os.getpid()} {born} {__version__}\n".encode())


async def _serve(config: ClusterConfig, report: Report) -> End:
    """Everything up; wait for a reason to end; everything down in the right order."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[End] = loop.create_future()

    def ask(reason: End) -> None:
        if not end.done():
            end.set_result(reason)

    for number, reason in ((signal.SIGTERM, End.LEAVE), (signal.SIGINT, End.LEAVE), (signal.SIGUSR1, End.DOWN)):
        loop.add_signal_handler(number, ask, reason)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)

    supervisor = _start_supervisor(config)
    report.step("certificates")
    from kaos_ext.cluster.kubeconfig import write_private_kubeconfig
    from kaos_ext.cluster.pki import ensure_pki

    pki = ensure_pki(config)
    write_private_kubeconfig(config)

    async with AsyncExitStack() as stack:
        report.step("the API server")
        import sqlite3

        from kaos_ext.cluster.compose import api_server, controllers, node_agent
        from kaos_ext.cluster.config import damaged
        from kaos_ext.store import DamagedError

        server = api_server(config, pki)
        try:
            await server.start()
        except (DamagedError, sqlite3.DatabaseError) as error:
            raise damaged(config, str(error)) from error
        except OSError as error:
            raise KaosError(f"the API server cannot listen on 127.0.0.1:{config.port}: {error.strerror}") from error
        stack.push_async_callback(server.stop)

        report.step("controllers and node")
        running = await controllers(server, config, pki)
        stack.push_async_callback(running.stop)
        node = node_agent(server, config, pki)
        await asyncio.to_thread(supervisor.wait)
        await node.start()
        if config.ephemeral:
            # Should we be killed, the supervisor ends the pods: even then nothing of an ephemeral cluster stays.
            await node.supervisor.end_when_alone(ORPHAN_SECONDS)
        report.ready()
        gc.freeze()
        gc.enable()

        watchers = [asyncio.create_task(running.failed(), name="controllers")]
        if config.ephemeral and config.owner_pid is not None:
            watchers.append(asyncio.create_task(_owner(config, ask), name="owner"))
        if config.idle_seconds is not None:
            watchers.append(asyncio.create_task(_idle(server, running, config.idle_seconds, ask), name="idle"))
        try:
            waited: set[asyncio.Future[Any]] = {end, *watchers}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for watcher in watchers:
                if watcher.done():
                    watcher.result()
            reason = await end
        finally:
            for watcher in watchers:
                watcher.cancel()
            await node.stop()
        if reason is not End.LEAVE:
            from kaos_ext.cluster.node.supervisor_client import stop_node

            await stop_node(config.node)
    return reason


def _start_supervisor(config: ClusterConfig) -> subprocess.Popen[bytes]:
    """Have the node's supervisor come up while we import and open the rest; where one lives, nothing happens.

    How it fares is the node agent's business, which connects to it, or starts one and says what is wrong.
    """
    config.node.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "kaos_ext.cluster.node.supervisor", "--root", str(config.node)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


async def _owner(config: ClusterConfig, ask: Callable[[End], None]) -> None:
    from kaos_ext.cluster.owner import ended

    assert config.owner_pid is not None
    await ended(config.owner_pid, config.owner_birth)
    ask(End.OWNER)
    await asyncio.Event().wait()


async def _idle(server: ApiServer, running: Controllers, seconds: float, ask: Callable[[End], None]) -> None:
    from kaos_ext.cluster.idle import Use, unused

    def use() -> Use:
        return Use(server.http.open_requests, server.http.last_request, list(running.pods))

    await unused(use, seconds)
    ask(End.IDLE)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
