"""The disk is full: writes are refused in the real server's words, all else goes on, nothing needs a restart."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.apiserver.conftest import CMS, until
from tests.conformance.load import Remote

pytestmark = pytest.mark.process
SOURCE = Path(__file__).parent / "programs" / "full.c"
FULL = "etcdserver: mvcc: database space exceeded: "


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("full") / "full.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"], check=True)
    return built


@dataclass
class Machine:
    """A server whose disk the test can fill."""

    state: Path
    flag: Path
    process: asyncio.subprocess.Process
    remote: Remote

    def fill(self) -> None:
        self.flag.touch()

    def free(self) -> None:
        self.flag.unlink()

    async def create(self, name: str, size: int = 100) -> tuple[int, Any]:
        return await self.remote.ask("POST", CMS, {"metadata": {"name": name}, "data": {"x": "y" * size}})

    async def until_refused(self, prefix: str) -> list[str]:
        """Write until the space that files had already is used up; the names that were acknowledged."""
        kept: list[str] = []
        for number in range(2000):
            status, _ = await self.create(f"{prefix}{number}", 10_000)
            if status != 201:
                return kept
            kept.append(f"{prefix}{number}")
        raise AssertionError("the disk never was full")


@pytest.fixture(params=["", "1"], ids=["no-space", "over-quota"])
async def machine(tmp_path: Path, library: Path, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    state, flag = tmp_path / "state", tmp_path / "full"
    environment = {**os.environ, "LD_PRELOAD": str(library), "FULL_ROOT": str(state), "FULL_WHILE": str(flag)}
    if request.param:
        environment["FULL_QUOTA"] = "1"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "kaos_ext.cluster.apiserver", "--state", str(state)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    await asyncio.wait_for(process.stdout.readline(), 30)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield Machine(state, flag, process, Remote.of(state, line.decode().split()[1], session))
    flag.unlink(missing_ok=True)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def test_writes_are_refused_reads_and_watches_go_on_and_so_do_writes_when_there_is_space(
    machine: Machine,
) -> None:
    remote = machine.remote
    assert (await machine.create("before"))[0] == 201
    seen: list[str] = []

    async def follow() -> None:
        async with remote.request("GET", f"{CMS}?watch=1&timeoutSeconds=60") as stream:
            async for line in stream.content:
                seen.append(line.decode())  # noqa: PERF401 (seen by the test as it comes)

    following = asyncio.create_task(follow())
    await until(lambda: any('"name":"before"' in line for line in seen))

    machine.fill()
    kept = await machine.until_refused("w")
    # Not one that makes it through and then fails: all of them, also many at once.
    answers = await asyncio.gather(*(machine.create(f"many{n}", 10_000) for n in range(30)))
    for status, body in answers:
        assert status == 500
        assert body["message"].startswith(FULL), body
        assert "reason" not in body, "as the real server: a client is not told to come again in a second"
    status, body = await remote.ask("GET", f"{CMS}/before")
    assert status == 200 and body["data"]["x"]
    assert (await remote.ask("GET", CMS))[0] == 200
    async with remote.request("GET", "/readyz") as ready:
        assert (ready.status, await ready.text()) == (200, "ok"), "reads are served, as by the real one"

    machine.free()
    assert (await machine.create("after"))[0] == 201
    await until(lambda: any('"name":"after"' in line for line in seen))
    following.cancel()
    names = {f'"name":"{name}"' for name in kept}
    assert all(any(name in line for line in seen) for name in names)
    assert not any('"name":"many' in line for line in seen)

    machine.process.kill()
    await machine.process.wait()
    found = await names_in(machine.state / "cluster.db")
    assert {"before", "after", *kept} <= found
    assert not any(name.startswith("many") for name in found)


async def names_in(database: Path) -> set[str]:
    from kaos_ext.cluster.apiserver.storage import Storage

    storage = Storage.open(database)
    found = {stored.name for stored in storage.collection("/configmaps").scan("default")}
    await storage.close()
    return found
