"""Nothing is answered, shown or acted upon before it is on disk; nothing that was is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.kube.objects import CONFIGMAPS
from kaos_ext.store import StoreError
from tests.apiserver.conftest import CMS, Http, Running, config_map, next_of, until


class Gate:
    """Holds every commit of a server until it is opened."""

    def __init__(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.error: Exception | None = None
        commit = running.server.storage.log.append

        def held(rows: Any, **options: Any) -> list[int]:
            self.reached.set()
            assert self.open.wait(10)
            if self.error is not None:
                raise self.error
            return commit(rows, **options)

        monkeypatch.setattr(running.server.storage.log, "append", held)

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 5)


async def quiet(*tasks: asyncio.Task[Any]) -> bool:
    """None of the tasks gets anywhere, however often the loop turns."""
    for _ in range(50):
        await asyncio.sleep(0.002)
    return not any(task.done() for task in tasks)


async def test_before_its_commit_a_write_is_neither_answered_nor_seen_by_anyone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, client = running.http, running.server.client()
    start = (await http.get(CMS)).body["metadata"]["resourceVersion"]
    remote = http.watch(f"{CMS}?watch=1&resourceVersion={start}")
    local = client.watch(CONFIGMAPS, "default", resource_version=start)
    gate = Gate(running, monkeypatch)
    answer = asyncio.create_task(http.post(CMS, config_map("a")))
    watched = asyncio.create_task(anext(remote))
    woken = asyncio.create_task(anext(local))
    await gate.wait()

    assert await quiet(answer, watched, woken)
    assert (await http.get(f"{CMS}/a")).status == 404
    assert (await http.get(CMS)).body["metadata"]["resourceVersion"] == start

    gate.open.set()
    assert (await asyncio.wait_for(answer, 5)).status == 201
    assert (await asyncio.wait_for(watched, 5))["object"]["metadata"]["name"] == "a"
    assert (await asyncio.wait_for(woken, 5)).object["metadata"]["name"] == "a"
    await remote.aclose()


async def test_writes_that_come_while_one_commits_go_into_the_next_commit_together(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    commit = running.server.storage.log.append
    entered, release = threading.Event(), threading.Event()

    def counted(rows: Any, **options: Any) -> list[int]:
        sizes.append(len(rows))
        entered.set()
        assert release.wait(10)
        return commit(rows, **options)

    monkeypatch.setattr(running.server.storage.log, "append", counted)
    client = running.server.client()
    first = asyncio.create_task(client.create(CONFIGMAPS, config_map("first"), "default"))
    assert await asyncio.to_thread(entered.wait, 5)
    rest = [asyncio.create_task(client.create(CONFIGMAPS, config_map(f"n{n}"), "default")) for n in range(10)]
    assert await quiet(first, *rest)
    release.set()
    made = await asyncio.gather(first, *rest)
    assert sizes == [1, 10]
    versions = [int(one["metadata"]["resourceVersion"]) for one in made]
    assert versions == sorted(set(versions))


async def test_a_write_that_cannot_be_stored_fails_and_leaves_no_trace(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = running.http
    with monkeypatch.context() as patched:
        gate = Gate(running, patched)
        gate.error = StoreError("disk I/O error")
        gate.open.set()

        def broken(*_: str) -> None:
            raise StoreError("disk I/O error")

        patched.setattr(running.server.storage.log, "set_meta", broken)
        refused = await http.post(CMS, config_map("a"))
        assert (refused.status, refused.body["reason"]) == (500, "InternalError")
        assert "disk I/O error" in refused.body["message"]
        assert (await http.get("/readyz")).status == 500
    assert (await http.get(f"{CMS}/a")).status == 404
    assert (await http.post(CMS, config_map("a"))).status == 201
    assert (await http.get("/readyz")).status == 200


async def test_a_client_that_leaves_does_not_take_its_write_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        gate = Gate(running, patched)
        answer = asyncio.create_task(running.http.post(CMS, config_map("a")))
        await gate.wait()
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        gate.open.set()
        events = running.http.watch(f"{CMS}?watch=1")
        assert (await next_of(events))["object"]["metadata"]["name"] == "a"
        await events.aclose()


async def test_a_restart_finds_everything_and_goes_on_counting(start: Callable[[], Any]) -> None:
    first: Running = await start()
    made = (await first.http.post(CMS, config_map("a", data={"x": "1"}))).body
    await first.http.post(CMS, config_map("b"))
    await first.http("DELETE", f"{CMS}/b")
    last = (await first.http.get(CMS)).body["metadata"]["resourceVersion"]
    await first.server.stop()

    second: Running = await start()
    assert (await second.http.get(f"{CMS}/a")).body == made
    assert (await second.http.get(f"{CMS}/b")).status == 404
    new = (await second.http.post(CMS, config_map("c"))).body
    assert int(new["metadata"]["resourceVersion"]) > int(last)


async def test_forgotten_revisions_take_no_object_with_them(start: Callable[[], Any]) -> None:
    first: Running = await start()
    await first.http.post(CMS, config_map("a"))
    for n in range(20):
        await first.http.merge(f"{CMS}/a", {"data": {"n": str(n)}})
    await first.http.post(CMS, config_map("gone"))
    await first.http("DELETE", f"{CMS}/gone")
    latest = (await first.http.get(f"{CMS}/a")).body
    assert await first.server.storage.compact(keep=0) > 20
    await first.server.stop()

    second: Running = await start()
    assert (await second.http.get(f"{CMS}/a")).body == latest
    assert (await second.http.get(f"{CMS}/gone")).status == 404
    event = await next_of(second.http.watch(f"{CMS}?watch=1&resourceVersion=1"))
    assert event["object"]["code"] == 410


@pytest.mark.process
async def test_no_acknowledged_write_is_lost_when_the_server_is_killed(http: Http, tmp_path: Path) -> None:
    """Writes race against SIGKILL; whatever was answered is there afterwards."""
    state = tmp_path / "state"
    acknowledged: list[str] = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kaos_ext.cluster.apiserver",
            "--state",
            str(state),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 15)
        await asyncio.wait_for(process.stdout.readline(), 15)
        remote = _remote(http, state, line.decode().split()[1])
        for name in acknowledged:
            assert (await remote.get(f"{CMS}/{name}")).status == 200, name
        begun = len(acknowledged)

        async def write(remote: Http, number: int) -> None:
            try:
                while True:
                    made = await remote.post(
                        CMS, {"metadata": {"generateName": f"w{number}-"}, "data": {"x": "y" * 500}}
                    )
                    if made.status == 201:
                        acknowledged.append(made.body["metadata"]["name"])
            except OSError:
                return

        writers = [asyncio.create_task(write(remote, number)) for number in range(4)]
        enough = begun + 60
        await until(lambda enough=enough: len(acknowledged) >= enough, 30)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*writers, return_exceptions=True)
    assert len(acknowledged) >= 120
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kaos_ext.cluster.apiserver", "--state", str(state), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 15)
    await asyncio.wait_for(process.stdout.readline(), 15)
    remote = _remote(http, state, line.decode().split()[1])
    kept = {one["metadata"]["name"] for one in (await remote.get(CMS)).body["items"]}
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert set(acknowledged) <= kept


def _remote(http: Http, state: Path, url: str) -> Http:
    import ssl

    token = (state / "pki" / "admin.token").read_text().strip()
    context = ssl.create_default_context(cafile=str(state / "pki" / "ca.crt"))
    return Http(url, token, http.session, context)
