"""The forwarder: makes Service addresses real, TCP from clusterIP:port to a ready endpoint.

    python -I -S forwarder.py TABLE

A process of its own under the supervisor, so calls in flight survive the daemon. TABLE is JSON (`services.py`),
replaced atomically and read again on SIGHUP: listeners come and go, connections that stand are left alone. Bytes go
through as they come (events stream), the end of one direction is passed on alone, and a caller is refused when nobody
serves. Its stdin is held by the supervisor; when that ends, so does this. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import cast

_CONNECT_SECONDS = 5.0


def ready_file(table: Path) -> Path:
    """Holds the forwarder's pid once it understands SIGHUP; a table written earlier is read anyway."""
    return table.with_name("forwarder.ready")


class _Side(asyncio.Protocol):
    """One of two joined connections: what comes in here goes out there."""

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def join(self, other: _Side) -> None:
        self.other, other.other = other, self
        if other.transport is not None and not other.transport.is_closing():
            for data in self._early:
                other.transport.write(data)
            if self.ended:
                self._pass_end()
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        self._pass_end()
        return True

    def _pass_end(self) -> None:
        """Pass on the end of one direction; after the second, close."""
        if self.other is None or self.other.transport is None or self.other.transport.is_closing():
            return
        if self.other.ended and self.transport is not None:
            self.other.transport.close()
            self.transport.close()
        else:
            self.other.transport.write_eof()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            if error is None:
                self.other.transport.close()
            else:
                self.other.transport.abort()


class _Caller(_Side):
    """The accepted side; finds a backend that answers."""

    def __init__(self, forwarder: Forwarder, address: str) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._address = address
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).pause_reading()
        self._task = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        for target in self._forwarder.targets(self._address):
            host, _, port = target.rpartition(":")
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, backend = await asyncio.get_running_loop().create_connection(_Side, host, int(port))
            except OSError:  # a TimeoutError is one
                continue
            if self.transport.is_closing():
                if backend.transport is not None:
                    backend.transport.abort()
                return
            self.join(backend)
            backend.join(self)
            self.transport.resume_reading()
            return
        self.transport.abort()


class Forwarder:
    def __init__(self, table: Path) -> None:
        self._table = table
        self._targets: dict[str, list[str]] = {}
        self._turn = 0
        self._servers: dict[str, asyncio.Server] = {}
        self._refused: set[str] = set()

    def targets(self, address: str) -> list[str]:
        """All ready endpoints, beginning with the one whose turn it is."""
        known = self._targets.get(address) or []
        self._turn += 1
        turn = self._turn % len(known) if known else 0
        return known[turn:] + known[:turn]

    async def load(self) -> None:
        try:
            self._targets = json.loads(self._table.read_text())["forward"]
        except FileNotFoundError:
            self._targets = {}
        for address in self._servers.keys() - self._targets.keys():
            self._servers.pop(address).close()
        for address in self._targets.keys() - self._servers.keys():
            await self._listen(address)

    async def _listen(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._servers[address] = await asyncio.get_running_loop().create_server(
                lambda: _Caller(self, address), host, int(port), backlog=512, reuse_address=True
            )
        except OSError as error:
            if address not in self._refused:
                print(f"cannot listen on {address}: {error.strerror or error}", file=sys.stderr, flush=True)
            self._refused.add(address)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        changed, ended = asyncio.Event(), asyncio.Event()
        changed.set()
        loop.add_signal_handler(signal.SIGHUP, changed.set)
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        loop.add_reader(sys.stdin.fileno(), ended.set)
        ready_file(self._table).write_text(str(os.getpid()))
        end = asyncio.ensure_future(ended.wait())
        while not ended.is_set():
            wake = asyncio.ensure_future(changed.wait())
            await asyncio.wait({wake, end}, return_when=asyncio.FIRST_COMPLETED)
            wake.cancel()
            if changed.is_set():
                changed.clear()
                await self.load()


def main() -> None:
    asyncio.run(Forwarder(Path(sys.argv[1])).run())


if __name__ == "__main__":
    main()
