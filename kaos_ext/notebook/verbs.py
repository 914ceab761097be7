"""Runs one parsed command for a cell: progress drawn while it works, then an Answer, a Watch, or what a stream said.

A verb runs on the background loop; its reports are taken from a queue and drawn in the foreground, so they are saved
with the cell whatever the kernel and the runner.
"""

from __future__ import annotations

import queue
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kaos_ext.commands.result import Result, Update
from kaos_ext.commands.run import run
from kaos_ext.commands.session import Session
from kaos_ext.notebook.answers import Answer, Drawn
from kaos_ext.notebook.frames import Frame
from kaos_ext.notebook.spoken import hinted
from kaos_ext.views import Annotated, Note, Steps, Tone, View
from kaos_ext.views.durations import duration

if TYPE_CHECKING:
    from kaos_ext.commands.parse import Options, Parsed
    from kaos_ext.notebook.background import Background
    from kaos_ext.notebook.private import PrivateConfig
    from kaos_ext.notebook.watches import Watches


WAITING = "waiting for"


class Runner:
    """How this notebook runs commands."""

    def __init__(
        self,
        background: Background,
        watches: Watches,
        private: PrivateConfig,
        *,
        live: bool | None = None,
        refresh: float = 0.25,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self._background = background
        self._watches = watches
        self._private = private
        self._live = live
        self._refresh = refresh
        self._defaults = {key: value for key, value in (defaults or {}).items() if value}

    def run(self, parsed: Parsed, *, silent: bool = False) -> Any:
        """Do it. A watch shows itself where it is made; what is silent is a value that this cell does not show."""
        options = self._options(parsed.options)
        parsed = replace(parsed, options=options)
        if parsed.verb is not None and parsed.verb.words == ("agent", "watch"):
            return self._watch(parsed, silent)
        progress = Progress(self._live, self._refresh)
        try:
            answer = self._background.run(self._finish(parsed, options, progress), tick=progress.tick)
        except BaseException:
            progress.flush()
            raise
        self._follow_cluster(parsed, answer, progress)
        progress.finish(answer.view)
        answer = progress.answer(answer)
        return Drawn(answer.view, answer.data) if silent else answer

    def _follow_cluster(self, parsed: Parsed, answer: Answer, progress: Progress) -> None:
        """An ephemeral cluster is the one this kernel means, for as long as it lives."""
        words = parsed.verb.words if parsed.verb is not None else ()
        if words == ("up",) and parsed.values.get("ephemeral"):
            progress.report(Note(Tone.QUIET, self._private.use(answer.data["kubeconfig"])))
        elif words == ("up",):
            self._private.leave()
        elif words == ("down",):
            self._private.check()

    def _options(self, given: Options) -> Options:
        own = {key: value for key, value in self._defaults.items() if getattr(given, key) is None}
        return replace(given, **own)  # type: ignore[arg-type]

    def _watch(self, parsed: Parsed, silent: bool) -> Any:
        from kaos_ext.notebook.watch import Watch

        key = (repr(sorted(parsed.values.items())), repr(parsed.options))
        watch = self._watches.get(key)
        if watch is None:
            watch = Watch(self._background, parsed, live=self._live, refresh=self._refresh)
            watch.start()
            self._watches.add(key, watch)
        if silent:
            watch.hide()
        else:
            watch.show()
        return watch

    async def _finish(self, parsed: Parsed, options: Options, progress: Progress) -> Answer:
        async with Session(options, progress.report) as session:
            answer = await run(session, parsed)
            if isinstance(answer, Result):
                if answer.failure is not None:
                    progress.report(answer.view)
                    raise answer.failure
                return Answer(hinted(answer.view), answer.data)
            return await _all_of(answer, progress)


async def _all_of(stream: AsyncIterator[Update], progress: Progress) -> Answer:
    """A stream that ends: drawn while it comes, its last view is the answer."""
    last: Update | None = None
    data: list[Any] = []
    async for update in stream:
        last = update
        if update.data is not None:
            data.append(update.data)
        progress.report(update.view)
    return Answer(last.view if last is not None else Note(Tone.QUIET, "nothing was said"), data)


class Progress:
    """What a verb reports: kept by the background, drawn by the foreground in one place of the cell.

    Notes (which context was acted on) are not worth an output of their own: they go below the answer.
    """

    def __init__(self, live: bool | None, refresh: float) -> None:
        self._live = live
        self._refresh = refresh
        self._reports: queue.SimpleQueue[View] = queue.SimpleQueue()
        self._frame: Frame | None = None
        self._notes: list[str] = []

    def report(self, view: View) -> None:
        self._reports.put(view)

    def tick(self) -> None:
        while not self._reports.empty():
            view = hinted(self._reports.get())
            if isinstance(view, Note):
                self._notes.append(view.message)
            elif self._frame is None:
                self._frame = Frame(view, live=self._live, refresh=self._refresh)
                self._frame.show()
            else:
                self._frame.draw(view)

    def flush(self) -> None:
        """Draw what was reported last: what it waited for when it failed or was interrupted."""
        self.tick()
        if self._frame is not None:
            self._frame.flush()

    def finish(self, last: View) -> None:
        """Draw the final state; an answer that only repeats or completes it takes its place."""
        self.tick()
        if self._frame is None:
            return
        shown = self._frame.view
        if isinstance(shown, Steps) and isinstance(last, Note):
            waited = [f"{step.name} ready after {duration(step.seconds)}" for step in shown.steps if step.seconds]
            self._notes = [*(waited if shown.title == WAITING else ()), *self._notes]
        elif type(shown) is not type(last):
            self._frame.flush()
            return
        self._frame.flush(Annotated(last, tuple(self._notes)))

    def answer(self, answer: Answer) -> Answer:
        if self._frame is not None and isinstance(self._frame.view, Annotated):
            return Drawn(self._frame.view, answer.data)
        return Answer(Annotated(answer.view, tuple(self._notes)), answer.data) if self._notes else answer
