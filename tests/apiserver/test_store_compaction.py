"""What is superseded is forgotten: the file stops growing, and who comes too late is told so in the real words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kaos_ext.cluster.apiserver import collection
from kaos_ext.cluster.apiserver import storage as storage_module
from kaos_ext.store import commit
from tests.apiserver.conftest import CMS, Http, Running, config_map, next_of, until

SIZE = 4000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that bounds the file at a hundredth, so that a short churn shows it."""
    monkeypatch.setattr(storage_module, "KEEP", 100)
    monkeypatch.setattr(storage_module, "UNUSED_PAGES", 64)
    monkeypatch.setattr(commit, "CHECKPOINT_ROWS", 50)


async def churned(http: Http, rounds: int, objects: int = 10) -> None:
    for number in range(rounds):
        body = {"data": {"x": f"{number:08}" * (SIZE // 8)}}
        await asyncio.gather(*(http.merge(f"{CMS}/c{n}", body) for n in range(objects)))


async def test_under_churn_the_file_stops_growing(small: None, running: Running) -> None:
    http, storage = running.http, running.server.storage
    for n in range(10):
        await http.post(CMS, config_map(f"c{n}"))
    await churned(http, 40)
    settled = storage.size()
    largest = 0
    for _ in range(8):
        await churned(http, 20)
        largest = max(largest, storage.size())
    written = 1600 * SIZE
    assert storage.superseded <= 400, "compaction did not wait for its minute"
    assert largest < 1.5 * settled
    assert largest < written / 2


async def test_the_space_of_a_burst_goes_back_to_the_disk(small: None, running: Running) -> None:
    http, storage = running.http, running.server.storage
    before = storage.log.path.stat().st_size
    burst = [config_map(f"c{n}", data={"x": "y" * 20_000}) for n in range(200)]
    await asyncio.gather(*(http.post(CMS, body) for body in burst))
    storage.log.checkpoint()
    assert storage.log.path.stat().st_size > before + 200 * 20_000
    await http("DELETE", CMS)
    await storage.compact(keep=0)
    storage.log.checkpoint()
    assert storage.log.path.stat().st_size < before + 1_000_000


async def test_few_large_versions_are_bounded_by_their_size(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "KEEP_BYTES", 100_000)
    monkeypatch.setattr(collection, "RING_BYTES", 100_000)
    http, storage = running.http, running.server.storage
    first = (await http.post(CMS, config_map("c0"))).body["metadata"]["resourceVersion"]
    await churned(http, 100, objects=1)
    # 100 versions of 4 kB are more than 200 kB.
    await until(lambda: storage.log.count("key = ?", ("/configmaps/default/c0",)) <= 60, 5)
    event = await next_of(http.watch(f"{CMS}?watch=1&resourceVersion={first}"))
    assert event["object"]["code"] == 410, "memory is bounded as well"
    now = (await http.get(f"{CMS}/c0")).body["metadata"]["resourceVersion"]
    watch = http.watch(f"{CMS}?watch=1&resourceVersion={int(now) - 1}")
    assert (await next_of(watch))["type"] == "MODIFIED", "the newest are there"


async def test_pages_and_watches_of_before_go_on_after_a_compaction(running: Running) -> None:
    http = running.http
    for n in range(6):
        await http.post(CMS, config_map(f"c{n}"))
    first = (await http.get(f"{CMS}?limit=2")).body
    token, version = first["metadata"]["continue"], first["metadata"]["resourceVersion"]
    for n in range(6):
        await http.merge(f"{CMS}/c{n}", {"data": {"x": "1"}})
    await http("DELETE", f"{CMS}/c5")
    assert await running.server.storage.compact(keep=0) > 0

    rest = (await http.get(f"{CMS}?continue={token}")).body
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4", "c5"]
    assert rest["metadata"]["resourceVersion"] == version
    assert not any(item.get("data") for item in rest["items"]), "as they were on the first page"
    exact = (await http.get(f"{CMS}?resourceVersion={version}&resourceVersionMatch=Exact")).body
    assert len(exact["items"]) == 6 and not any(item.get("data") for item in exact["items"])
    events = http.watch(f"{CMS}?watch=1&resourceVersion={version}")
    seen = [await next_of(events) for _ in range(7)]
    assert [event["type"] for event in seen] == ["MODIFIED"] * 6 + ["DELETED"]


async def test_after_a_restart_what_was_forgotten_is_expired_and_the_rest_goes_on(start: Callable[[], Any]) -> None:
    first: Running = await start()
    http = first.http
    for n in range(6):
        await http.post(CMS, config_map(f"c{n}"))
    page = (await http.get(f"{CMS}?limit=2")).body["metadata"]
    for n in range(6):
        await http.merge(f"{CMS}/c{n}", {"data": {"x": "1"}})
    compacted = int((await http.get(CMS)).body["metadata"]["resourceVersion"])
    assert await first.server.storage.compact(keep=0) > 0
    await http.merge(f"{CMS}/c0", {"data": {"x": "2"}})
    await first.server.stop()

    second: Running = await start()
    http = second.http
    version = page["resourceVersion"]
    event = await next_of(http.watch(f"{CMS}?watch=1&resourceVersion={version}"))
    assert event["type"] == "ERROR"
    assert event["object"] == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"too old resource version: {version} ({compacted})",
        "reason": "Expired",
        "code": 410,
    }
    event = await next_of(http.watch(f"{CMS}?watch=1&resourceVersion={compacted}"))
    assert (event["type"], event["object"]["data"]) == ("MODIFIED", {"x": "2"}), "from there on nothing is missing"

    exact = await http.get(f"{CMS}?resourceVersion={version}&resourceVersionMatch=Exact")
    assert (exact.status, exact.body["reason"]) == (410, "Expired")
    assert exact.body["message"] == "The resourceVersion for the provided list is too old."

    late = await http.get(f"{CMS}?continue={page['continue']}")
    assert (late.status, late.body["reason"]) == (410, "Expired")
    assert late.body["message"].startswith("The provided continue parameter is too old to display a consistent list")
    rest = await http.get(f"{CMS}?continue={late.body['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["c2", "c3", "c4", "c5"]


async def test_a_collection_that_lost_everything_does_not_pretend_to_know_its_past(start: Callable[[], Any]) -> None:
    first: Running = await start()
    secrets = "/api/v1/namespaces/default/secrets"
    made = await first.http.post(secrets, {"metadata": {"name": "s"}})
    version = made.body["metadata"]["resourceVersion"]
    await first.http("DELETE", f"{secrets}/s")
    await first.server.storage.compact(keep=0)
    await first.server.stop()

    second: Running = await start()
    event = await next_of(second.http.watch(f"{secrets}?watch=1&resourceVersion={version}"))
    assert event["object"]["code"] == 410, "its deletion is forgotten: silence would be a lie"
