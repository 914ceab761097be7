"""The committed form: the same for every run, idempotent, and no plain number is lost in it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.model.events import Event, EventType
from kaos_ext.testing.liveview import MIMETYPE, canonical
from kaos_ext.testing.masks import masked, masked_json
from kaos_ext.testing.normalise import normalised, post_process
from kaos_ext.testing.outputs import compare
from kaos_ext.testing.screen_text import final_text
from kaos_ext.views import bundle
from kaos_ext.views.agent import AgentLive
from tests.testing.notebooks import code, notebook, printed, shown

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("ready after 0.43 s", "ready after … s"),
        ("ready after 12 ms · next in 3 m 04 s", "ready after … s · next in … s"),
        ("  ✓  operator  ready            0.67 s", "  ✓  operator  ready  … s"),
        ("15:00:21.165  ◆  model", "--:--:--  ◆  model"),
        ("at 2026-11-21T15:00:22.886492+00:00", "at ----T--:--:--"),
        ("started at https://127.0.0.1:25158", "running at https://127.0.0.1:…"),
        ("pod 127.93.128.4", "pod 127.…"),
        ("task_f41da97a5e7a done", "task_… done"),
        ("pod modelapi-auto-api-cgxg7bjg4p-bp9nb", "pod modelapi-auto-api-…"),
        ("Client Version: v1.32.4-dispatcher", "Client Version: v…"),
        ("id 6f1c2d3e-0000-4000-8000-0123456789ab", "id …"),
        ("kaos-default is current (was kaos-demo)", "kaos-default is current"),
        ("42 items, 3.14, 10 kB, step 7", "42 items, 3.14, 10 kB, step 7"),
        ("font-size:13px;margin:2px 0 10px;width:100%", "font-size:13px;margin:2px 0 10px;width:100%"),
        ("deployed Agent 'auto-agent'", "deployed Agent 'auto-agent'"),
    ],
)
def test_only_what_differs_from_run_to_run_is_masked(text: str, form: str) -> None:
    assert masked(text) == form
    assert masked(form) == form


def test_json_of_views_keeps_numbers_and_loses_times() -> None:
    value = {"seconds": 1.2, "steps": [{"detail": "started at https://127.0.0.1:1", "at": 3, "count": 4}], "ok": True}
    assert masked_json(value) == {
        "seconds": None, "steps": [{"detail": "running at https://127.0.0.1:…", "at": None, "count": 4}], "ok": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("plain\n", "plain\n"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("abc\x08\x08X\n", "aXc\n"),
        ("\x1b[32m✓\x1b[0m done\r\n", "✓ done\n"),
        ("one\r\ntwo\x1b[2K\r\x1b[1A\x1b[2Knew\r\n", "new\n"),
        ("\x1b[?25lwait\r\x1b[2K\x1b[?25hready\r\n", "ready\n"),
        ("keep\nthis\x1b[1A\x1b[J\n", "keep\n"),
    ],
)
def test_a_terminal_shows_what_was_left_on_it(written: str, left: str) -> None:
    assert final_text(written) == left
    assert final_text(final_text(written)) == final_text(written)


@given(st.text(alphabet="ab \r\n\x08\x1b[0123456789;AKJm✓", max_size=60))
def test_no_writing_breaks_the_terminal_and_masking_twice_is_masking_once(written: str) -> None:
    left = final_text(written)
    assert final_text(left) == left or "\x1b" in left
    assert masked(masked(left)) == masked(left)


def live(iterations: int, began: float = 1_700_000_000.0, *, failing: bool = False, running: bool = False) -> Any:
    """The bundle of a live view after so many iterations."""
    view = AgentLive("auto-agent", "default")
    time = began
    seq = 0

    def add(kind: EventType, iteration: int, content: Any) -> None:
        nonlocal view, seq, time
        seq, time = seq + 1, time + 0.013 * (seq % 5 + 1)
        view = view.with_event(
            Event(type=kind, run="loop", seq=seq, time=time, iteration=iteration, content=content), time
        )

    for number in range(1, iterations + 1):
        add(EventType.ITERATION_STARTED, number, {})
        add(EventType.TOOL_CALL, number, {"tool": "echo", "arguments": {"message": "hi"}})
        failed = failing and number == iterations
        add(EventType.TOOL_ERROR if failed else EventType.TOOL_RESULT, number,
            {"tool": "echo", "error": "gone"} if failed else {"tool": "echo", "result": "Echo: hi"})  # fmt: skip
        add(EventType.AGENT_RESPONSE, number, "all is well")
        add(EventType.ITERATION_FINISHED, number, {"outcome": "completed", "duration_seconds": 0.1 * number})
    if running:
        add(EventType.ITERATION_STARTED, iterations + 1, {})
    return bundle(view)


def test_a_loop_looks_the_same_wherever_it_stands() -> None:
    forms = [canonical(live(n, began, running=r)[MIMETYPE]) for n, began, r in
             ((3, 1.7e9, False), (4, 1.6e9, False), (7, 1.8e9, True))]  # fmt: skip
    assert forms[0] == forms[1] == forms[2]
    assert canonical(forms[0][MIMETYPE]) == forms[0]
    assert "iteration n" in forms[0]["text/plain"] and "all is well" in forms[0]["text/html"]


def test_a_loop_looks_the_same_with_a_question_or_a_pause_in_between_and_when_only_parts_are_seen() -> None:
    data = live(4)[MIMETYPE]
    usual = canonical(data)
    rows = data["events"]
    asked = [
        {"at": 1.0, "tone": "quiet", "what": "asked", "detail": "Say hello", "took": ""},
        {"at": 1.0, "tone": "model", "what": "answer", "detail": "all is well", "took": ""},
        {"at": 1.0, "tone": "waiting", "what": "paused", "detail": "", "took": ""},
    ]
    for place in range(len(rows)):
        assert canonical({**data, "events": [*rows[:place], *asked, *rows[place:]]}) == usual
    begin = next(i for i, row in enumerate(rows) if row["took"] == "started")
    assert canonical({**data, "events": [*rows[begin + 2 : begin + 4], *rows[begin : begin + 2]]}) == usual


def test_a_loop_that_does_something_else_looks_different() -> None:
    good, bad = (canonical(live(3, failing=failing)[MIMETYPE]) for failing in (False, True))
    assert good["text/plain"] != bad["text/plain"] and "gone" in bad["text/html"]


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_the_form_is_idempotent_and_our_notebooks_have_it(path: Path) -> None:
    committed = nbformat.read(path, as_version=4)
    assert normalised(committed) == committed
    processed, _ = post_process(committed, {})
    assert processed == committed


def test_what_a_run_adds_is_not_in_it() -> None:
    made = notebook(code("print(1)", printed("1\n"), printed("0.5 s\n")), code("n = 2", tags=("injected-parameters",)))
    made.cells[1].execution_count = 3
    made.cells[1].metadata["execution"] = {"iopub.status.busy": "…"}
    made.metadata["widgets"] = {"state": {}}
    made.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    clean = normalised(made)
    assert [cell.id for cell in clean.cells] == ["cell-0", "cell-1"]
    assert clean.cells[1].outputs == [printed("1\n… s\n")]
    assert (clean.cells[1].execution_count, dict(clean.cells[1].metadata)) == (None, {})
    assert dict(clean.metadata)["language_info"] == {"name": "python"} and "widgets" not in clean.metadata


def test_a_difference_names_the_cell_and_shows_both_sides() -> None:
    before = notebook(code("print(1)", printed("a\nb\n")), code("show", shown("x", "<b>x</b>")))
    after = copy.deepcopy(before)
    after.cells[1].outputs[0].text = "a\nc\n"
    after.cells[2].outputs = []
    first, second = compare(before, after)
    assert (first.cell, second.cell) == (1, 2)
    assert "b" in first.cause and "c" in first.cause and any(line.strip() == "-  b" for line in first.details)
    assert compare(before, before) == []
