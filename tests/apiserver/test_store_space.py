"""The last of a disk is kept for what makes room: nothing is made or changed there, everything can be deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kaos_ext.cluster.apiserver.space import RESERVE, Space, free_and_total
from tests.apiserver.conftest import CMS, Running, config_map

FULL = "etcdserver: mvcc: database space exceeded: "


class Disk:
    """A disk of which a test says how much is free."""

    def __init__(self, running: Running) -> None:
        self.left = 10 * RESERVE
        running.server.storage.space = Space(Path("/"), lambda _: (self.left, 1000 * RESERVE), lambda: self.looked())
        self._now = 0.0

    def looked(self) -> float:
        self._now += 1
        return self._now


@pytest.mark.parametrize(
    ("free", "total", "tight"),
    [
        (RESERVE, 10**12, False),
        (RESERVE - 1, 10**12, True),
        (0, 10**12, True),
        (2 * 2**20, 64 * 2**20, False),
        (2**20, 64 * 2**20, True),
    ],
)
def test_so_much_is_kept_and_less_on_a_small_disk(free: int, total: int, tight: bool) -> None:
    assert Space(Path("/"), lambda _: (free, total)).is_tight() is tight


def test_the_disk_is_asked_a_few_times_a_second_at_most(tmp_path: Path) -> None:
    asked: list[Path] = []
    now = [0.0]

    def ask(folder: Path) -> tuple[int, int]:
        asked.append(folder)
        return free_and_total(folder)

    space = Space(tmp_path, ask, lambda: now[0])
    for _ in range(100):
        space.is_tight()
        now[0] += 0.01
    assert 3 <= len(asked) <= 5


async def test_near_the_end_of_the_disk_only_deletions_are_taken(running: Running) -> None:
    http, disk = running.http, Disk(running)
    for n in range(20):
        await http.post(CMS, config_map(f"c{n}", data={"x": "y" * 20_000}))
        await http.merge(f"{CMS}/c{n}", {"data": {"x": "z" * 20_000}})
    storage = running.server.storage
    storage.log.checkpoint()
    before = storage.log.path.stat().st_size
    disk.left = RESERVE - 1
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c0"}, "data": {"y": "1"}}
    for answer in (
        await http.post(CMS, config_map("new")),
        await http.merge(f"{CMS}/c0", {"data": {"x": "1"}}),
        await http("PATCH", f"{CMS}/c0?fieldManager=me&force=true", apply, content_type="application/apply-patch+yaml"),
    ):
        assert answer.status == 500 and answer.body["message"].startswith(FULL)
        assert "reason" not in answer.body
    assert (await http.merge(f"{CMS}/c0", {})).status == 200, "what changes nothing needs no space"
    dry = await http.post(f"{CMS}?dryRun=All", config_map("new"))
    assert dry.status == 201
    assert (await http.get("/readyz")).status == 200
    for n in range(20):
        assert (await http("DELETE", f"{CMS}/c{n}")).status == 200
    deadline = asyncio.get_running_loop().time() + 10
    while storage.log.path.stat().st_size > before / 2:
        assert asyncio.get_running_loop().time() < deadline, "what was deleted went back to the disk"
        await http.post(CMS, config_map("new"))
        await asyncio.sleep(0.05)
    disk.left = RESERVE
    assert (await http.post(CMS, config_map("new"))).status == 201
    text = (await http.get("/metrics")).body
    assert f"embedded_store_disk_free_bytes {RESERVE}\n" in text
    (line,) = (line for line in text.splitlines() if 'commit_failures_total{reason="no_space"}' in line)
    assert int(line.split()[-1]) >= 3


async def test_a_service_that_finds_no_space_gives_its_address_back(running: Running) -> None:
    http, disk = running.http, Disk(running)
    services = "/api/v1/namespaces/default/services"
    wanted = {"clusterIP": "127.64.0.77", "ports": [{"port": 80}]}
    disk.left = 0
    assert (await http.post(services, {"metadata": {"name": "a"}, "spec": wanted})).status == 500
    disk.left = 10 * RESERVE
    assert (await http.post(services, {"metadata": {"name": "b"}, "spec": wanted})).status == 201
