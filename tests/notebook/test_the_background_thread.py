"""One thread with its own loop: empty contexts, work that can be interrupted, an end that leaves nothing."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import pytest

from kaos_ext.notebook.background import Background

CELL: contextvars.ContextVar[str] = contextvars.ContextVar("cell", default="none")


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("kaos-test")
    yield background
    background.close()
    assert "kaos-test" not in [thread.name for thread in threading.enumerate()]


def test_work_does_not_see_the_context_of_the_cell(background: Background) -> None:
    CELL.set("cell 3")

    async def seen() -> str:
        return CELL.get()

    async def in_a_task() -> str:
        return await asyncio.create_task(seen())

    assert background.run(seen()) == "none"
    assert background.run(in_a_task()) == "none"


def test_all_work_shares_one_thread(background: Background) -> None:
    async def thread() -> int:
        return threading.get_ident()

    assert background.run(thread()) == background.run(thread()) != threading.get_ident()


def test_an_error_comes_back(background: Background) -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        background.run(fails())


def test_the_foreground_draws_while_it_waits(background: Background) -> None:
    drawn = []
    enough = threading.Event()

    async def work() -> str:
        await asyncio.to_thread(enough.wait, 5)
        return "done"

    def tick() -> None:
        drawn.append(threading.get_ident())
        if len(drawn) == 3:
            enough.set()

    assert background.run(work(), tick=tick, every=0.001) == "done"
    assert set(drawn) == {threading.get_ident()}


def test_an_interrupt_cancels_the_work_and_waits_for_its_end(background: Background) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            ended.append("cleaned up")
            raise

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        background.run(work(), tick=interrupt, every=0.01)
    assert ended == ["cleaned up"]


def test_closing_cancels_what_runs_and_work_can_start_again() -> None:
    background = Background("kaos-test")
    started, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    background.submit(work())
    assert started.wait(5)
    background.close()
    assert cancelled.is_set()

    async def again() -> int:
        return 1

    assert background.run(again()) == 1
    background.close()
    assert not background.running
