"""A long life of changes: memory stays, every watcher sees every version once and in order."""

from __future__ import annotations

import aiohttp
import pytest

from kaos_ext.cluster.owner import read_pid_file
from tests.conformance.churn import Growth, churn
from tests.conformance.embedded import embedded_async
from tests.conformance.load import Remote


@pytest.mark.process
async def test_changes_under_many_watchers_are_seen_once_by_each() -> None:
    growth = await churned(objects=500, watchers=40, seconds=6)
    assert growth.versions > 100


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_half_an_hour_of_changes_does_not_grow_the_server() -> None:
    growth = await churned(objects=10_000, watchers=200, seconds=1800)
    assert growth.share < 0.2, growth


async def churned(*, objects: int, watchers: int, seconds: float) -> Growth:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    connector = aiohttp.TCPConnector(limit=0)
    async with embedded_async() as config, aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        found = read_pid_file(config.pid_file)
        assert found is not None
        remote = Remote.of(config.root, config.server, session)
        growth = await churn(remote, found[0], objects=objects, watchers=watchers, seconds=seconds, seed=1)
    print(f"{growth.versions} versions, {growth.before / 1e6:.0f} MB, then {growth.after / 1e6:.0f} MB")
    return growth
