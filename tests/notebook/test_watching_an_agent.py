"""The handle of a live view: what it knows, waiting, ending, losing the agent and finding it again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kaos_ext.model.errors import NotFoundError, NotReadyError, UnreachableError
from kaos_ext.notebook import frames
from kaos_ext.notebook.background import Background
from kaos_ext.notebook.watch import Watch
from kaos_ext.notebook.watches import Watches
from kaos_ext.views.agent import Link
from tests.notebook.scripted import Script, feed, some, watch_line


class Screen:
    """What reached the notebook: per display id the last html, and how often it was drawn."""

    def __init__(self) -> None:
        self.html: dict[str, str] = {}
        self.drawn = 0

    def send(self, data: dict[str, Any], display_id: str, *, update: bool) -> None:
        assert update == (display_id in self.html)
        self.html[display_id] = data["text/html"]
        self.drawn += 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(frames, "publish", screen.send)
    return screen


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("kaos-test")
    yield background
    background.close()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def watch(background: Background, script: Script) -> Iterator[Watch]:
    watch = Watch(background, watch_line(), live=True, refresh=0.0, stream=script.open)
    watch.start()
    yield watch
    watch.stop()


def test_it_follows_the_events(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(3)))
    watch.wait(iterations=3, timeout=5)
    assert watch.iterations == 3
    assert [event.seq for event in watch.events] == list(range(1, 31))
    assert watch.state.last_response.startswith("System check")
    assert "iteration 3" in repr(watch)


def test_waiting_counts_from_the_first_iteration_so_a_cell_can_run_again(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(2)))
    assert watch.wait(2, timeout=5) is watch.wait(2, timeout=5) is watch


def test_waiting_too_long_says_how_far_it_came(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(1)))
    watch.wait(1, timeout=5)
    with pytest.raises(NotReadyError, match=r"has finished 1 of 5 iterations after 0\.05 s") as error:
        watch.wait(5, timeout=0.05)
    assert hasattr(error.value, "_render_traceback_")
    assert error.value.hint


def test_an_agent_that_does_not_exist_is_an_error_at_once(background: Background, script: Script) -> None:
    async def refuses(parsed: object) -> Any:
        raise NotFoundError("agent/auto-agnt was not found", hint="did you mean auto-agent?")
        yield

    watch = Watch(background, watch_line("auto-agnt"), stream=refuses)
    with pytest.raises(NotFoundError, match="auto-agnt"):
        watch.start()
    assert not watch.following


def test_a_lost_connection_is_shown_and_made_again(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(1)))
    watch.wait(1, timeout=5)
    lost = threading.Event()
    watch.listen(lambda view: lost.set() if view.link is Link.LOST else None)

    def breaks(s: Script) -> None:
        s.error = UnreachableError("the agent does not answer", hint="%kaos agent get auto-agent")

    feed(watch, script, breaks)
    assert lost.wait(5)
    feed(watch, script, lambda s: s.events.extend(some(2)[10:]))
    watch.wait(2, timeout=5)
    assert script.opened == 2
    assert watch.view.link is Link.LIVE


def test_a_stopped_watch_keeps_its_last_state_and_says_as_of_when(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(1)))
    watch.wait(1, timeout=5)
    watch.stop()
    assert not watch.following
    assert "as of" in watch.view.html()
    assert watch.iterations == 1
    with pytest.raises(NotReadyError, match="not followed any more"):
        watch.wait(2, timeout=5)


def test_shown_views_change_in_place(screen: Screen, watch: Watch, script: Script) -> None:
    watch.show()
    watch.show()
    feed(watch, script, lambda s: s.events.extend(some(2)))
    watch.wait(2, timeout=5)
    assert len(screen.html) == 2
    assert all(">2</div>" in html for html in screen.html.values())


def test_when_nobody_looks_only_the_first_and_the_last_state_are_drawn(
    screen: Screen, background: Background, script: Script
) -> None:
    watch = Watch(background, watch_line(), live=False, refresh=0.0, stream=script.open)
    watch.start()
    watch.show()
    feed(watch, script, lambda s: s.events.extend(some(3)))
    watch.wait(3, timeout=5)
    assert screen.drawn == 2
    watch.stop()


def test_the_same_watch_is_given_while_it_follows(watch: Watch) -> None:
    watches = Watches()
    watches.add(("a", ""), watch)
    assert watches.get(("a", "")) is watch
    watch.stop()
    assert watches.get(("a", "")) is None


def test_its_frame_has_a_row_for_each_event(watch: Watch, script: Script) -> None:
    feed(watch, script, lambda s: s.events.extend(some(2)))
    frame = watch.wait(2, timeout=5).to_frame()
    assert len(frame) == 20
    assert {"timestamp", "event_type", "content", "iteration", "session_id"} <= set(frame.columns)
    assert frame.query("event_type == 'tool_call'").iteration.tolist() == [1, 2]
