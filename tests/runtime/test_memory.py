"""Memory as its readers use it: pages by place and by time, streams that are cut, slow readers, readers that leave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent import memory
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.memory import Memory
from kaos_ext.runtime.agent.records import SCHEMA
from kaos_ext.runtime.shell import Shell
from kaos_ext.store import Log, Sync
from tests.runtime.processes import Processes, Running, agent_env, eventually, mocks, stream

ALL = ",".join(EventType)
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENTS = 40


def written(folder: Path) -> list[Event]:
    """A log of events one second apart, chat and loop in turn."""
    log = Log.open(folder / "events.db", SCHEMA, sync=Sync.NORMAL)
    journal = Journal(log)
    for number in range(EVENTS):
        run = LOOP_RUN if number % 2 else f"chat_{number}"
        moment = (START + timedelta(seconds=number)).timestamp()
        kind = EventType.USER_MESSAGE if number % 3 else EventType.ITERATION_STARTED
        journal.record([Event(kind, f"event {number}", time=moment, session=f"s{number % 4}", run=run, iteration=1)])
    found = journal.page(limit=1000, since=0, types=ALL.split(","))
    journal.close()
    return found


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = tmp_path_factory.mktemp("past")
    return folder, written(folder)


@pytest.fixture(scope="module")
def quiet(machine: Processes, past: tuple[Path, list[Event]]) -> Running:
    """An agent without a loop over that log: nothing is written unless somebody asks it something."""
    return machine.start("agent", agent_env(past[0], DEBUG_MOCK_RESPONSES=mocks("hello")))


def page(agent: Running, query: str) -> list[dict[str, Any]]:
    reply = agent.get(f"/memory/events?{query}")
    assert reply.status == 200, reply.text
    listed: list[dict[str, Any]] = reply.json["events"]
    return listed


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [int(event["content"].split()[1]) for event in events if "event " in str(event["content"])]


pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("2026-01-31T12:00:05Z", "2026-01-31T12:00:07Z", 5, 7),
        ("2026-01-31T12:00:04.5Z", "2026-01-31t12:00:07.999999999z", 5, 7),
        ("2026-01-31T13:00:05+01:00", "2026-01-31T12:00:05Z", 5, 5),
        ("2026-01-31 12:00:38Z", "2199-01-01T00:00:00Z", 38, 39),
        ("1969-01-01T00:00:00Z", "2026-01-31T12:00:00Z", 0, 0),
    ],
)
def test_times_bound_a_page_on_both_sides_inclusively(
    quiet: Running, since: str, until: str, first: int, last: int
) -> None:
    for order in ("asc", "desc"):
        found = numbers(page(quiet, f"since={quote(since)}&until={quote(until)}&type={ALL}&order={order}"))
        assert sorted(found) == list(range(first, last + 1)) and found == sorted(found, reverse=order == "desc")


def test_a_time_zone_whose_plus_was_not_escaped_is_understood(quiet: Running) -> None:
    assert numbers(page(quiet, f"since=2026-01-31T13:00:38+01:00&type={ALL}")) == [38, 39]


def test_the_timestamp_of_an_event_finds_that_event(quiet: Running, past: tuple[Path, list[Event]]) -> None:
    quiet.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "now"}]})
    newest = page(quiet, f"order=desc&limit=5&type={ALL}")
    for event in newest:
        at = quote(event["timestamp"])
        assert event in page(quiet, f"since={at}&until={at}&type={ALL}")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since"),
        ("since=2026-01-31", "since"),
        ("since=2026-01-31T12:00:00", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("until=-3", "until"),
        ("since=" + "9" * 30, "since"),
        ("since=" + "9" * 5000, "since"),
        ("limit=0", "limit"),
        ("limit=1.5", "limit"),
        ("order=sideways", "order"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(quiet: Running, query: str, named: str) -> None:
    reply = quiet.get(f"/memory/events?{query}")
    assert reply.status == 400 and reply.json["error"]["message"].startswith(f"{named} is ")


def test_a_stream_says_which_of_its_places_is_wrong(quiet: Running) -> None:
    refused = quiet.get("/memory/events/stream", **{"Last-Event-ID": "x"})
    assert refused.status == 400 and "Last-Event-ID" in refused.json["error"]["message"]
    refused = quiet.get("/memory/events/stream?since=x")
    assert refused.status == 400 and refused.json["error"]["message"].startswith("since is")


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("session", ["", "s1"])
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_pages_in_either_direction_hold_every_event_once(
    quiet: Running, past: tuple[Path, list[Event]], order: str, session: str, limit: int
) -> None:
    last = past[1][-1].seq
    found: list[int] = []
    # The other bound stays the same while one goes along.
    after, end = 0, last
    while True:
        query = f"since={after}&until={end}&limit={limit}&order={order}&type={ALL}&session_id={session}"
        events = page(quiet, query)
        if not events:
            break
        seqs = [event["seq"] for event in events]
        after, end = (seqs[-1], end) if order == "asc" else (after, seqs[-1] - 1)
        found += seqs
    wanted = [event.seq for event in past[1] if not session or event.session == session]
    assert found == (wanted if order == "asc" else wanted[::-1])


def test_newest_first_after_a_place_begins_with_the_newest(quiet: Running, past: tuple[Path, list[Event]]) -> None:
    last = past[1][-1].seq
    found = page(quiet, f"since=1&until={last}&order=desc&limit=2&type={ALL}")
    assert [event["seq"] for event in found] == [last, last - 1]


def test_several_types_may_be_given_in_either_form(quiet: Running) -> None:
    end = quote("2026-01-31T12:00:39Z")
    one = page(quiet, f"type=user_message,iteration_started&until={end}&since=0")
    assert one == page(quiet, f"type=user_message&type=iteration_started&until={end}&since=0")
    assert {event["event_type"] for event in one} == {"user_message", "iteration_started"} and len(one) == EVENTS


def test_every_event_names_its_session(quiet: Running) -> None:
    events = page(quiet, f"since=0&limit=1000&type={ALL}")
    assert all(event["metadata"]["session_id"] for event in events)
    assert {event["metadata"]["session_id"] for event in page(quiet, "session_id=s2")} == {"s2"}


def test_a_log_that_grows_is_read_to_its_end_without_loss_or_double(machine: Processes, tmp_path: Path) -> None:
    env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES=mocks("on"), AUTONOMOUS_GOAL="go")
    agent = machine.start("agent", env)
    found: list[int] = []
    while len(found) < 700:
        seqs = [event["seq"] for event in page(agent, f"since={found[-1] if found else 0}&limit=7&type={ALL}")]
        found += seqs
    assert found == list(range(1, len(found) + 1)), "a log that was never trimmed has no holes"
    agent.kill()


def descriptors(agent: Running) -> int:
    return psutil.Process(agent.process.pid).num_fds()


def test_readers_that_leave_an_agent_in_which_nothing_happens_leave_nothing_behind(quiet: Running) -> None:
    before = descriptors(quiet)
    address = urlsplit(quiet.url)
    readers = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
    for reader in readers:
        reader.sendall(b"GET /memory/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in reader.recv(4096)
    assert descriptors(quiet) >= before + 20
    for reader in readers:
        reader.close()
    eventually(lambda: descriptors(quiet) <= before, "their connections are closed", 5)


def test_a_reader_that_takes_nothing_delays_nobody_and_costs_a_bounded_buffer(
    machine: Processes, tmp_path: Path
) -> None:
    large = mocks("x" * 20_000)
    agent = machine.start("agent", agent_env(tmp_path, DEBUG_MOCK_RESPONSES=large, AUTONOMOUS_GOAL="go"))
    address = urlsplit(agent.url)
    sleepers = []
    for _ in range(5):
        sleeper = socket.socket()
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleeper.connect((address.hostname, address.port))
        sleeper.sendall(b"GET /memory/events/stream?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sleepers.append(sleeper)

    def iteration() -> int:
        return int(agent.get("/loop").json["iteration"])

    def resident() -> int:
        return int(psutil.Process(agent.process.pid).memory_info().rss)

    begun = eventually(lambda: iteration() if iteration() > 20 else 0, "it works")
    at_first = resident()
    eventually(lambda: iteration() > begun + 400, "it goes on as ever")
    assert resident() - at_first < 60_000_000, "what was written meanwhile is 40 MB for each of five readers"
    for sleeper in sleepers:
        sleeper.close()
    agent.kill()


def test_a_reader_with_a_place_beyond_the_end_is_one_of_another_log(quiet: Running) -> None:
    with stream(f"{quiet.url}/memory/events/stream", **{"Last-Event-ID": "99999999"}) as frames:
        assert next(frames)["data"]["seq"] == 1


def test_a_stream_may_begin_at_a_time(quiet: Running) -> None:
    with stream(f"{quiet.url}/memory/events/stream?since={quote('2026-01-31T12:00:30Z')}") as frames:
        assert next(frames)["data"]["content"] == "event 30"


def test_a_reader_cut_again_and_again_gets_every_event_once_while_the_log_grows(
    machine: Processes, tmp_path: Path
) -> None:
    agent = machine.start("agent", agent_env(tmp_path, DEBUG_MOCK_RESPONSES=mocks("on"), AUTONOMOUS_GOAL="go"))
    seen: list[int] = []
    for part in range(12):
        given = {"Last-Event-ID": str(seen[-1])} if seen else {}
        with stream(f"{agent.url}/memory/events/stream?since=0", **given) as frames:
            seen += [int(next(frames)["id"]) for _ in range(17 + part)]
    assert seen == list(range(1, len(seen) + 1))
    agent.kill()


def test_many_readers_at_once_see_the_same(machine: Processes, tmp_path: Path) -> None:
    env = agent_env(tmp_path, DEBUG_MOCK_RESPONSES=mocks("on"), AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="1")
    agent = machine.start("agent", env)
    seen: list[list[str]] = [[] for _ in range(10)]

    def read(into: list[str]) -> None:
        with stream(f"{agent.url}/memory/events/stream?since=0") as frames:
            into += [json.dumps(next(frames), sort_keys=True) for _ in range(20)]

    readers = [threading.Thread(target=read, args=(into,)) for into in seen]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert len(seen[0]) == 20 and all(each == seen[0] for each in seen)
    agent.kill()


async def test_a_reader_that_takes_nothing_for_long_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(memory, "STALL_SECONDS", 0.2)
    shell = Shell("agent", "a", {}, port=0)
    log = Log.open(tmp_path / "events.db", SCHEMA, sync=Sync.NORMAL)
    journal = Journal(log)
    shell.app.router.add_get("/stream", Memory(shell, journal, enabled=True).stream)
    await shell.listen()
    journal.record([Event(EventType.USER_MESSAGE, "x" * 1_000_000, session="s", run=LOOP_RUN)] * 20)
    reader, writer = await asyncio.open_connection("127.0.0.1", shell.port, limit=1024)
    writer.write(b"GET /stream?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.read(1)
        while log._listeners:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
    await shell.close()
    journal.close()
