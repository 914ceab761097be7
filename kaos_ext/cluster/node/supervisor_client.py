"""The node's side of the supervisor's socket: start it where it is missing, ask it, hear of exits, come back to it.

When the connection breaks the client starts a new supervisor (which ends what the crashed one left), learns from it
how every process fared meanwhile, and resolves whoever waits for an exit. A call that was in flight is asked again:
every operation may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from kaos_ext.cluster.node.processes import Records, end_what_was_left, lock
from kaos_ext.cluster.node.protocol import (
    CLAIM_PORT,
    LOG_FILE,
    LOST_EXIT,
    SOCKET,
    VERSION,
    Lines,
    ProcessRecord,
    ProcessSpec,
    encode,
    rfc3339,
)
from kaos_ext.model.errors import KaosError, UnreachableError

_LIMIT = 100


class StartError(KaosError):
    """The supervisor could not start a process, or refused."""


@contextlib.contextmanager
def _socket_path(root: Path) -> Iterator[str]:
    """A path of the socket short enough for the kernel."""
    path = root / SOCKET
    if len(os.fsencode(path)) < _LIMIT:
        yield str(path)
        return
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)


async def _open(root: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with _socket_path(root) as path:
        return await asyncio.open_unix_connection(path)


def _spawn(root: Path) -> None:
    """Start a supervisor unless one lives; when the command has ended, one listens."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "kaos_ext.cluster.node.supervisor", "--root", str(root)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )
    if ended.returncode:
        last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UnreachableError(f"the supervisor did not start: {''.join(last)}", hint=f"see {root / LOG_FILE}")


class SupervisorClient:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.pid = 0
        self._version = VERSION
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._exits: dict[str, asyncio.Future[ProcessRecord]] = {}
        self._starting: set[str] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._spawning: asyncio.Future[None] | None = None
        self._closing = False

    async def connect(self, *, start: bool = True) -> list[ProcessRecord]:
        """Connect, starting a supervisor when allowed; returns the processes it knows."""
        try:
            return await self._join()
        except OSError:
            if not start:
                raise UnreachableError("no supervisor is running", hint="the node has no processes") from None
        # A predecessor that is just ending may hold the lock, or answer, a moment longer: ask until one is ours.
        async with asyncio.timeout(15):
            while True:
                self._spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, self.root))
                await asyncio.shield(self._spawning)
                try:
                    return await self._join()
                except OSError:
                    await asyncio.sleep(0.02)

    async def _join(self) -> list[ProcessRecord]:
        reader, self._writer = await _open(self.root)
        self._reader = asyncio.create_task(self._listen(reader), name="supervisor connection")
        answer = await self._ask("hello", {})
        self.pid, self._version = answer["pid"], answer["version"]
        known = [ProcessRecord.from_json(record) for record in answer["processes"]]
        self._settle(known)
        self._connected.set()
        return known

    async def close(self) -> None:
        """Leave; processes go on."""
        self._closing = True
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._spawning is not None:
            # A supervisor that is just starting must be there when we have left: whoever stops the node finds it.
            await asyncio.gather(self._spawning, return_exceptions=True)
        self._hang_up()

    def _hang_up(self) -> None:
        self._connected.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for call in self._calls.values():
            if not call.done():
                call.set_exception(ConnectionResetError("the supervisor went away"))
        self._calls.clear()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        lines = Lines()
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                for message in lines.feed(data):
                    self._hear(message)
        established = self._connected.is_set()
        self._hang_up()
        if established and not self._closing:
            self._reader = asyncio.create_task(self._return(), name="supervisor reconnection")

    async def _return(self) -> None:
        while not self._closing:
            try:
                await self.connect()
                return
            except (OSError, KaosError, TimeoutError):
                self._hang_up()
                await asyncio.sleep(0.2)

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("event") == "exited":
            self._settle_one(ProcessRecord.from_json(message["process"]))
            return
        if message.get("event") == "stopping":
            self._closing = True
            return
        call = self._calls.pop(message["id"], None)
        if call is not None and not call.done():
            if "error" in message:
                call.set_exception(StartError(message["error"]))
            else:
                call.set_result(message["ok"])

    def _settle(self, known: list[ProcessRecord]) -> None:
        """Bring what is awaited in line with what a supervisor knows."""
        loop = asyncio.get_running_loop()
        for record in known:
            self._exits.setdefault(record.id, loop.create_future())
        by_id = {record.id: record for record in known}
        for process_id in list(self._exits):
            record = by_id.get(process_id) or ProcessRecord(
                process_id, 0, "", "", {}, finished_at=rfc3339(), exit_code=LOST_EXIT, reason="ContainerStatusUnknown"
            )
            if not record.running and process_id not in self._starting:
                self._settle_one(record)

    def _settle_one(self, record: ProcessRecord) -> None:
        # Also for a process nobody asked about yet: its end may be told before the answer to "hello" was read.
        waiting = self._exits.setdefault(record.id, asyncio.get_running_loop().create_future())
        if not waiting.done():
            waiting.set_result(record)

    async def _ask(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._writer is None:
            raise ConnectionResetError("the supervisor went away")
        request = next(self._ids)
        call: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._calls[request] = call
        self._writer.write(encode({"id": request, "op": operation, **arguments}))
        return await call

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask, across a supervisor's crash if need be."""
        while True:
            if self._closing:
                raise ConnectionResetError("the supervisor is stopping")
            await self._connected.wait()
            try:
                return await self._ask(operation, arguments)
            except ConnectionResetError:
                if self._closing:
                    raise

    async def start(self, spec: ProcessSpec) -> ProcessRecord:
        """Start a process; its exit can be awaited from now on. Starting the same id again is the same process."""
        self._exits.setdefault(spec.id, asyncio.get_running_loop().create_future())
        self._starting.add(spec.id)
        try:
            answer = await self.call("start", process=self._told(spec))
        except BaseException:
            self._exits.pop(spec.id, None)
            raise
        finally:
            self._starting.discard(spec.id)
        record = ProcessRecord.from_json(answer["process"])
        if not record.running:
            self._settle_one(record)
        return record

    def _told(self, spec: ProcessSpec) -> dict[str, Any]:
        """The spec as this supervisor understands it: it may be older than we are, and outlive its daemon's upgrade."""
        told = spec.to_json()
        if self._version < 2:
            del told["template"]
        return told

    async def warm(self, templates: list[tuple[str, ...]]) -> None:
        """Have these templates ready to fork from."""
        if self._version >= 2 and templates:
            await self.call("warm", templates=templates)

    async def exit_of(self, record: ProcessRecord) -> ProcessRecord:
        """Wait for the end of a process this client started or met when it connected."""
        if not record.running:
            return record
        return await asyncio.shield(self._exits[record.id])

    async def signal(self, process_id: str, number: signal.Signals) -> bool:
        return bool((await self.call("signal", process=process_id, signal=int(number)))["sent"])

    async def forget(self, process_id: str) -> None:
        """Drop the record of an ended process."""
        await self.call("forget", process=process_id)
        self._exits.pop(process_id, None)

    async def records(self) -> list[ProcessRecord]:
        """All processes the supervisor knows, running and ended."""
        return [ProcessRecord.from_json(record) for record in (await self.call("hello"))["processes"]]

    async def claim(self, host: str, port: int = CLAIM_PORT) -> bool:
        """Hold an address for as long as the supervisor lives; False when somebody else holds it."""
        return bool((await self.call("claim", host=host, port=port))["held"])

    async def end_when_alone(self, seconds: float | None) -> None:
        """Have everything stopped when no daemon is connected for that long (for clusters that die with an owner)."""
        await self.call("configure", orphan_seconds=seconds)

    async def stop_all(self, grace: float = 5.0) -> None:
        """End every process (SIGTERM, then SIGKILL after `grace`) and the supervisor itself."""
        self._closing = True
        with contextlib.suppress(ConnectionResetError):
            await self._ask("stop_all", {"grace": grace})
        await self.close()


@contextlib.asynccontextmanager
async def _visitor(root: Path) -> AsyncIterator[SupervisorClient | None]:
    client = SupervisorClient(root)
    try:
        await client.connect(start=False)
    except UnreachableError:
        yield None
        return
    try:
        yield client
    finally:
        await client.close()


async def stop_node(root: Path, grace: float = 5.0) -> bool:
    """End a node's supervisor and all its processes, also when the supervisor itself is dead; True if one lived.

    The caller is the command that takes a cluster down; no daemon need be there.
    """
    if not root.exists():  # noqa: ASYNC240
        return False
    lived = False
    async with _visitor(root) as client:
        if client is not None:
            lived = True
            await client.stop_all(grace)
    async with asyncio.timeout(grace + 10):
        # Another process holds it: the kernel has no event for its end that works everywhere.
        while (held := lock(root)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    try:
        await asyncio.to_thread(end_what_was_left, Records(root))
    finally:
        os.close(held)
    return lived
