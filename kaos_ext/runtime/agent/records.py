"""What is on record: events as rows of a log, and all that is asked of them.

Pages and streams as memory shows them, the messages of a session, what a run goes on from. A page costs what it shows,
however long the log is. The process that writes the log reads it too: its journal is such records.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, cast

from kaos_ext.model.events import ITERATION_ENDS, KAOS_TYPES, LOOP_RUN, Event, EventType, Outcome
from kaos_ext.store import Log, Row, Schema, follow

DENSE = frozenset(
    {
        EventType.MODEL_REQUEST, EventType.MODEL_RESPONSE, EventType.USER_MESSAGE, EventType.AGENT_RESPONSE,
        EventType.ITERATION_STARTED, EventType.ITERATION_FINISHED,
    }
)  # fmt: skip
"""Types that every step or iteration has: going along the log finds the next of them soon.

They are most of what is written, so they are not in the index of types: each would be one more page to write.
"""
INDEXED = f"type NOT IN ({', '.join(repr(kind) for kind in sorted(map(str, DENSE)))})"
"""With this condition beside it SQLite looks a type up in that index."""
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
    partial={("type", "id"): INDEXED},
)
FEW_TYPES = 8
MOST_SUPERSEDED = 10
"""So many ends are looked through for each that a digest tells of."""


class Records:
    """The events of an agent, to be read."""

    def __init__(self, log: Log, *, sessions: int = 0, session_events: int = 0) -> None:
        """With the most sessions that are shown, and the most events of one; 0 is all."""
        self._log = log
        self._most_sessions, self._most_session_events = sessions, session_events

    @property
    def last(self) -> int:
        return self._log.last_id

    def on_append(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each write; returns what takes it off again."""
        return self._log.on_append(listener)

    @property
    def sessions(self) -> list[str]:
        listed = sessions_begun(self._log)
        if not self._most_sessions:
            return listed
        forgotten = set(self.forgotten())
        return [name for name in listed if name not in forgotten]

    def forgotten(self) -> list[str]:
        """Sessions beyond the most that are kept; the loop's own is never one."""
        listed = sessions_begun(self._log)
        newest = self._log.select("run = ?", (LOOP_RUN,), descending=True, limit=1)
        own = {str(row["session"]) for row in newest}
        return [name for name in listed[: -self._most_sessions] if name not in own]

    def of_run(self, run: str, *, iterations: int = 0) -> list[Event]:
        """Events of a run, oldest first; with `iterations` from the end of the one that many back."""
        after = self.start_of(run, iterations) if iterations else 0
        return [event_of(row) for row in self._log.select("run = ? AND id > ?", (run, after))]

    def start_of(self, run: str, iterations: int) -> int:
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
        over = f"SELECT run FROM log WHERE type IN ({', '.join('?' * len(ended))}) AND {INDEXED}"  # noqa: S608
        left = f"{_is_type(EventType.TASK_SUBMITTED)} AND run NOT IN ({over})"
        rows = self._log.select(left, (str(EventType.TASK_SUBMITTED), *map(str, ended)))
        return [str(row["run"]) for row in rows]

    def of_type(self, *types: str, limit: int | None = None) -> list[Event]:
        """Newest events of some types, newest first."""
        where = f"type IN ({', '.join('?' * len(types))})" + ("" if DENSE & {*types} else f" AND {INDEXED}")
        return [event_of(row) for row in self._log.select(where, types, descending=True, limit=limit)]

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
        events = [event_of(row) for row in reversed(rows)]
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
        if session and self._most_session_events and not types:
            limit = min(limit, self._most_session_events)
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
            return [event_of(row) for row in self._log.select(where, values, descending=True, limit=limit)]
        if since is not None:
            return [event_of(row) for row in self._log.select(where, values, limit=limit)]
        rows = self._log.select(where, values, descending=True, limit=limit + 1)
        events = [event_of(row) for row in reversed(rows)]
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
                yield event_of(row)
        finally:
            await rows.aclose()


def _newest_or_oldest(
    types: Sequence[str], places: str, parameters: Sequence[int], limit: int, newest: bool
) -> tuple[str, list[Any]]:
    """The condition for the first or last rows of some types: so many of each by its index, of which a page is made.

    However rare a type is, nothing is read but what is shown, and what lies between for those that are never rare.
    """
    bounds, order = f" AND {places}" if places else "", " DESC" if newest else ""
    # Only names of this module and a number are in the text.
    each = [
        f"SELECT id FROM (SELECT id FROM log WHERE {_is_type(kind)}{bounds} ORDER BY id{order} LIMIT {limit})"  # noqa: S608
        for kind in types
    ]
    return f"id IN ({' UNION ALL '.join(each)})", [v for kind in types for v in (kind, *parameters)]


def _is_type(kind: str) -> str:
    """The condition for the rows of one type, by the index where it has them."""
    return "type = ?" if kind in DENSE else f"type = ? AND {INDEXED}"


def sessions_begun(log: Log) -> list[str]:
    """The sessions a log tells of, in the order of their beginnings."""
    begun = EventType.SESSION_STARTED
    return [str(row["session"]) for row in log.select(_is_type(begun), (begun,))]


def _whole(events: list[Event]) -> list[Event]:
    """Without the first event and the rest of its iteration, unless nothing would be left."""
    cut = (events[0].run, events[0].iteration)
    rest = [event for event in events[1:] if (event.run, event.iteration) != cut]
    return rest or events[1:]


def event_of(row: Row) -> Event:
    """The event of a row."""
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
