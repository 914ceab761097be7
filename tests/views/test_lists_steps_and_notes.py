"""What tables, steps, notes and logs say, as text and as html."""

from __future__ import annotations

import pytest

from kaos_ext.views import ErrorView, LogView, Note, State, Step, Steps, StepState, Table, Tone, bundle
from kaos_ext.views.columns import aligned
from kaos_ext.views.durations import countdown, duration, span


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 ms"), (0.006, "6 ms"), (0.31, "0.31 s"), (1.14, "1.1 s"), (42, "42 s"), (192, "3 m 12 s"),
     (7500, "2 h 05 m"), (363600, "4 d 5 h"), (None, "")],
)  # fmt: skip
def test_durations_read_like_speech(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_a_countdown_is_fine_near_the_end() -> None:
    assert [countdown(s) for s in (0, 0.62, 9.94, 61)] == ["now", "0.6 s", "9.9 s", "1 m 01 s"]
    assert span(59.6) == "1 m 00 s"


def test_columns_line_up_under_wide_characters() -> None:
    assert aligned([("日本", "x"), ("ab", "y")]) == "日本  x\nab    y"


def test_a_table_is_aligned_and_its_states_have_glyphs() -> None:
    table = Table("agents", ("name", "phase", "n"), (("a", State("Ready", Tone.DONE), 12), ("bcd", None, 3)))
    assert table.text() == "NAME   PHASE     N\na      ✓ Ready   12\nbcd    –         3"
    assert table.frame() == {"name": ["a", "bcd"], "phase": ["Ready", None], "n": [12, 3]}


def test_an_empty_table_says_so_and_what_to_do() -> None:
    table = Table("agents", ("name",), (), "none in namespace default", "%kaos agent deploy …")
    assert table.text() == "agents: none in namespace default\n  → %kaos agent deploy …"


def test_steps_name_the_one_that_waits() -> None:
    done, waits = Step("cluster", StepState.DONE, "", 0.31), Step("agent a", StepState.WAITING, "no model m")
    steps = Steps("starting", "kaos-default", (done, waits), 1.1, "%kaos agent deploy a --model x")
    assert steps.text() == (
        "◌ starting kaos-default · 1 of 2 ready · 1.1 s\n"
        "  ✓  cluster              0.31 s\n"
        "  ◌  agent a  no model m\n"
        "  → %kaos agent deploy a --model x"
    )
    assert steps.tone is Tone.WAITING


def test_steps_that_are_all_done_are_ready() -> None:
    assert Steps("starting", "x", (Step("cluster", StepState.DONE),)).summary == "ready"


def test_an_error_has_its_next_step() -> None:
    error = ErrorView("agent x was not found", "%kaos agent list", ("asked: GET /x",))
    assert error.text() == "✗ agent x was not found\n  asked: GET /x\n  → %kaos agent list"


def test_a_long_log_folds_its_beginning() -> None:
    log = LogView("agent/a", tuple(f"line {n}" for n in range(250)), shown=200)
    assert "50 earlier lines" in log.html()
    assert log.text().splitlines()[0] == "line 0"


def test_a_bundle_names_its_own_type() -> None:
    assert set(bundle(Note(Tone.DONE, "x"))) == {"text/plain", "text/html", "application/vnd.kaos.note.v1+json"}
