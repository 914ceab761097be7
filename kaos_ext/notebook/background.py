"""One daemon thread with its own event loop, for everything asynchronous the notebook does.

The kernel's own loop belongs to the user. Work is handed over in an *empty* context: a task that inherits the context
of the cell that made it would send its displays under that cell's name for ever, and runners drop messages of cells
that are over. `run` waits in the foreground, draws while it waits, and gives way to Kernel → Interrupt.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
CANCEL_SECONDS = 5.0


class Background:
    """The thread starts with the first work and ends with `close`."""

    def __init__(self, name: str = "kaos") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start `work` on the background loop."""
        return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, self._start())

    def run(self, work: Awaitable[T], *, tick: Callable[[], None] | None = None, every: float = 0.1) -> T:
        """Do `work` on the background loop and wait for it; `tick` is called in the foreground meanwhile.

        An interrupt cancels the work, waits until it has ended, and goes on to the caller.
        """
        ended = threading.Event()

        async def guarded() -> T:
            try:
                return await work
            finally:
                ended.set()

        future = self.submit(guarded())
        try:
            while not concurrent.futures.wait([future], timeout=every if tick else None).done:
                if tick:
                    tick()
        except BaseException:
            future.cancel()
            ended.wait(CANCEL_SECONDS)
            raise
        return future.result()

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(CANCEL_SECONDS)

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or not self.running:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
                contextvars.Context().run(self._thread.start)
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=CANCEL_SECONDS))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
