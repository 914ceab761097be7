"""What goes where: results to standard output, everything else to standard error."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from kaos_ext.cli.calm import Calm
from kaos_ext.cli.screen import Screen
from kaos_ext.commands.result import Done, Plain, Result, Update
from kaos_ext.model.errors import UsageError
from kaos_ext.views import Note, State, Step, Steps, StepState, Table, Tone


class Stream(io.StringIO):
    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def screen(as_json: bool = False, terminal: bool = False) -> tuple[Screen, Stream, Stream]:
    out, err = Stream(terminal), Stream(terminal)
    return Screen(as_json=as_json, out=out, err=err), out, err


TABLE = Table("Agents", ("name", "phase"), (("a", State("Ready", Tone.DONE)),))


def test_json_is_the_data_alone() -> None:
    face, out, err = screen(as_json=True)
    face.report(Note(Tone.QUIET, "context x"))
    face.result(Result(TABLE, {"a": "ö"}))
    assert json.loads(out.getvalue()) == {"a": "ö"} and err.getvalue() == "context x\n"


def test_a_stream_is_text_as_it_comes_or_one_json_a_line() -> None:
    face, out, _ = screen()
    for piece in (Update(Plain(""), "hel", {"n": 1}, ""), Update(Plain(""), "lo", None, "\n")):
        face.update(piece)
    assert out.getvalue() == "hello\n"
    face, out, _ = screen(as_json=True)
    for piece in (Update(Plain(""), "hel", {"n": 1}, ""), Update(Plain(""), "lo", None, "\n")):
        face.update(piece)
    assert out.getvalue() == '{"n": 1}\n'


def waiting(detail: str, state: StepState = StepState.WAITING) -> Steps:
    return Steps("waiting for", "agent/a", (Step("agent a", state, detail, 1.0),))


def test_without_a_terminal_what_lasts_is_a_line_once_and_what_is_done_at_once() -> None:
    now = 0.0
    calm = Calm(lambda: now)
    assert calm.report(waiting("starting")) + calm.report(waiting("its process starts")) == []
    assert calm.wait == pytest.approx(1.0)
    now = 1.5
    assert calm.report(waiting("its process starts")) == ["waiting for agent a: its process starts"]
    now = 9.0
    assert calm.report(waiting("its process starts")) == []
    assert calm.report(waiting("ModelAPI m is not ready")) == []
    assert calm.report(waiting("", StepState.DONE)) == ["agent a: ready"]
    now = 20.0
    assert calm.report(waiting("again")) == []
    assert calm.report(waiting("again", StepState.FAILED)) == [] and calm.wait is None


async def test_what_lasts_is_told_although_nothing_new_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaos_ext.cli.calm.LASTING_SECONDS", 0.01)
    said: asyncio.Queue[str] = asyncio.Queue()

    class Told(Stream):
        def write(self, text: str) -> int:
            said.put_nowait(text)
            return super().write(text)

    face = Screen(out=Stream(), err=Told())
    face.report(waiting("its process starts"))
    assert said.empty()
    async with asyncio.timeout(5):
        assert await said.get() == "waiting for agent a: its process starts"
    face.close()


def test_colours_only_on_a_terminal_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    face, out, _ = screen(terminal=True)
    face.result(Result(TABLE))
    assert "\x1b[" in out.getvalue() and "Ready" in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    face, out, err = screen(terminal=True)
    face.result(Result(TABLE))
    face.error(UsageError("no", hint="yes"), verbose=False)
    assert "\x1b[" not in out.getvalue() + err.getvalue()
    face, out, _ = screen()
    face.result(Result(TABLE))
    assert "\x1b[" not in out.getvalue()


def test_progress_on_a_terminal_leaves_the_last_line_to_the_result() -> None:
    face, out, err = screen(terminal=True)
    face.report(Steps("waiting for", "agent/a", (Step("agent a", StepState.WAITING, "no pod yet", 1.0),)))
    face.result(Result(Done("Deployed Agent 'a' with ModelAPI 'm'")))
    assert "no pod yet" in err.getvalue() and out.getvalue() == "✅ Deployed Agent 'a' with ModelAPI 'm'\n"


def test_text_of_strangers_cannot_steer_the_terminal() -> None:
    face, out, err = screen()
    face.result(Result(Plain("a\x1b]0;owned\x07b\x1b[2J")))
    face.report(Note(Tone.QUIET, "c\x1b[31md"))
    assert "\x1b" not in out.getvalue() + err.getvalue()


def test_errors_are_short_and_verbose_shows_where() -> None:
    face, _, err = screen()
    face.error(UsageError("no such thing", hint="try this"), verbose=False)
    assert err.getvalue() == "✗ no such thing\n  → try this\n"
    face, _, err = screen()
    try:
        Path("/no/such/file").stat()
    except OSError as error:
        face.error(error, verbose=True)
    assert "Traceback" in err.getvalue()
