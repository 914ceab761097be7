"""The agent's journal: events on a log, redacted before they are written, and the queries the agent needs.

One row is one event; events between which nothing is done may share a transaction. The intent of a tool call that must
not be repeated is synced to the disk before the call; every other row survives the death of the process at once. The
log's lock makes this process the only writer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kaos_ext.loop import Ledger, ledger
from kaos_ext.loop.state import DIGEST_ITERATIONS
from kaos_ext.model.events import ITERATION_ENDS, KAOS_TYPES, LOOP_RUN, Event, EventType, Outcome
from kaos_ext.model.values import changed
from kaos_ext.runtime.secrets import Redactor
from kaos_ext.store import DamagedError, LockedError, Log, Row, Schema, StoreError, Sync, follow
from kaos_ext.store.salvage import Salvaged, mark, salvage

SCHEMA = Schema(
    columns=(
        ("time", "REAL NOT NULL"),
        ("type", "TEXT NOT NULL"),
        ("run", "TEXT NOT NULL"),
        ("session", "TEXT NOT NULL"),
        ("iteration", "INTEGER NOT NULL"),
        ("step", "INTEGER NOT NULL"),
        ("content", "TEXT NOT NULL"),
        ("data", "TEXT"),
    ),
    indexes=(("run", "id"), ("session", "id"), ("type", "id")),
)
TRIM_EVERY = 10_000
FEW_TYPES = 8
MOST_SUPERSEDED = 10
"""So many ends are looked through for each that a digest tells of."""
CHECKPOINT_EVERY = 1_000
MOST_UNBOOKED = 64
"""Events whose spending is added up together, when nobody asks before; they are kept in memory so long."""
LOCK_POLL_SECONDS = 0.1
STORE_TROUBLE_SECONDS = 1.0
log = logging.getLogger(__name__)
LEDGER = "ledger"
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
KEPT_TYPES = (EventType.SESSION_STARTED, EventType.RUN_REQUESTED)
"""What an agent has to know however long ago it was."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept; 0 is everything."""

    events: int = 200_000
    """Of all runs and sessions together."""
    age_seconds: float = 0
    sessions: int = 0
    session_events: int = 0
    """Events of one session, as memory shows them."""


def _trim_every(kept: Retention) -> int:
    """Often enough that a small limit is not exceeded by much."""
    limits = [limit for limit in (kept.events, kept.session_events) if limit]
    return min([TRIM_EVERY, *(max(100, limit) for limit in limits)])


class Journal:
    _ledger = Ledger()
    _unbooked: Sequence[Event] = ()
    """Events that are not in the ledger yet."""

    def __init__(
        self,
        log: Log,
        secrets: Iterable[str] = (),
        *,
        retention: Retention | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._retention = retention or Retention()
        self._redactor = Redactor(secrets)
        self._clock = clock
        self._sessions = {str(row["session"]) for row in log.select("type = ?", (EventType.SESSION_STARTED,))}
        self._touched: set[str] = set()
        """Sessions with new events since the last trim."""
        self._since_trim = self._since_checkpoint = 0
        self._trim_every = _trim_every(self._retention)
        self._aged_at = -1e9
        """When events were last looked at for their age."""
        self._held: list[dict[str, Any]] = []
        """Rows of events that have happened and are not written yet."""
        self.observers: list[Callable[[Sequence[Event]], None]] = []
        """Told of what was written, at once and in the task that wrote it."""
        self.ledger = self._spending()

    @classmethod
    async def open(
        cls,
        path: Path,
        secrets: Iterable[str],
        *,
        retention: Retention | None = None,
        waiting: Callable[[str], None],
        stopping: asyncio.Event,
    ) -> Journal | None:
        """Open the log, waiting while another process writes it; None when told to stop meanwhile.

        One that is damaged is set aside, and what can be read of it goes on: the agent works at its goal, not at it.
        """
        salvaged: Salvaged | None = None
        while not stopping.is_set():
            try:
                if salvaged is None and mark(path).exists():
                    salvaged = await asyncio.to_thread(salvage, path, SCHEMA)
                    log.error("%s is damaged; what can be read goes on in a new file (%s)", path, salvaged)
                opened = Log.open(path, SCHEMA, sync=Sync.NORMAL, auto_checkpoint=False)
                try:
                    journal = cls(opened, secrets, retention=retention)
                    journal.of_run(LOOP_RUN, iterations=DIGEST_ITERATIONS)  # What the loop goes on from.
                    if salvaged is not None:
                        told = {"rows": salvaged.rows, "lost": salvaged.lost, "file": salvaged.aside.name}
                        journal.record([Event(EventType.JOURNAL_SALVAGED, told)])
                except BaseException:
                    opened.close()
                    raise
                return journal
            except LockedError as error:
                waiting(str(error))
            except DamagedError:
                if salvaged is not None:
                    raise
                continue
            try:
                await asyncio.wait_for(stopping.wait(), LOCK_POLL_SECONDS)
            except TimeoutError:
                continue
        return None

    def record(self, events: Sequence[Event], *, sync: bool = False) -> list[Event]:
        """Write events, after those that are held, in one transaction; returns them with their places.

        What is written is redacted. When it cannot be written, `events` have not happened.
        """
        placed, rows = self._placed(events)
        written = [*self._held, *rows]
        if written:
            self._log.append(written, sync=sync)
            self._held.clear()
            self._happened(placed)
            self._tidy(len(written))
        return placed

    def hold(self, events: Sequence[Event]) -> list[Event]:
        """Take events that are written together with the next ones, or else when the event loop has control again.

        For what is followed by another event before anything is done: one transaction instead of two. They have
        happened now; while they cannot be written that is tried again and again, and nothing can be recorded.
        """
        placed, rows = self._placed(events)
        if not self._held:
            asyncio.get_running_loop().call_soon(self._write_held)
        self._held += rows
        self._happened(placed)
        return placed

    def _write_held(self) -> None:
        try:
            self.record(())
        except StoreError as error:
            log.error("cannot write events: %s", error)
            asyncio.get_running_loop().call_later(STORE_TROUBLE_SECONDS, self._write_held)

    def _placed(self, events: Sequence[Event]) -> tuple[list[Event], list[dict[str, Any]]]:
        """Events as they will be on record, and their rows; the first of a session has that session's start before."""
        now, seq = self._clock(), self._log.last_id + len(self._held)
        placed, rows, begun = [], [], set()
        for event in events:
            session = event.session
            if session and session not in self._sessions and session not in begun:
                begun.add(session)
                seq += 1
                rows.append(self._row(Event(EventType.SESSION_STARTED, "", seq, event.time or now, session)))
            seq += 1
            event = changed(event, seq=seq, time=event.time or now)
            try:
                row = self._row(event)
            except UnicodeEncodeError:  # Half a surrogate pair is JSON, and no text.
                event = _encodable(event)
                row = self._row(event)
            placed.append(event)
            rows.append(row)
        return placed, rows

    def _happened(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.session:
                self._sessions.add(event.session)
                if self._retention.session_events:
                    self._touched.add(event.session)
        self._unbooked = [*self._unbooked, *events]
        if len(self._unbooked) >= MOST_UNBOOKED:
            self._book()
        for observer in self.observers:
            observer(events)

    @property
    def ledger(self) -> Ledger:
        """What the agent has spent, all runs together: the fold of everything that has happened."""
        if self._unbooked:
            self._book()
        return self._ledger

    @ledger.setter
    def ledger(self, known: Ledger) -> None:
        self._ledger, self._unbooked = known, ()

    def _book(self) -> None:
        self._ledger, self._unbooked = ledger.fold(self._ledger, *self._unbooked), ()

    def _spending(self) -> Ledger:
        """What was spent, from the last summary on; trimmed events are in it."""
        kept = self._log.meta(LEDGER)
        found = Ledger() if kept is None else Ledger.from_json(json.loads(kept))
        for row in self._log.select("id > ?", (found.seq,)):
            found = ledger.fold(found, _event(row))
        return found

    def _keep_spending(self) -> None:
        self._log.set_meta(LEDGER, json.dumps(self.ledger.to_json()))

    def written(self, text: str) -> str:
        """A text as it is written down: without secret values."""
        return self._redactor.text(text)

    def _row(self, event: Event) -> dict[str, Any]:
        return {
            "id": event.seq,
            "time": event.time,
            "type": str(event.type),
            "run": event.run,
            "session": event.session,
            "iteration": event.iteration,
            "step": event.step,
            "content": self._json(event.content),
            "data": self._json(dict(event.data)) if event.data else None,
        }

    def _json(self, value: Any) -> str:
        text = _ENCODER.encode(self._redactor.value(value))
        if not text.isascii():
            text.encode()  # SQLite would find it out, but not of which event.
        return text

    def _tidy(self, appended: int) -> None:
        self._since_checkpoint += appended
        self._since_trim += appended
        try:
            if self._since_checkpoint >= CHECKPOINT_EVERY:
                self._since_checkpoint = 0
                self._keep_spending()
                self._log.checkpoint()
            if self._since_trim >= self._trim_every or self._aging():
                self._since_trim = 0
                self._keep_spending()
                self._trim()
        except StoreError as error:
            # The events are on record; tidying is for later.
            log.warning("the journal cannot be tidied up: %s", error)

    def forget(self) -> None:
        """Let go what is too old, though nothing is written; to be called every now and then (`forget_seconds`)."""
        self._tidy(0)

    @property
    def forget_seconds(self) -> float:
        """How often events are looked at for their age; 0 when they may grow as old as they like."""
        age = self._retention.age_seconds
        return max(1.0, min(60.0, age / 10)) if age else 0.0

    def _aging(self) -> bool:
        if not self._retention.age_seconds or self._clock() - self._aged_at < self.forget_seconds:
            return False
        self._aged_at = self._clock()
        return True

    def _trim(self) -> None:
        # What the resident loop and open tasks go on from after a restart is kept however old it is.
        runs = [LOOP_RUN, *self._open_runs()]
        firsts = {run: self._start_of(run, DIGEST_ITERATIONS) if run == LOOP_RUN else 0 for run in runs}
        kept, types = self._retention, ", ".join("?" * len(KEPT_TYPES))
        begun = "NOT (type = ? AND run = ?)"
        spared = " AND ".join([f"type NOT IN ({types})", begun, *("NOT (run = ? AND id > ?)" for _ in firsts)])
        values: list[Any] = [*map(str, KEPT_TYPES), EventType.LOOP_STARTED, LOOP_RUN]
        values += [value for pair in firsts.items() for value in pair]
        if kept.events:
            self._log.trim(f"id < ? AND {spared}", (self._log.last_id - kept.events, *values))
        if kept.age_seconds:
            self._log.trim(f"time < ? AND {spared}", (self._clock() - kept.age_seconds, *values))
        if kept.session_events:
            for session in self._touched:
                self._trim_session(session, kept.session_events, spared, values)
        self._touched.clear()
        self._trim_beginnings()
        if kept.sessions:
            for session in self._forgotten():
                self._log.trim(f"session = ? AND {spared}", (session, *values))
                self._log.trim("session = ? AND type = ?", (session, EventType.SESSION_STARTED))
                self._sessions.discard(session)

    def _trim_beginnings(self) -> None:
        """How the loop was taken up is kept as long as an iteration that was worked at then: a replay asks for it."""
        of = "type = ? AND run = ?"
        oldest = self._log.select(of, (EventType.ITERATION_STARTED, LOOP_RUN), limit=1)
        if oldest:
            begun = (EventType.LOOP_STARTED, LOOP_RUN)
            own = self._log.select(f"{of} AND id < ?", (*begun, oldest[0]["id"]), descending=True, limit=1)
            if own:
                self._log.trim(f"{of} AND id < ?", (*begun, own[0]["id"]))

    def _open_runs(self) -> list[str]:
        return [run for run in self.ledger.accounts if run != LOOP_RUN]

    def _trim_session(self, session: str, most: int, spared: str, values: Sequence[Any]) -> None:
        shown = f"session = ? AND +type IN ({', '.join('?' * len(KAOS_TYPES))})"
        newest = self._log.select(shown, (session, *map(str, KAOS_TYPES)), descending=True, limit=most)
        if len(newest) == most:
            self._log.trim(f"session = ? AND id < ? AND {spared}", (session, int(newest[-1]["id"] or 0), *values))

    def _forgotten(self) -> list[str]:
        """Sessions beyond the most that are kept; the loop's own is never one."""
        listed = [str(row["session"]) for row in self._log.select("type = ?", (EventType.SESSION_STARTED,))]
        newest = self._log.select("run = ?", (LOOP_RUN,), descending=True, limit=1)
        own = {str(row["session"]) for row in newest}
        return [name for name in listed[: -self._retention.sessions] if name not in own]

    def on_append(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each write; returns what takes it off again."""
        return self._log.on_append(listener)

    @property
    def last(self) -> int:
        return self._log.last_id

    @property
    def sessions(self) -> list[str]:
        listed = [str(row["session"]) for row in self._log.select("type = ?", (EventType.SESSION_STARTED,))]
        if not self._retention.sessions:
            return listed
        forgotten = set(self._forgotten())
        return [name for name in listed if name not in forgotten]

    def of_run(self, run: str, *, iterations: int = 0) -> list[Event]:
        """Events of a run, oldest first; with `iterations` from the end of the one that many back."""
        after = self._start_of(run, iterations) if iterations else 0
        return [_event(row) for row in self._log.select("run = ? AND id > ?", (run, after))]

    def _start_of(self, run: str, iterations: int) -> int:
        """The place just before the end of the iteration that many back, of those that a digest tells of."""
        marks = ", ".join("?" * len(ITERATION_ENDS))
        condition = f"run = ? AND +type IN ({marks})"
        most = iterations * MOST_SUPERSEDED
        first = told = 0
        for row in self._log.select(condition, (run, *map(str, ITERATION_ENDS)), descending=True, limit=most):
            first = int(row["id"] or 0) - 1
            told += json.loads(str(row["content"])).get("outcome") != Outcome.SUPERSEDED
            if told == iterations:
                break
        return first

    def unfinished_tasks(self) -> list[str]:
        """Tasks whose end is not on record, oldest first."""
        ended = (EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TASK_CANCELED)
        left = f"type = ? AND run NOT IN (SELECT run FROM log WHERE type IN ({', '.join('?' * len(ended))}))"  # noqa: S608
        rows = self._log.select(left, (str(EventType.TASK_SUBMITTED), *map(str, ended)))
        return [str(row["run"]) for row in rows]

    def of_type(self, *types: str, limit: int | None = None) -> list[Event]:
        """Newest events of some types, newest first."""
        marks = ", ".join("?" * len(types))
        return [_event(row) for row in self._log.select(f"type IN ({marks})", types, descending=True, limit=limit)]

    def history(self, session: str, limit: int, *, before: int | None = None) -> list[tuple[str, str]]:
        """The newest messages of a session (before a place) as (role, text), oldest first."""
        if limit <= 0:
            return []
        end = self.last + 1 if before is None else before
        rows = self._log.select(
            "session = ? AND id < ? AND +type IN (?, ?)",
            (session, end, EventType.USER_MESSAGE, EventType.AGENT_RESPONSE),
            descending=True,
            limit=limit,
        )
        events = [_event(row) for row in reversed(rows)]
        return [("user" if e.type == EventType.USER_MESSAGE else "assistant", str(e.content)) for e in events]

    def page(
        self,
        *,
        limit: int,
        session: str = "",
        types: Sequence[str] = (),
        since: int | None = None,
        until: int | None = None,
        descending: bool = False,
    ) -> list[Event]:
        """Events as memory shows them, in the order of the log unless `descending`.

        Ascending with `since` the oldest `limit` events after it, so that pages follow each other; else the newest.
        Where neither a place nor an order is asked for these are only whole iterations, as far as one fits.
        """
        chosen = types or tuple(map(str, KAOS_TYPES))
        if session and self._retention.session_events and not types:
            limit = min(limit, self._retention.session_events)
        bounds = [(c, v) for c, v in (("id > ?", since), ("id <= ?", until)) if v is not None]
        places, parameters = " AND ".join(clause for clause, _ in bounds), [value for _, value in bounds]
        if len(chosen) <= FEW_TYPES and not session:
            where, values = _newest_or_oldest(chosen, places, parameters, limit + 1, since is None or descending)
        else:
            # SQLite would gather and sort all rows of several types; the unary plus makes it go along the log instead,
            # which ends after a page.
            column = "type" if len(chosen) == 1 else "+type"
            clauses = [f"{column} IN ({', '.join('?' * len(chosen))})", *([places] if places else [])]
            values = [*chosen, *parameters]
            if session:
                clauses, values = [*clauses, "session = ?"], [*values, session]
            where = " AND ".join(clauses)
        if descending:
            return [_event(row) for row in self._log.select(where, values, descending=True, limit=limit)]
        if since is not None:
            return [_event(row) for row in self._log.select(where, values, limit=limit)]
        rows = self._log.select(where, values, descending=True, limit=limit + 1)
        events = [_event(row) for row in reversed(rows)]
        if len(events) <= limit:
            return events
        return _whole(events) if until is None else events[1:]

    def place_before(self, when: float) -> int:
        """The place of the last event before this time; 0 when there is none.

        Found by halving, so as fast in a long log; exact as long as the clock did not go back in between.
        """
        low, high = 0, self.last
        while low < high:
            middle = (low + high + 1) // 2
            newest = self._log.select("id <= ?", (middle,), descending=True, limit=1)
            if not newest or float(newest[0]["time"] or 0) < when:
                low = middle
            else:
                high = int(newest[0]["id"] or 0) - 1
        return low

    async def follow(self, after: int, types: Sequence[str] = (), session: str = "") -> AsyncIterator[Event]:
        """Events after a place: those there are, then each as it happens."""
        condition, parameters = [], []
        if types:
            condition.append(f"type IN ({', '.join('?' * len(types))})")
            parameters += list(types)
        if session:
            condition.append("session = ?")
            parameters.append(session)
        where = " AND ".join(condition)
        rows = cast("AsyncGenerator[Row]", follow(self._log, after=after, where=where, parameters=parameters))
        try:
            async for row in rows:
                yield _event(row)
        finally:
            await rows.aclose()

    def close(self) -> None:
        try:
            self.record(())
            self._keep_spending()
            self._log.checkpoint()
        except StoreError as error:
            log.warning("the last events, or the summary of what was spent, are not written: %s", error)
        finally:
            self._held.clear()  # Nobody is to try it again on a log that is closed.
            self._log.close()


def _newest_or_oldest(
    types: Sequence[str], places: str, parameters: Sequence[int], limit: int, newest: bool
) -> tuple[str, list[Any]]:
    """The condition for the first or last rows of some types: so many of each by its index, of which a page is made.

    However rare a type is, nothing is read but what is shown.
    """
    bounds, order = f" AND {places}" if places else "", " DESC" if newest else ""
    # Only names of this module and a number are in the text.
    one = f"SELECT id FROM (SELECT id FROM log WHERE type = ?{bounds} ORDER BY id{order} LIMIT {limit})"  # noqa: S608
    return f"id IN ({' UNION ALL '.join([one] * len(types))})", [v for kind in types for v in (kind, *parameters)]


def _encodable(event: Event) -> Event:
    return changed(
        event, session=_text(event.session), content=_text(event.content), data=_text(dict(event.data))
    )  # fmt: skip


def _text(value: Any) -> Any:
    """A JSON value whose texts can be written, with `?` for what cannot."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {_text(key): _text(item) for key, item in value.items()}
        case list() | tuple():
            return [_text(item) for item in value]
    return value


def _whole(events: list[Event]) -> list[Event]:
    """Without the first event and the rest of its iteration, unless nothing would be left."""
    cut = (events[0].run, events[0].iteration)
    rest = [event for event in events[1:] if (event.run, event.iteration) != cut]
    return rest or events[1:]


def _event(row: Row) -> Event:
    return Event(
        type=_TYPES.get(str(row["type"]), str(row["type"])),
        content=json.loads(str(row["content"])),
        seq=int(row["id"] or 0),
        time=float(row["time"] or 0),
        session=str(row["session"]),
        run=str(row["run"]),
        iteration=int(row["iteration"] or 0),
        step=int(row["step"] or 0),
        data=json.loads(str(row["data"])) if row["data"] else {},
    )


_TYPES: dict[str, str] = {member.value: member for member in EventType}
