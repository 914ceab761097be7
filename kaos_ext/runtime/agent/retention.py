"""How much an agent remembers: limits by number, by age and by session, and the rows that go beyond them.

Some rows are spared whatever the limits say: what the resident loop and open tasks go on from after a restart, and what
was asked for. Trimming is done now and then, often enough that no limit is exceeded by much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kaos_ext.loop.state import DIGEST_ITERATIONS
from kaos_ext.model.events import KAOS_TYPES, LOOP_RUN, EventType
from kaos_ext.runtime.agent.records import Records
from kaos_ext.store import Log

TRIM_EVERY = 10_000
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


class Trimming:
    """Takes away what is beyond the limits, when enough was written or time has passed."""

    def __init__(self, log: Log, records: Records, kept: Retention, clock: Callable[[], float]) -> None:
        self._log = log
        self._records = records
        self._kept = kept
        self._clock = clock
        self._touched: set[str] = set()
        """Sessions with new events since the last trim."""
        self._since = 0
        self._every = _trim_every(kept)
        self._aged_at = -1e9
        """When events were last looked at for their age."""

    @property
    def age_seconds(self) -> float:
        """How often events are looked at for their age; 0 when they may grow as old as they like."""
        age = self._kept.age_seconds
        return max(1.0, min(60.0, age / 10)) if age else 0.0

    def happened(self, session: str) -> None:
        """An event of a session has happened."""
        if self._kept.session_events:
            self._touched.add(session)

    def wrote(self, rows: int) -> None:
        self._since += rows

    def due(self) -> bool:
        """Is it time again? When it is, counting begins anew."""
        if self._since < self._every and not self._aging():
            return False
        self._since = 0
        return True

    def _aging(self) -> bool:
        if not self._kept.age_seconds or self._clock() - self._aged_at < self.age_seconds:
            return False
        self._aged_at = self._clock()
        return True

    def trim(self, open_runs: Iterable[str], *, forgotten: Callable[[str], object]) -> None:
        """Take away what is too much; told of each session that is forgotten as a whole."""
        # What the resident loop and open tasks go on from after a restart is kept however old it is.
        runs = [LOOP_RUN, *open_runs]
        firsts = {run: self._records.start_of(run, DIGEST_ITERATIONS) if run == LOOP_RUN else 0 for run in runs}
        kept, types = self._kept, ", ".join("?" * len(KEPT_TYPES))
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
            for session in self._records.forgotten():
                self._log.trim(f"session = ? AND {spared}", (session, *values))
                self._log.trim("session = ? AND type = ?", (session, EventType.SESSION_STARTED))
                forgotten(session)

    def _trim_beginnings(self) -> None:
        """How the loop was taken up is kept as long as an iteration that was worked at then: a replay asks for it."""
        of = "type = ? AND run = ?"
        oldest = self._log.select(of, (EventType.ITERATION_STARTED, LOOP_RUN), limit=1)
        if oldest:
            begun = (EventType.LOOP_STARTED, LOOP_RUN)
            own = self._log.select(f"{of} AND id < ?", (*begun, oldest[0]["id"]), descending=True, limit=1)
            if own:
                self._log.trim(f"{of} AND id < ?", (*begun, own[0]["id"]))

    def _trim_session(self, session: str, most: int, spared: str, values: Sequence[Any]) -> None:
        shown = f"session = ? AND +type IN ({', '.join('?' * len(KAOS_TYPES))})"
        newest = self._log.select(shown, (session, *map(str, KAOS_TYPES)), descending=True, limit=most)
        if len(newest) == most:
            self._log.trim(f"session = ? AND id < ? AND {spared}", (session, int(newest[-1]["id"] or 0), *values))
