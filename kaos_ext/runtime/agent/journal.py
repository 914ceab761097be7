"""The agent's journal: records that are written, redacted before, with the ledger of what was spent.

One row is one event; events between which nothing is done may share a transaction. The intent of a tool call that must
not be repeated is synced to the disk before the call; every other row survives the death of the process at once. The
log's lock makes this process the only writer. Now and then the log is tidied up, and what is beyond the limits let go.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kaos_ext.loop import Ledger, ledger
from kaos_ext.loop.state import DIGEST_ITERATIONS
from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.model.values import changed
from kaos_ext.runtime.agent.jsontext import encoded
from kaos_ext.runtime.agent.records import SCHEMA, Records, event_of, sessions_begun
from kaos_ext.runtime.agent.retention import Retention, Trimming
from kaos_ext.runtime.secrets import Redactor
from kaos_ext.store import DamagedError, LockedError, Log, StoreError, Sync
from kaos_ext.store.salvage import Salvaged, mark, salvage

CHECKPOINT_EVERY = 1_000
FEW_UNBOOKED, MOST_UNBOOKED = 8, 64
"""So many events are added to what was spent when the event loop next has nothing better to do, or else at once."""
LOCK_POLL_SECONDS = 0.1
STORE_TROUBLE_SECONDS = 1.0
log = logging.getLogger(__name__)
LEDGER = "ledger"


class Journal(Records):
    """The records of the one process that writes them."""

    _ledger: Ledger
    _unbooked: list[Event]
    """Events that are not in the ledger yet."""

    def __init__(
        self,
        log: Log,
        secrets: Iterable[str] = (),
        *,
        retention: Retention | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        kept = retention or Retention()
        super().__init__(log, sessions=kept.sessions, session_events=kept.session_events)
        self._redactor = Redactor(secrets)
        self._clock = clock
        self._sessions = set(sessions_begun(log))
        self._trimming = Trimming(log, self, kept, clock)
        self._since_checkpoint = 0
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
                self._trimming.happened(event.session)
        before = len(self._unbooked)
        self._unbooked += events
        if len(self._unbooked) >= MOST_UNBOOKED:
            self._book()
        elif before < FEW_UNBOOKED <= len(self._unbooked):
            with suppress(RuntimeError):  # Without an event loop nobody waits for anything.
                asyncio.get_running_loop().call_soon(self._book)
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
        self._ledger, self._unbooked = known, []

    def _book(self) -> None:
        self._ledger, self._unbooked = ledger.fold(self._ledger, *self._unbooked), []

    def _spending(self) -> Ledger:
        """What was spent, from the last summary on; trimmed events are in it."""
        kept = self._log.meta(LEDGER)
        found = Ledger() if kept is None else Ledger.from_json(json.loads(kept))
        for row in self._log.select("id > ?", (found.seq,)):
            found = ledger.fold(found, event_of(row))
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
        return encoded(self._redactor.value(value)).decode()

    def _tidy(self, appended: int) -> None:
        self._since_checkpoint += appended
        self._trimming.wrote(appended)
        try:
            if self._since_checkpoint >= CHECKPOINT_EVERY:
                self._since_checkpoint = 0
                self._keep_spending()
                self._log.checkpoint()
            if self._trimming.due():
                self._keep_spending()
                open_runs = [run for run in self.ledger.accounts if run != LOOP_RUN]
                self._trimming.trim(open_runs, forgotten=self._sessions.discard)
        except StoreError as error:
            # The events are on record; tidying is for later.
            log.warning("the journal cannot be tidied up: %s", error)

    def forget(self) -> None:
        """Let go what is too old, though nothing is written; to be called every now and then (`forget_seconds`)."""
        self._tidy(0)

    @property
    def forget_seconds(self) -> float:
        """How often events are looked at for their age; 0 when they may grow as old as they like."""
        return self._trimming.age_seconds

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
