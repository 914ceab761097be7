"""The journal over its log: redaction, sessions, pages, following, trimming."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.runtime.agent import journal as writing
from kaos_ext.runtime.agent import retention
from kaos_ext.runtime.agent.journal import Journal
from kaos_ext.runtime.agent.records import DENSE, SCHEMA
from kaos_ext.runtime.agent.retention import Retention
from kaos_ext.store import FullError, Log, Sync


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log.open(tmp_path / "events.db", SCHEMA, sync=Sync.NORMAL)
    yield log
    log.close()


def said(text: str, *, iteration: int = 1, run: str = LOOP_RUN, session: str = "s1") -> Event:
    return Event(EventType.USER_MESSAGE, text, session=session, run=run, iteration=iteration)


def end(iteration: int) -> Event:
    return Event(
        EventType.ITERATION_FINISHED, {"outcome": "Completed"}, session="s1", run=LOOP_RUN, iteration=iteration
    )


def test_what_is_recorded_is_read_back_as_it_was(log: Log) -> None:
    journal = Journal(log)
    event = Event(
        EventType.TOOL_CALL, {"tool": "ü", "arguments": {"a": [1]}}, 0, 5.0, "s", "loop", 2, 1, {"call_id": "c"}
    )
    recorded = journal.record([event])
    assert journal.of_run("loop")[-1] == recorded[0] and recorded[0].seq == 2, "after the start of its session"


def test_secrets_are_gone_from_every_corner_of_a_row(log: Log) -> None:
    journal = Journal(log, ["hunter22", "hunter22-long"])
    content = {"text": "a hunter22-long b hunter22", "hunter22": ["hunter22", {"x": "hunter22"}]}
    kept = journal.record([Event(EventType.TOOL_RESULT, content, run="loop", session="s", data={"d": "hunter22"})])
    written = journal.of_run("loop")[-1]
    assert "hunter22" not in str(written.content) + str(written.data)
    assert written.content["text"] == "a [redacted] b [redacted]"
    assert kept[0].content["text"].startswith("a hunter22"), "this process still works with the real value"


def test_sessions_are_listed_once_in_order_and_known_after_a_restart(log: Log) -> None:
    Journal(log).record([said("1", session="b"), said("2", session="a"), said("3", session="b")])
    again = Journal(log)
    again.record([said("4", session="a"), said("5", session="c")])
    assert again.sessions == ["b", "a", "c"]


def test_history_is_the_newest_talk_of_one_session(log: Log) -> None:
    journal = Journal(log)
    for number in range(5):
        answer = Event(EventType.AGENT_RESPONSE, f"a{number}", run="c", session="s1")
        journal.record([said(f"q{number}", run="c"), answer, said("other", session="s2")])
    assert journal.history("s1", 3) == [("assistant", "a3"), ("user", "q4"), ("assistant", "a4")]
    assert journal.history("s1", 0) == []
    assert journal.history("s1", 9, before=journal.of_run("c")[2].seq) == [("user", "q0"), ("assistant", "a0")]


def test_an_iteration_longer_than_the_limit_is_shown_in_part_rather_than_not_at_all(log: Log) -> None:
    journal = Journal(log)
    journal.record([said(str(number)) for number in range(10)])
    assert [event.content for event in journal.page(limit=3)] == ["7", "8", "9"]


def test_pages_go_forward_backward_and_by_type(log: Log) -> None:
    journal = Journal(log)
    journal.record([said("1"), said("2"), end(1), said("3", iteration=2)])
    assert [event.content for event in journal.page(limit=2, since=0)] == ["1", "2"]
    assert [event.content for event in journal.page(limit=9, descending=True)] == ["3", "2", "1"]
    assert len(journal.page(limit=9, types=["iteration_finished"])) == 1
    assert len(journal.page(limit=9, session="nobody")) == 0


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind not in DENSE])
def test_a_page_of_a_type_that_can_be_rare_is_looked_up_however_long_the_log_is(log: Log, kind: EventType) -> None:
    journal = Journal(log)
    journal.record([Event(kind, {}, session="s1", run="r", iteration=1)])
    journal.record([said(str(n)) for n in range(2000)])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    log._reader.set_progress_handler(count, 100)
    assert {event.type for event in journal.page(limit=100, types=[kind])} == {kind}
    assert {event.type for event in journal.of_type(kind, limit=100)} == {kind}
    looked_up, steps = steps, 0
    assert log.select("+type = ?", (kind,))
    assert looked_up < steps / 10, "going along the log is what it does not do"


@pytest.mark.parametrize("kind", sorted(DENSE))
def test_types_that_every_iteration_has_are_found_along_the_log(log: Log, kind: EventType) -> None:
    journal = Journal(log)
    for n in range(50):
        journal.record([Event(other, {"n": n}, session="s1", run=LOOP_RUN, iteration=n) for other in sorted(DENSE)])
    newest = [event.content["n"] for event in journal.page(limit=3, types=[kind])]
    assert newest == [47, 48, 49]
    assert [event.content["n"] for event in journal.of_type(kind, limit=2)] == [49, 48]


async def test_following_gives_what_there_is_and_then_what_comes(log: Log) -> None:
    journal = Journal(log)
    journal.record([said("1")])
    following = journal.follow(0, types=["user_message"])
    assert (await anext(following)).content == "1"
    coming = asyncio.ensure_future(anext(following))
    journal.record([end(1)])
    journal.record([said("2")])
    assert (await asyncio.wait_for(coming, 5)).content == "2"
    await following.aclose()  # type: ignore[attr-defined]


def test_trimming_keeps_what_the_loop_goes_on_from(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TRIM_EVERY", 20)
    journal = Journal(log, retention=Retention(events=50))
    for number in range(1, 9):
        journal.record([said("goal", iteration=number), end(number)])
    for number in range(100):
        journal.record([said("chat", run=f"chat_{number}", session="s2")])
    left = [event.iteration for event in journal.of_run(LOOP_RUN) if event.type == EventType.ITERATION_FINISHED]
    assert left == [4, 5, 6, 7, 8]
    assert log.count() < 100 and journal.sessions == ["s1", "s2"]


async def test_waiting_for_the_lock_ends_when_the_process_is_to_stop(log: Log) -> None:
    stopping, reasons = asyncio.Event(), []

    def waiting(reason: str) -> None:
        reasons.append(reason)
        stopping.set()

    assert await Journal.open(log.path, [], waiting=waiting, stopping=stopping) is None
    assert "being written by process" in reasons[0]


def test_a_session_keeps_its_newest_events_and_the_oldest_sessions_are_forgotten(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TRIM_EVERY", 20)
    journal = Journal(log, retention=Retention(sessions=3, session_events=10))
    for number in range(200):
        journal.record([said(str(number), run=f"chat_{number}", session=f"s{number % 5}")])
    journal.record([said(f"more {number}", run="chat_x", session="s4") for number in range(40)])
    assert len(journal.page(limit=100, session="s4")) == 10
    assert len(journal.sessions) == 3 and log.count() < 120


def test_events_beyond_their_age_go_with_the_next_one_however_few_there_are(log: Log) -> None:
    now = 1000.0
    journal = Journal(log, retention=Retention(age_seconds=3600), clock=lambda: now)
    journal.record([said("old", run="chat_1", session="s")])
    now += 3500
    journal.record([said("young", run="chat_2", session="s")])
    assert [event.content for event in journal.page(limit=9)] == ["old", "young"]
    now += 200
    journal.forget()
    assert [event.content for event in journal.page(limit=9)] == ["young"]
    now += 3600
    journal.record([said("new", run="chat_3", session="s")])
    assert [event.content for event in journal.page(limit=9)] == ["new"]


def test_a_process_that_starts_lets_go_what_grew_too_old_meanwhile(log: Log) -> None:
    Journal(log, clock=lambda: 1000.0).record([said("old", run="chat_1", session="s")])
    Journal(log, retention=Retention(age_seconds=60), clock=lambda: 2000.0).forget()
    assert log.count("type = ?", (EventType.USER_MESSAGE,)) == 0


def test_what_the_loop_goes_on_from_is_no_question_of_age(log: Log) -> None:
    now = 1000.0
    journal = Journal(log, retention=Retention(age_seconds=10), clock=lambda: now)
    for number in range(1, 9):
        journal.record([said("goal", iteration=number), end(number)])
        now += 100
    journal.forget()
    left = [event.iteration for event in journal.of_run(LOOP_RUN) if event.type == EventType.ITERATION_FINISHED]
    assert left == [4, 5, 6, 7, 8]


def test_events_beyond_their_age_go_and_what_was_spent_stays(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TRIM_EVERY", 10)
    now = 1000.0
    journal = Journal(log, retention=Retention(age_seconds=100), clock=lambda: now)
    call = Event(EventType.TOOL_CALL, {"tool": "t"}, run="chat_1", session="s")
    journal.record([call] * 7)
    journal.record([Event(EventType.ITERATION_FINISHED, {}, run="chat_1", session="s")])
    now = 2000.0
    journal.record([said(str(number), run="chat_2", session="s") for number in range(30)])
    assert not journal.of_run("chat_1")
    assert journal.ledger.life.tool_calls == 7
    assert Journal(log).ledger == journal.ledger, "a new process knows it from the summary"


class Full:
    """A log whose disk is full as long as `full` says so."""

    def __init__(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self.written = False, asyncio.Event()
        self.transactions: list[tuple[list[Any], bool]] = []
        append = log.append

        def guarded(rows: Any, *, sync: bool = False) -> list[int]:
            if self.full:
                raise FullError("the disk is full")
            self.transactions.append(([row["type"] for row in rows], sync))
            self.written.set()
            return append(rows, sync=sync)

        monkeypatch.setattr(log, "append", guarded)


async def test_what_is_held_is_written_with_the_next_event_and_before_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, disk = Journal(log), Full(log, monkeypatch)
    held = journal.hold([said("1")])
    assert journal.of_run(LOOP_RUN) == [], "it has happened, and is not on record"
    then = journal.record([said("2")], sync=True)
    assert journal.of_run(LOOP_RUN) == [*held, *then] and held[0].seq < then[0].seq
    assert [len(types) for types, _ in disk.transactions] == [3], "one transaction, the session's start in it"
    await asyncio.sleep(0)
    assert len(disk.transactions) == 1, "nothing is left to write"


async def test_what_is_held_is_written_before_anybody_else_can_wait_for_it(log: Log) -> None:
    journal = Journal(log)
    held = journal.hold([said("1")])
    await asyncio.sleep(0)
    assert journal.of_run(LOOP_RUN) == held


async def test_what_is_held_on_a_full_disk_is_written_in_its_order_once_there_is_room(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "STORE_TROUBLE_SECONDS", 0.01)
    journal, disk = Journal(log), Full(log, monkeypatch)
    disk.full = True
    held = journal.hold([said("1")])
    await asyncio.sleep(0)
    with pytest.raises(FullError):
        journal.record([said("refused")])
    held += journal.hold([said("2")])
    disk.full = False
    async with asyncio.timeout(5):
        await disk.written.wait()
    assert journal.of_run(LOOP_RUN) == held
    assert journal.record([said("3")])[0].seq == held[-1].seq + 1, "what was refused has not happened"


async def test_what_is_held_when_the_journal_closes_is_written(tmp_path: Path) -> None:
    journal = Journal(Log.open(tmp_path / "closing.db", SCHEMA, sync=Sync.NORMAL))
    journal.hold([said("1")])
    journal.close()
    reopened = Log.open(tmp_path / "closing.db", SCHEMA)
    assert [event.content for event in Journal(reopened).of_run(LOOP_RUN)] == ["1"]
    reopened.close()


@pytest.mark.parametrize("step", ["append", "set_meta", "checkpoint"])
def test_a_journal_is_closed_also_when_the_disk_is_full(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: Any, **more: Any) -> None:
        raise FullError("the disk is full")

    opened = Log.open(tmp_path / "events.db", SCHEMA)
    journal = Journal(opened)
    monkeypatch.setattr(opened, step, full)
    journal.close()
    Log.open(tmp_path / "events.db", SCHEMA).close()


async def test_what_is_held_when_the_journal_closes_on_a_full_disk_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "STORE_TROUBLE_SECONDS", 0)
    log = Log.open(tmp_path / "closing.db", SCHEMA, sync=Sync.NORMAL)
    journal, disk = Journal(log), Full(log, monkeypatch)
    disk.full = True
    journal.hold([said("1")])
    await asyncio.sleep(0)
    journal.close()
    caplog.clear()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not caplog.records, "nothing is tried on a closed log"


async def test_what_was_spent_is_added_up_when_there_is_time_and_is_right_whenever_it_is_asked_for(log: Log) -> None:
    journal = Journal(log)
    asked = Event(EventType.MODEL_REQUEST, {"reserved": {"tokens": 1}}, session="s1", run=LOOP_RUN, iteration=1)
    for count in range(1, 3 * writing.MOST_UNBOOKED):
        journal.record([asked])
        if count % 7 == 0:
            assert journal.ledger.life.model_calls == count
        if count % 10 == 0:
            await asyncio.sleep(0)
            assert len(journal._unbooked) < writing.FEW_UNBOOKED
    assert journal.ledger.life.model_calls == 3 * writing.MOST_UNBOOKED - 1


def test_without_an_event_loop_no_more_than_a_few_events_wait_to_be_added_up(log: Log) -> None:
    journal = Journal(log)
    for n in range(3 * writing.MOST_UNBOOKED):
        journal.record([said(str(n))])
        assert len(journal._unbooked) < writing.MOST_UNBOOKED
