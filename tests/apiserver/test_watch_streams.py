"""Watches: every change once, in order, from any version that is still known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kaos_ext.cluster.apiserver import collection, watch
from kaos_ext.kube.objects import CONFIGMAPS, ApiError
from tests.apiserver.conftest import CMS, Http, Running, config_map, next_of, until


def seen(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


async def version(http: Http) -> str:
    listed = (await http.get(CMS)).body["metadata"]["resourceVersion"]
    assert isinstance(listed, str)
    return listed


async def test_changes_after_a_version_come_in_order_and_once(http: Http) -> None:
    start = await version(http)
    await http.post(CMS, config_map("a"))
    events = http.watch(f"{CMS}?watch=1&resourceVersion={start}")
    assert seen(await next_of(events)) == ("ADDED", "a")
    await http.merge(f"{CMS}/a", {"data": {"x": "1"}})
    changed = await next_of(events)
    assert seen(changed) == ("MODIFIED", "a")
    await http("DELETE", f"{CMS}/a")
    gone = await next_of(events)
    assert seen(gone) == ("DELETED", "a")
    assert int(gone["object"]["metadata"]["resourceVersion"]) > int(changed["object"]["metadata"]["resourceVersion"])
    await events.aclose()


async def test_a_watch_without_a_version_begins_with_what_there_is(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    events = http.watch(f"{CMS}?watch=1")
    assert seen(await next_of(events)) == ("ADDED", "a")
    await events.aclose()


async def test_a_write_that_changes_nothing_is_no_event(http: Http) -> None:
    await http.post(CMS, config_map("a", data={"x": "1"}))
    events = http.watch(f"{CMS}?watch=1&resourceVersion={await version(http)}")
    await http.merge(f"{CMS}/a", {"data": {"x": "1"}})
    await http.post(CMS, config_map("b"))
    assert seen(await next_of(events)) == ("ADDED", "b")
    await events.aclose()


async def test_an_object_that_comes_to_match_is_added_and_one_that_stops_is_deleted(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    events = http.watch(f"{CMS}?watch=1&labelSelector=on%3Dyes&resourceVersion={await version(http)}")
    await http.merge(f"{CMS}/a", {"metadata": {"labels": {"on": "yes"}}})
    assert seen(await next_of(events)) == ("ADDED", "a")
    stopped = (await http.merge(f"{CMS}/a", {"metadata": {"labels": {"on": "no"}}})).body
    left = await next_of(events)
    assert seen(left) == ("DELETED", "a")
    assert left["object"]["metadata"]["resourceVersion"] == stopped["metadata"]["resourceVersion"]
    assert left["object"]["metadata"]["labels"] == {"on": "yes"}
    await events.aclose()


async def test_one_namespace_hears_nothing_of_another(http: Http) -> None:
    start = await version(http)
    await http.post("/api/v1/namespaces/kube-system/configmaps", config_map("elsewhere"))
    await http.post(CMS, config_map("here"))
    events = http.watch(f"{CMS}?watch=1&resourceVersion={start}")
    assert seen(await next_of(events)) == ("ADDED", "here")
    await events.aclose()


async def test_bookmarks_tell_how_far_a_silent_watch_has_come(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BOOKMARK_SECONDS", 0.1)
    start = await version(http)
    events = http.watch(f"{CMS}?watch=1&allowWatchBookmarks=true&resourceVersion={start}")
    await http.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    deadline = asyncio.get_running_loop().time() + 5
    while asyncio.get_running_loop().time() < deadline:
        event = await next_of(events)
        assert event["type"] == "BOOKMARK"
        if int(event["object"]["metadata"]["resourceVersion"]) > int(start):
            break
    else:
        pytest.fail("no bookmark moved on")
    await events.aclose()


async def test_a_list_can_be_streamed_and_says_where_it_ends(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    events = http.watch(f"{CMS}?{query}")
    assert seen(await next_of(events)) == ("ADDED", "a")
    end = await next_of(events)
    assert end["type"] == "BOOKMARK"
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await events.aclose()


async def test_a_version_that_is_forgotten_is_told_as_gone(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "RING", 4)
    start = await version(http)
    for n in range(12):
        await http.post(CMS, config_map(f"n{n}"))
    event = await next_of(http.watch(f"{CMS}?watch=1&resourceVersion={start}"))
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")


async def test_a_watcher_that_falls_behind_the_ring_is_dropped(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "RING", 4)
    client = running.server.client()
    start = (await client.list(CONFIGMAPS, "default")).resource_version
    events = client.watch(CONFIGMAPS, "default", resource_version=start)
    await client.create(CONFIGMAPS, config_map("first"), "default")
    assert (await anext(events)).object["metadata"]["name"] == "first"
    for n in range(12):
        await client.create(CONFIGMAPS, config_map(f"n{n}"), "default")
    with pytest.raises(ApiError) as gone:
        async for _ in events:
            pass
    assert gone.value.code == 410


async def test_a_watch_ends_at_its_time(http: Http) -> None:
    events = [event async for event in http.watch(f"{CMS}?watch=1&timeoutSeconds=1")]
    assert events == []


async def test_rows_of_a_table_stream_with_columns_only_once(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    events = http.watch(f"{CMS}?watch=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert (await next_of(events))["object"]["columnDefinitions"]
    await http.post(CMS, config_map("b"))
    second = await next_of(events)
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][0] == "b"
    await events.aclose()


async def test_stopping_the_server_ends_its_watches(running: Running) -> None:
    events = running.http.watch(f"{CMS}?watch=1")
    waiting = asyncio.create_task(anext(events, None))
    await until(lambda: running.server.storage.collection("/configmaps")._waiting)
    await asyncio.wait_for(running.server.stop(), 5)
    assert await asyncio.wait_for(waiting, 5) is None


async def test_fifty_watchers_see_the_same(http: Http) -> None:
    start = await version(http)
    watchers = [http.watch(f"{CMS}?watch=1&resourceVersion={start}") for _ in range(50)]
    for n in range(5):
        await http.post(CMS, config_map(f"n{n}"))
    for events in watchers:
        assert [seen(await next_of(events))[1] for _ in range(5)] == [f"n{n}" for n in range(5)]
        await events.aclose()


async def test_a_watch_resumes_over_a_restart_of_the_server(start: Callable[[], Any]) -> None:
    first = await start()
    before = await version(first.http)
    await first.http.post(CMS, config_map("a"))
    await first.server.stop()
    second = await start()
    await second.http.post(CMS, config_map("b"))
    events = second.http.watch(f"{CMS}?watch=1&resourceVersion={before}")
    assert [seen(await next_of(events)) for _ in range(2)] == [("ADDED", "a"), ("ADDED", "b")]
    await events.aclose()


async def test_watchers_that_come_and_go_among_many_writers_miss_and_double_nothing(running: Running) -> None:
    client = running.server.client()
    begin = (await client.list(CONFIGMAPS, "default")).resource_version
    writers, each = 8, 25

    async def write(number: int) -> None:
        for n in range(each):
            await client.create(CONFIGMAPS, config_map(f"w{number}-{n}"), "default")
            await client.patch(CONFIGMAPS, f"w{number}-{n}", {"data": {"n": str(n)}}, "default")
            await client.delete(CONFIGMAPS, f"w{number}-{n}", "default")

    async def watch_in_pieces(piece: int) -> list[tuple[str, str]]:
        """Follow from version to version, leaving and coming back every so many events."""
        seen_all: list[tuple[str, str]] = []
        version, expected = begin, writers * each * 3
        while len(seen_all) < expected:
            events = client.watch(CONFIGMAPS, "default", resource_version=version)
            taken = 0
            async for event in events:
                version = event.object["metadata"]["resourceVersion"]
                if event.type == "BOOKMARK":
                    continue
                seen_all.append((event.type, version))
                taken += 1
                if taken == piece or len(seen_all) == expected:
                    break
        return seen_all

    watchers = [asyncio.create_task(watch_in_pieces(piece)) for piece in (1, 7, 1000)]
    await asyncio.gather(*(write(number) for number in range(writers)))
    histories = [await asyncio.wait_for(watcher, 20) for watcher in watchers]
    versions = [int(version) for _, version in histories[0]]
    assert versions == sorted(set(versions))
    assert histories[0] == histories[1] == histories[2]
