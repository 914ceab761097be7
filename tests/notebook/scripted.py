"""A watch over a scripted agent: its stream is fed by hand, in this process or in a kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from kaos_ext.commands.parse import Parsed, parse
from kaos_ext.model.events import Event
from kaos_ext.notebook.watch import Watch
from kaos_ext.views.agent import AgentLive, Link
from tests.views.stream import iterations


class Script:
    """Feeds events to every stream opened on it; `fail` breaks the streams with an error."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.opened = 0
        self.error: Exception | None = None
        self.over = False
        self._wake = asyncio.Event()

    async def open(self, parsed: Parsed) -> AsyncGenerator[AgentLive]:
        self.opened += 1
        view = AgentLive(str(parsed.values["name"]), "default", link=Link.LIVE)
        yield view
        place = 0
        while True:
            while place < len(self.events):
                event = self.events[place]
                place += 1
                view = view.with_event(event, event.time)
                yield view
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            if self.over:
                return
            self._wake.clear()
            await self._wake.wait()

    def wake(self) -> None:
        self._wake.set()


def feed(watch: Watch, script: Script, change: Callable[[Script], None]) -> None:
    """Change the script on the loop the watch runs on."""

    async def act() -> None:
        change(script)
        script.wake()

    watch.background.run(act())


def some(count: int) -> list[Event]:
    return list(iterations(count))


def watch_line(name: str = "auto-agent") -> Parsed:
    return parse(["agent", "watch", name])
