"""Group commit: whatever is submitted while one commit runs goes into the next one, together.

Commits run in a thread of their own, so the loop goes on reading requests meanwhile. Each submission learns of its
commit in the order of submission: first its `then` callback, in the loop, then its awaiting caller. A failed commit
fails everything submitted after it as well, since later writes may have been computed from it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kaos_ext.store.errors import CommitFailed, StoreError
from kaos_ext.store.log import Log, Value

_log = logging.getLogger(__name__)
Rows = Sequence[Mapping[str, Value]]
CHECKPOINT_ROWS = 2000
"""Rows between checkpoints; a checkpoint costs some ten milliseconds of the writer thread, none of the loop."""
CHECKPOINT_BYTES = 16 * 2**20
"""The same in bytes, so that large rows do not make a large write-ahead file."""


@dataclass(slots=True)
class _Submission:
    rows: Rows
    then: Callable[[list[int]], None] | None
    done: asyncio.Future[list[int]]


class GroupCommit:
    """The way to append from an event loop. Created and used in one loop; `close()` waits for what was submitted."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._pending: list[_Submission] = []
        self._running: asyncio.Task[None] | None = None
        self._rows_since = 0
        self._bytes_since = 0
        self.observer: Callable[[int, float], None] = lambda rows, seconds: None
        """Told in the loop of every commit: how many rows, how long it took."""
        self.failures: Callable[[Exception], None] = lambda error: None
        """Told of every commit that failed."""
        self._began: float | None = None

    def submit(self, rows: Rows, then: Callable[[list[int]], None] | None = None) -> asyncio.Future[list[int]]:
        """Commit `rows` soon; the future gives their ids once they are on disk.

        Cancelling whoever awaits the future does not take the rows back: await it through `asyncio.shield`.
        """
        submission = _Submission(rows, then, self._loop.create_future())
        self._pending.append(submission)
        if self._running is None:
            self._running = self._loop.create_task(self._run())
        return submission.done

    async def _run(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            rows = [row for submission in batch for row in submission.rows]
            self._began = began = self._loop.time()
            try:
                ids = await self._loop.run_in_executor(self._executor, self._log.append, rows)
            except Exception as error:
                self._fail(batch, error)
                continue
            finally:
                self._began = None
            self.observer(len(rows), self._loop.time() - began)
            start = 0
            for submission in batch:
                own = ids[start : start + len(submission.rows)]
                start += len(own)
                if submission.then is not None:
                    submission.then(own)
                if not submission.done.done():
                    submission.done.set_result(own)
            await self._checkpoint(rows)
        self._running = None

    async def _checkpoint(self, rows: Rows) -> None:
        self._rows_since += len(rows)
        self._bytes_since += sum(_size(row) for row in rows)
        if self._rows_since < CHECKPOINT_ROWS and self._bytes_since < CHECKPOINT_BYTES:
            return
        self._rows_since = self._bytes_since = 0
        try:
            await self._loop.run_in_executor(self._executor, self._log.checkpoint)
        except StoreError as error:
            # What is committed stays in the write-ahead file, where everyone finds it; a later one takes it over.
            _log.warning("checkpoint: %s", error)

    @property
    def busy_seconds(self) -> float:
        """How long the commit that is under way has been so; 0 when there is none."""
        return 0.0 if self._began is None else self._loop.time() - self._began

    def _fail(self, batch: list[_Submission], error: Exception) -> None:
        self.failures(error)
        later, self._pending = self._pending, []
        for submission in batch:
            if not submission.done.done():
                submission.done.set_exception(error)
        for submission in later:
            if not submission.done.done():
                failed = CommitFailed(f"an earlier write failed: {error}")
                failed.__cause__ = error
                submission.done.set_exception(failed)

    async def close(self) -> None:
        """Wait for every submitted row, then end the writer thread. The log stays open."""
        if self._running is not None:
            await self._running
        self._executor.shutdown(wait=True)


def _size(row: Mapping[str, Value]) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, (bytes, str)))
