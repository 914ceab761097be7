"""The daemon is killed at random moments under mixed load: nothing acknowledged is lost, no watch skips or repeats."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import aiohttp
import pytest

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.lifecycle import start_cluster
from kaos_ext.cluster.owner import ended, read_pid_file
from tests.conformance.embedded import embedded_async
from tests.conformance.load import Ledger, Remote, Watcher, caught_up, listed, write

WRITERS, WATCHERS = 6, 4


@pytest.mark.process
async def test_ten_kills_lose_nothing() -> None:
    await killed(10)


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_two_hundred_kills_lose_nothing() -> None:
    await killed(200)


async def killed(times: int) -> None:
    seed = int(os.environ.get("KAOS_SEED") or random.randrange(2**32))
    print(f"KAOS_SEED={seed}")
    choice = random.Random(seed)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with embedded_async() as config, aiohttp.ClientSession(timeout=timeout) as session:
        remote = Remote.of(config.root, config.server, session)
        start, _ = await listed(remote)
        ledger, watchers = Ledger(), [Watcher(start) for _ in range(WATCHERS)]
        following = [asyncio.create_task(one.follow(lambda: remote)) for one in watchers]
        try:
            for round in range(times):
                await _one_kill(config, remote, ledger, choice)
                version, found = await listed(remote)
                ledger.check(found)
                assert not ledger.wrong, (round, ledger.wrong)
                assert version >= max(ledger.versions)
                await caught_up(watchers, found)
                for one in watchers:
                    assert not one.wrong, (round, one.wrong)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
    acknowledged = sorted(ledger.versions)
    assert len(set(acknowledged)) == len(acknowledged)
    assert all(one.seen == watchers[0].seen for one in watchers)
    assert set(acknowledged) <= set(watchers[0].seen)
    print(f"{times} kills, {ledger.writes} acknowledged writes, {len(watchers[0].seen)} versions seen by each watcher")
    assert ledger.writes > 10 * times


async def _one_kill(config: ClusterConfig, remote: Remote, ledger: Ledger, choice: random.Random) -> None:
    stop = asyncio.Event()
    writers = [
        asyncio.create_task(write(remote, ledger, number, random.Random(choice.getrandbits(64)), stop))
        for number in range(WRITERS)
    ]
    await asyncio.sleep(0.1 + choice.random() * 0.5)  # the moment of the kill, not a wait for something
    found = read_pid_file(config.pid_file)
    assert found is not None
    os.kill(found[0], signal.SIGKILL)
    await ended(*found)
    await asyncio.gather(*writers)
    await start_cluster(config.name)
