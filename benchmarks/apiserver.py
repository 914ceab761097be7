"""Writes, reads and watches of the embedded API server, beside a real kube-apiserver with etcd in the same run.

    python benchmarks/apiserver.py                                              the embedded one alone
    realcluster run -- python benchmarks/apiserver.py --rival "$KUBECONFIG"     and the real one on the same machine

Everything is on: TLS, authentication, authorization, validation, managedFields, full sync. The load comes from this
process over bare connections, the same for both. Figures of a memory file system mean nothing: it is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import shutil
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import yaml

CMS = "/api/v1/namespaces/bench/configmaps"
SECONDS, ROUNDS, WATCHERS = 3.0, 3, 50
MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


@dataclass(frozen=True)
class Target:
    """A server and how to speak to it."""

    name: str
    host: str
    port: int
    context: ssl.SSLContext
    headers: str

    @classmethod
    def of(cls, name: str, kubeconfig: Path) -> Target:
        config = yaml.safe_load(kubeconfig.read_text())
        chosen = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == chosen["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == chosen["user"])
        data = cluster.get("certificate-authority-data")
        context = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"), cadata=base64.b64decode(data).decode() if data else None
        )
        headers = f"Authorization: Bearer {user['token']}\r\n" if "token" in user else ""
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile("wb") as file:
                for part in ("client-certificate-data", "client-key-data"):
                    file.write(base64.b64decode(user[part]) + b"\n")
                file.flush()
                context.load_cert_chain(file.name)
        elif "client-certificate" in user:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        address = urlsplit(cluster["server"])
        return cls(name, address.hostname or "127.0.0.1", address.port or 443, context, headers)

    def head(self, method: str, path: str) -> bytes:
        start = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAccept: application/json\r\n"
        return f"{start}{self.headers}".encode()

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.context, limit=1 << 20)
        return Connection(self, reader, writer)


@dataclass
class Connection:
    """One kept connection: a request, its whole answer, the next request."""

    target: Target
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self.writer.write(self.target.head(method, path) + f"{kind}\r\n".encode() + body)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        self.send(method, path, body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        status = int(head[9:12])
        at = lower.find(b"content-length:")
        if at >= 0:
            return status, await self.reader.readexactly(int(lower[at + 15 : lower.index(b"\r\n", at)]))
        return status, b"".join([chunk async for chunk in self._chunks()])

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readline()


@dataclass(frozen=True)
class Rate:
    per_second: float
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: float, latencies: list[float]) -> Rate:
        ordered = sorted(latencies)
        at = [ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99)]
        return cls(len(ordered) / seconds, *at)


def config_map(name: str) -> bytes:
    metadata = {"name": name, "labels": {"app": "bench"}}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v" * 700}}
    ).encode()


async def rate(target: Target, clients: int, request: Callable[[int], tuple[str, str, bytes]]) -> Rate:
    connections = [await target.connect() for _ in range(clients)]
    latencies: list[float] = []
    counter = iter(range(10**9))
    start = time.perf_counter()

    async def client(connection: Connection) -> None:
        while (begun := time.perf_counter()) - start < SECONDS:
            status, answer = await connection.ask(*request(next(counter)))
            assert status in (200, 201), answer
            latencies.append(time.perf_counter() - begun)

    await asyncio.gather(*map(client, connections))
    elapsed = time.perf_counter() - start
    for connection in connections:
        connection.writer.close()
    return Rate.of(elapsed, latencies)


class Watcher(asyncio.Protocol):
    """Notes when each object arrives, and does no more: fifty of them share a processor with what is measured."""

    _NAME = re.compile(rb'"name":"(watch-[^"]*)"')

    def __init__(self, arrived: Callable[[str, float], None]) -> None:
        self._arrived = arrived
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        text, end = self._rest + data, 0
        for found in self._NAME.finditer(text):
            self._arrived(found[1].decode(), now)
            end = found.end()
        self._rest = text[end:]


async def watch(target: Target) -> Rate:
    """From the sending of a write to its arrival at each of the watchers."""
    sent: dict[str, float] = {}
    times: list[float] = []
    seen: Counter[str] = Counter()

    def arrived(name: str, now: float) -> None:
        seen[name] += 1
        if name in sent:
            times.append(now - sent[name])

    writer = await target.connect()
    _, answer = await writer.ask("GET", f"{CMS}?limit=1")
    since = json.loads(answer)["metadata"]["resourceVersion"]
    loop, mark = asyncio.get_running_loop(), f"{os.getpid()}-{time.monotonic_ns()}"
    watchers = []
    for _ in range(WATCHERS):
        transport, _ = await loop.create_connection(
            lambda: Watcher(arrived), target.host, target.port, ssl=target.context
        )
        transport.write(target.head("GET", f"{CMS}?watch=1&resourceVersion={since}") + b"\r\n")
        watchers.append(transport)

    async def create(name: str) -> None:
        status, answer = await writer.ask("POST", CMS, config_map(name))
        assert status == 201, answer

    await create(f"watch-first-{mark}")
    while seen[f"watch-first-{mark}"] < WATCHERS:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    start = time.perf_counter()
    for number in range(100):
        name = f"watch-{mark}-{number}"
        sent[name] = time.perf_counter()
        await create(name)
        await asyncio.sleep(0.02)
    while len(times) < 100 * WATCHERS:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    elapsed = time.perf_counter() - start
    for transport in watchers:
        transport.abort()
    writer.writer.close()
    return Rate.of(elapsed, times)


async def measure(target: Target) -> dict[str, Rate]:
    """Each figure once."""
    connection = await target.connect()
    await connection.ask("POST", "/api/v1/namespaces", b'{"metadata":{"name":"bench"}}')
    await connection.ask("POST", CMS, config_map("one"))
    connection.writer.close()
    mark = time.monotonic_ns()

    def create(number: int) -> tuple[str, str, bytes]:
        return "POST", CMS, config_map(f"c-{mark}-{number}")

    def create_more(number: int) -> tuple[str, str, bytes]:
        return "POST", CMS, config_map(f"d-{mark}-{number}")

    return {
        "create, 1 client": await rate(target, 1, create),
        "create, 16 clients": await rate(target, 16, create_more),
        "get, 16 clients": await rate(target, 16, lambda _: ("GET", f"{CMS}/one", b"")),
        f"watch, {WATCHERS} watchers": await watch(target),
    }


def sync_rate(folder: Path) -> float:
    """How often a second the disk takes 4 KB for good."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 1.0:
            os.pwrite(file.fileno(), os.urandom(4096), count % 256 * 4096)
            os.fdatasync(file.fileno())
            count += 1
    return count


def refuse_memory(folder: Path) -> str:
    mounts = [one for one in psutil.disk_partitions(all=True) if folder.is_relative_to(one.mountpoint)]
    kind = max(mounts, key=lambda one: len(one.mountpoint)).fstype
    if kind in MEMORY:
        sys.exit(f"{folder} lies in memory ({kind}), where a sync costs nothing: choose a disk with --folder")
    return kind


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Target]:
    state = Path(tempfile.mkdtemp(dir=folder))
    command = ["-m", "kaos_ext.cluster.apiserver", "--state", str(state)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        await process.stdout.readline()
        yield Target.of("embedded", state / "kubeconfig")
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(state)


async def starting(folder: Path) -> str:
    """From nothing to a ready answer, and the memory of a server that nobody asks anything."""
    seconds, memory = [], 0
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        async with embedded(folder) as target:
            connection = await target.connect()
            status, _ = await connection.ask("GET", "/readyz")
            assert status == 200
            seconds.append(time.perf_counter() - begun)
            (child,) = psutil.Process().children()
            memory = child.memory_info().rss
            connection.writer.close()
    return f"nothing to /readyz {statistics.median(seconds):.2f} s, idle {memory / 1e6:.0f} MB"


async def run(folder: Path, rival: Path | None) -> list[tuple[str, list[dict[str, Rate]]]]:
    results: dict[str, list[dict[str, Rate]]] = {}
    async with embedded(folder) as ours:
        targets = [ours, *([Target.of("kube-apiserver + etcd", rival)] if rival else [])]
        for _ in range(ROUNDS):  # in turns, so that both see the same weather
            for target in targets:
                results.setdefault(target.name, []).append(await measure(target))
    return list(results.items())


def median(rounds: list[dict[str, Rate]], figure: str, of: str) -> float:
    return statistics.median(float(getattr(one[figure], of)) for one in rounds)


def report(results: list[tuple[str, list[dict[str, Rate]]]]) -> str:
    lines = ["| figure | " + " | ".join(name for name, _ in results) + (" | ratio |" if len(results) > 1 else " |")]
    lines.append("|---" * (len(results) + 1 + (len(results) > 1)) + "|")
    for figure in results[0][1][0]:
        cells, rates = [], []
        for _, rounds in results:
            per, p50, p99 = (median(rounds, figure, of) for of in ("per_second", "p50", "p99"))
            rates.append(p99 if figure.startswith("watch") else per)
            speed = "" if figure.startswith("watch") else f"{per:,.0f}/s, "
            cells.append(f"{speed}p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        if len(results) > 1:
            ratio = rates[1] / rates[0] if figure.startswith("watch") else rates[0] / rates[1]
            cells.append(f"{ratio:.1f}×")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rival", type=Path, metavar="KUBECONFIG", help="a real cluster to measure in turns with ours")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where the state lies while it is measured")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table into FILE too")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    kind = refuse_memory(folder)
    syncs = sync_rate(folder)
    start = asyncio.run(starting(folder))
    results = asyncio.run(run(folder, arguments.rival))
    syncs_after = sync_rate(folder)
    conditions = (
        f"{os.cpu_count()} cores, {kind}, {syncs:,.0f} to {syncs_after:,.0f} syncs a second, "
        f"load {os.getloadavg()[0]:.1f}; median of {ROUNDS} rounds of {SECONDS:g} s. "
        f"The embedded one: {start}."
    )
    text = f"{conditions}\n\n{report(results)}\n"
    sys.stdout.write(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()
