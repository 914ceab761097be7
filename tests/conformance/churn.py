"""Objects that come, change and go for a long time under many watchers, each of which sees every version once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import psutil

from tests.conformance.load import CMS, LABEL, Ledger, Remote, Watcher, caught_up, listed, write

FILL = {"fill": "x" * 300}


@dataclass(frozen=True)
class Growth:
    """Memory of the server's process: after the objects were made and watched, and at the end."""

    before: int
    after: int
    versions: int

    @property
    def share(self) -> float:
        return self.after / self.before - 1


async def churn(remote: Remote, pid: int, *, objects: int, watchers: int, seconds: float, seed: int) -> Growth:
    """Make the objects, watch, warm up for a fifth of the time, measure, go on, measure again."""
    process = psutil.Process(pid)
    await _make(remote, objects)
    since, _ = await listed(remote)
    ledger, following = Ledger(), [Watcher(since) for _ in range(watchers)]
    tasks = [asyncio.create_task(one.follow(lambda: remote)) for one in following]
    try:
        await _load(remote, ledger, seconds / 5, seed)
        before = process.memory_info().rss
        await _load(remote, ledger, seconds * 4 / 5, seed + 1)
        _, found = await listed(remote)
        ledger.check(found)
        assert not ledger.wrong, ledger.wrong[:5]
        await caught_up(following, found)
        for one in following:
            assert not one.wrong, one.wrong[:5]
            assert one.seen == following[0].seen, "two watchers saw different versions"
        assert set(ledger.versions) <= set(following[0].seen)
        return Growth(before, process.memory_info().rss, len(following[0].seen))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _make(remote: Remote, objects: int) -> None:
    """Objects that lie there, beside those that change; without the label that the watchers ask for."""
    left = iter(range(objects))

    async def maker() -> None:
        for number in left:
            body = {"metadata": {"name": f"lies-{number}", "labels": {LABEL: "no"}}, "data": FILL}
            status, answer = await remote.ask("POST", CMS, body)
            assert status == 201, answer

    await asyncio.gather(*(maker() for _ in range(16)))


async def _load(remote: Remote, ledger: Ledger, seconds: float, seed: int) -> None:
    stop = asyncio.Event()
    writers = [asyncio.create_task(write(remote, ledger, n, random.Random(seed * 100 + n), stop)) for n in range(4)]
    await asyncio.sleep(seconds)
    stop.set()
    await asyncio.gather(*writers)
