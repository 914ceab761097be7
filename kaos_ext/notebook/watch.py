"""A live view of an agent, and what a program does with it: wait, look at events, make a frame, stop, get a widget.

    watch = %kaos agent watch auto-agent      follows the agent's events in the background; shows its live view here
    watch                                     shows it here as well; every place changes
    watch.wait(iterations=3)                  until its loop has finished three iterations (counted from its first)
    watch.widget                              the same view as an ipywidgets widget, with controls

The view itself (`.view`) is a frozen value; each event makes the next one. The last one is drawn in the foreground by
whoever waits and at the end of every cell.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kaos_ext.commands.result import Result
from kaos_ext.commands.run import run
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.model.events import Event
from kaos_ext.model.loop_state import LoopState
from kaos_ext.notebook.answers import cell_number
from kaos_ext.notebook.errors import in_cell, interrupted
from kaos_ext.notebook.frames import Frame
from kaos_ext.notebook.spoken import hinted, in_notebook
from kaos_ext.views.agent import AgentLive, Link

if TYPE_CHECKING:
    from pandas import DataFrame

    from kaos_ext.commands.parse import Parsed
    from kaos_ext.notebook.background import Background
    from kaos_ext.notebook.widget import AgentWidget

Stream = Callable[["Parsed"], AsyncGenerator[AgentLive]]
FRAMES = 3
MINIMUM_SECONDS = 0.05
FIRST_SECONDS = 15.0
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)


class Watch:
    """Follows one agent until it is stopped or the kernel ends."""

    def __init__(
        self,
        background: Background,
        parsed: Parsed,
        *,
        live: bool | None = None,
        refresh: float = 0.25,
        stream: Stream | None = None,
    ) -> None:
        self.background = background
        self._stream = stream or follow
        self._parsed = parsed
        self._live = live
        self._refresh = refresh
        self._frames: list[Frame] = []
        self._listeners: list[Callable[[AgentLive], None]] = []
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._drawn_at = 0.0
        self._cell: int | None = None
        self._following: concurrent.futures.Future[None] | None = None
        self._widget: AgentWidget | None = None
        self._zone = datetime.now().astimezone().tzinfo or UTC
        name = str(parsed.values.get("name") or "")
        self._view = AgentLive(name, parsed.options.namespace or "", now=time.time(), zone=self._zone)

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._view.name

    @property
    def view(self) -> AgentLive:
        """What is known now, with the clock moved to now while it is followed."""
        return self._view.at(time.time()) if self.following else self._view

    @property
    def state(self) -> LoopState:
        return self._view.state

    @property
    def events(self) -> tuple[Event, ...]:
        """The events seen, oldest first; the newest few hundred are kept."""
        return self._view.events

    @property
    def iterations(self) -> int:
        """How many iterations the loop has finished."""
        return self.state.totals.iterations

    @property
    def following(self) -> bool:
        return self._following is not None and not self._following.done() and self._error is None

    @property
    def parsed(self) -> Parsed:
        return self._parsed

    def to_frame(self) -> DataFrame:
        """The events as a pandas frame."""
        from kaos_ext.notebook.answers import frame

        return frame(self._view, {"events": [event.to_json() for event in self.events]})

    # -- what it does --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to follow; raises at once what is wrong with the command (no such agent, no cluster)."""
        self._following = self.background.submit(self._follow())
        self._until(lambda: self._view.link is not Link.CONNECTING or bool(self._view.note), FIRST_SECONDS)

    def wait(self, iterations: int = 1, timeout: float = 120.0) -> Watch:
        """Wait until the loop has finished `iterations` in all; the view is up to date when this returns."""
        try:
            done = self._until(lambda: self.iterations >= iterations, timeout)
        except KeyboardInterrupt:
            self.flush()
            raise interrupted(f"stopped waiting for {self.name}; the agent goes on") from None
        self.flush()
        if not done:
            raise in_cell(self._not_done(iterations, timeout))
        return self

    def stop(self) -> Watch:
        """Stop following; the view stays as it is. The agent goes on."""
        if self._following is not None and not self._following.done():
            self._following.cancel()
        self._set(replace(self._view.at(time.time()), link=Link.ENDED))
        self.flush()
        return self

    def flush(self) -> None:
        """Draw the newest state wherever this watch is shown."""
        view = self.view
        for frame in self._frames:
            frame.flush(view)
        if self._widget is not None:
            self._widget.draw(view)

    @property
    def widget(self) -> AgentWidget:
        """This view as an ipywidgets widget; there is one per watch."""
        if self._widget is None:
            from kaos_ext.notebook.widget import AgentWidget

            self._widget = AgentWidget(self)
        return self._widget

    def command(self, verb: str, told: Callable[[BaseException | None], None]) -> None:
        """Do `agent pause` or `agent resume` in the background and tell how it went."""
        words = ("agent", verb, self.name)

        async def act() -> None:
            from kaos_ext.commands.parse import parse

            async with Session(self._parsed.options) as session:
                await run(session, parse(words))

        future = self.background.submit(act())
        future.add_done_callback(lambda done: told(None if done.cancelled() else done.exception()))

    def listen(self, listener: Callable[[AgentLive], None]) -> None:
        """Call `listener` with each new view, on the background thread."""
        self._listeners.append(listener)

    # -- drawing -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return self.view.text()

    def _ipython_display_(self) -> None:
        if self._cell is None or self._cell != cell_number():
            self.show()

    def hide(self) -> None:
        """Do not show it as the value of this cell."""
        self._cell = cell_number()

    def show(self) -> None:
        """Draw it here; as the value of this same cell it is not drawn again."""
        self._cell = cell_number()
        frame = Frame(self.view, live=self._live, refresh=self._refresh)
        frame.show()
        # Cells that were run again leave frames behind that nobody sees.
        self._frames = [*self._frames, frame][-FRAMES:]

    # -- following -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        clock = asyncio.create_task(self._tick())
        failures = 0
        try:
            while True:
                try:
                    async with aclosing(self._stream(self._parsed)) as views:
                        async for view in views:
                            failures = 0
                            self._set(hinted(replace(view, zone=self._zone)))
                    self._set(replace(self._view, link=Link.ENDED))
                    return
                except KaosError as error:
                    if self._view.link is Link.CONNECTING and not self._view.events:
                        raise
                    self._set(self._view.waiting(error.message, in_notebook(error.hint), Link.LOST))
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._error = error
            raise
        finally:
            clock.cancel()
            self._notify()

    async def _tick(self) -> None:
        """The countdown moves although nothing happens."""
        while True:
            await asyncio.sleep(max(MINIMUM_SECONDS, self._refresh))
            self._draw(late=True)

    def _set(self, view: AgentLive) -> None:
        self._view = view
        self._notify()
        self._draw()

    def _draw(self, *, late: bool = False) -> None:
        """Draw, unless that was done a moment ago: the clock then does it."""
        now = time.monotonic()
        if not late and now - self._drawn_at < self._refresh:
            return
        self._drawn_at = now
        view = self.view
        for frame in self._frames:
            frame.draw(view)
        for listener in self._listeners:
            listener(view)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _until(self, reached: Callable[[], bool], timeout: float) -> bool:
        """Wait in the foreground; what ended the following is raised here."""
        deadline = time.monotonic() + timeout
        while not reached():
            if self._error is not None:
                if isinstance(self._error, KaosError):
                    raise in_cell(self._error) from self._error
                raise self._error
            if not self.following:
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                if not reached():
                    self._changed.wait(min(left, 0.2))
        return True

    def _not_done(self, iterations: int, timeout: float) -> KaosError:
        view = self.view
        done = f"{self.name} has finished {self.iterations} of {iterations} iterations"
        why = f" ({view.trouble})" if view.trouble else ""
        after = f" after {timeout:g} s" if self.following else "; it is not followed any more"
        hint = view.hint or f"%kaos agent get {self.name}"
        return NotReadyError(f"{done}{after}{why}", hint=hint)


async def follow(parsed: Parsed) -> AsyncGenerator[AgentLive]:
    """The views that `agent watch` gives, as events come."""
    async with Session(parsed.options) as session:
        answer = await run(session, parsed)
        assert not isinstance(answer, Result)
        async for update in answer:
            if isinstance(update.view, AgentLive):
                yield update.view
