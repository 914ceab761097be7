"""A verb run from a cell: its progress drawn from the foreground, its answer a value, its notes below."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.commands.parse import parse
from kaos_ext.commands.result import Result, Update
from kaos_ext.model.errors import NotReadyError
from kaos_ext.notebook import frames, verbs
from kaos_ext.notebook.answers import Answer, event_records
from kaos_ext.notebook.background import Background
from kaos_ext.notebook.errors import in_cell
from kaos_ext.notebook.private import PrivateConfig
from kaos_ext.notebook.spoken import in_notebook
from kaos_ext.notebook.watches import Watches
from kaos_ext.runtime.agent.replay import Diverged
from kaos_ext.views import Card, Chat, Message, Note, Step, Steps, StepState, Table, Tone

DONE = Note(Tone.DONE, "Deployed ModelAPI 'api'", "kaos agent list")


def waiting(state: StepState, detail: str = "", title: str = "waiting for") -> Steps:
    return Steps(title, "modelapi/api", (Step("modelapi api", state, detail, 0.4),), 0.4)


class Stage:
    """The notebook: what was drawn, in order, and by which thread."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.threads: set[int] = set()
        self.places: set[str] = set()

    def send(self, data: dict[str, Any], display_id: str, *, update: bool) -> None:
        self.drawn.append(data["text/plain"])
        self.places.add(display_id)
        self.threads.add(threading.get_ident())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(frames, "publish", stage.send)
    return stage


@pytest.fixture
def runner() -> Iterator[verbs.Runner]:
    background = Background("kaos-test")
    yield verbs.Runner(
        background, Watches(), PrivateConfig(), live=True, refresh=0.0, defaults={"namespace": "mine", "context": ""}
    )
    background.close()


def play(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    monkeypatch.setattr(verbs, "run", act)


def test_progress_and_answer_are_one_place_drawn_by_the_foreground(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deploy(session: Any, parsed: Any) -> Result:
        session.note("context kaos-default, namespace mine")
        session.report(waiting(StepState.WAITING, "pod api-1: starting"))
        session.report(waiting(StepState.DONE))
        return Result(DONE, {"metadata": {"name": "api"}})

    play(monkeypatch, deploy)
    answer = runner.run(parse(["modelapi", "deploy", "api"]))
    assert stage.threads == {threading.get_ident()}
    assert len(stage.places) == 1
    assert stage.drawn[-1] == (
        "✓ Deployed ModelAPI 'api'\n  → %kaos agent list\n"
        "  modelapi api ready after 0.40 s · context kaos-default, namespace mine"
    )
    assert answer["metadata"]["name"] == "api"
    assert repr(answer) == stage.drawn[-1]


def test_what_a_failed_wait_waited_for_stays(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(session: Any, parsed: Any) -> Result:
        session.report(waiting(StepState.WAITING, "pod api-1: starting"))
        session.report(waiting(StepState.FAILED, "no such image"))
        raise NotReadyError("api is not ready", hint="kaos modelapi get api")

    play(monkeypatch, fails)
    with pytest.raises(NotReadyError):
        runner.run(parse(["modelapi", "deploy", "api"]))
    assert "no such image" in stage.drawn[-1]


def test_a_test_that_is_red_is_drawn_and_then_makes_the_cell_red(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def replays(session: Any, parsed: Any) -> Result:
        card = Card("replay", "a", "diverges", Tone.FAILED, (("iteration", "7"),), ())
        return Result(card, {"same": False}, 1, Diverged("iteration 7 diverges at event 12"))

    play(monkeypatch, replays)
    with pytest.raises(Diverged, match="iteration 7 diverges at event 12"):
        runner.run(parse(["agent", "replay", "a"]))
    assert "diverges" in stage.drawn[-1]


def test_a_verb_without_progress_draws_nothing_by_itself(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lists(session: Any, parsed: Any) -> Result:
        return Result(Table("agents", ("name",), (("a",),)), [{"name": "a"}])

    play(monkeypatch, lists)
    answer = runner.run(parse(["agent", "list"]))
    assert stage.drawn == []
    assert answer.to_frame().name.tolist() == ["a"]
    assert set(answer._repr_mimebundle_()) == {"text/plain", "text/html", "application/vnd.kaos.table.v1+json"}


def test_settings_are_defaults_that_a_line_overrides(runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def notes(session: Any, parsed: Any) -> Result:
        seen.append((session.options.namespace, session.options.context))
        return Result(DONE)

    play(monkeypatch, notes)
    runner.run(parse(["agent", "list"]))
    runner.run(parse(["agent", "list", "-n", "other"]))
    assert seen == [("mine", None), ("other", None)]


def test_a_stream_is_drawn_while_it_comes_and_its_last_view_is_the_answer(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[Update]:
        for text in ("Hel", "Hello"):
            yield Update(Chat("a", (Message("agent", text),)), text, {"text": text})

    async def invokes(session: Any, parsed: Any) -> AsyncIterator[Update]:
        return pieces()

    play(monkeypatch, invokes)
    answer = runner.run(parse(["agent", "invoke", "a", "-m", "hi", "--stream"]))
    assert stage.drawn[-1] == "agent: Hello"
    assert len(stage.places) == 1
    assert answer.data == [{"text": "Hel"}, {"text": "Hello"}]


def test_an_ephemeral_cluster_is_the_one_the_kernel_means_while_it_lives(
    stage: Stage, runner: verbs.Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "kubeconfig"
    own.write_text("")
    monkeypatch.setenv("KUBECONFIG", "mine")

    async def ups(session: Any, parsed: Any) -> Result:
        return Result(waiting(StepState.DONE, title="cluster"), {"kubeconfig": str(own)})

    async def downs(session: Any, parsed: Any) -> Result:
        own.unlink()
        return Result(DONE)

    play(monkeypatch, ups)
    assert "this kernel" in repr(runner.run(parse(["up", "--ephemeral"])))
    runner.run(parse(["up", "--ephemeral"]))
    assert os.environ["KUBECONFIG"] == str(own)
    play(monkeypatch, downs)
    runner.run(parse(["down"]))
    assert os.environ["KUBECONFIG"] == "mine"


def test_memory_becomes_a_row_for_each_event_with_its_metadata() -> None:
    event = {"seq": 1, "event_type": "tool_call", "content": {}, "metadata": {"iteration": 3}}
    assert event_records([event]) == [{"seq": 1, "event_type": "tool_call", "content": {}, "iteration": 3}]
    frame = Answer(Table("memory", ("seq",), ((1,),)), {"agent": "a", "events": [event]}).to_frame()
    assert frame.iteration.tolist() == [3]


def test_hints_are_lines_for_a_cell() -> None:
    assert in_notebook("kaos agent list") == "%kaos agent list"
    assert in_notebook("did you mean `kaos agent`?") == "did you mean `%kaos agent`?"
    assert in_notebook("%kaos agent list") == "%kaos agent list"
    assert in_notebook("the kaos operator") == "the kaos operator"


def test_an_error_in_a_cell_is_still_of_its_own_class() -> None:
    shown = in_cell(NotReadyError("api is not ready", hint="kaos modelapi get api", details=("a", "b")))
    assert isinstance(shown, NotReadyError)
    assert type(shown).__name__ == "NotReadyError"
    assert str(shown) == "api is not ready"
    assert [line.count("\x1b") > 0 for line in shown._render_traceback_()] == [True, False, False, True]  # type: ignore[attr-defined]
    assert in_cell(shown) is shown
