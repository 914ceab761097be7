"""The power fails: only what a sync put on the disk is left, and every acknowledged write is in it.

Killing a process proves nothing about the disk. A library of ours, preloaded into the server, copies a database file
whenever it is synced; after the kill the copies take the place of the files. The same test must fail where syncs are
turned off, in our own settings or on the disk.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.conformance.load import Ledger, Remote, listed, write

SOURCE = Path(__file__).parent / "programs" / "power.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("power") / "power.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"], check=True)
    return built


class Machine:
    """A state folder on a disk that can lose its power."""

    def __init__(self, folder: Path, library: Path, *, lies: bool = False, arguments: tuple[str, ...] = ()) -> None:
        self.state, self.kept = folder / "state", folder / "kept"
        self.kept.mkdir()
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "POWER_KEPT": str(self.kept)}
        if lies:
            self.environment["POWER_LIES"] = "1"
        self.arguments = arguments or ("-m", "kaos_ext.cluster.apiserver")

    async def start(self, session: aiohttp.ClientSession) -> tuple[asyncio.subprocess.Process, Remote]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.arguments,
            "--state",
            str(self.state),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self.environment,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        await asyncio.wait_for(process.stdout.readline(), 30)
        return process, Remote.of(self.state, line.decode().split()[1], session)

    async def lose_power(self, process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()
        for file in self.state.glob("*.db*"):
            file.unlink()
        for file in self.kept.iterdir():
            if not file.name.endswith(".next"):
                shutil.copy(file, self.state / file.name)


async def outages(machine: Machine, times: int) -> Ledger:
    """Load, a power failure, a look at what is left; as often as asked or until something is missing."""
    seed = int(os.environ.get("KAOS_SEED") or random.randrange(2**32))
    print(f"KAOS_SEED={seed}")
    choice, ledger = random.Random(seed), Ledger()
    async with aiohttp.ClientSession() as session:
        process, remote = await machine.start(session)
        try:
            for _ in range(times):
                begun = ledger.writes
                stop = asyncio.Event()
                writers = [
                    asyncio.create_task(write(remote, ledger, number, random.Random(choice.getrandbits(64)), stop))
                    for number in range(4)
                ]
                enough = begun + choice.randrange(40, 120)
                while ledger.writes < enough:  # noqa: ASYNC110 - counts answers, as they come
                    await asyncio.sleep(0.001)
                await machine.lose_power(process)
                await asyncio.gather(*writers)
                process, remote = await machine.start(session)
                _, found = await listed(remote)
                ledger.check(found)
                if ledger.wrong:
                    break
        finally:
            process.kill()
            await process.wait()
    return ledger


@pytest.mark.process
async def test_what_was_acknowledged_is_on_the_disk(tmp_path: Path, library: Path) -> None:
    ledger = await outages(Machine(tmp_path, library), 3)
    assert not ledger.wrong
    assert ledger.writes >= 120


@pytest.mark.process
async def test_a_store_that_does_not_sync_is_found_out(tmp_path: Path, library: Path) -> None:
    """`synchronous=NORMAL` survives the death of the process, not that of the machine."""
    program = (
        "import runpy\n"
        "from kaos_ext.store import log\n"
        "real = log.Log.open.__func__\n"
        "def unsynced(cls, path, schema, **more):\n"
        "    return real(cls, path, schema, **{**more, 'sync': log.Sync.NORMAL})\n"
        "log.Log.open = classmethod(unsynced)\n"
        "runpy.run_module('kaos_ext.cluster.apiserver', run_name='__main__')\n"
    )
    ledger = await outages(Machine(tmp_path, library, arguments=("-c", program)), 3)
    assert ledger.wrong


@pytest.mark.process
async def test_a_disk_that_only_says_it_syncs_is_found_out(tmp_path: Path, library: Path) -> None:
    ledger = await outages(Machine(tmp_path, library, lies=True), 1)
    assert ledger.wrong
