"""The pure parts: pages, parameters, cases, claims, budgets."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest

from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError, NotFoundError, UsageError
from kaos_ext.testing import budget, traces, verbs
from kaos_ext.testing.cases import Case, Proof, find_notebooks, matrix, restart_places, sample
from kaos_ext.testing.claims import claims
from kaos_ext.testing.faults import Fault
from kaos_ext.testing.findings import CellRun
from kaos_ext.testing.page import check_page, contrast, render
from kaos_ext.testing.parameters import changed, declared, from_words, parameterised
from tests.testing.notebooks import CLEAN, code, notebook, printed, shown, written


async def test_a_base_install_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "NEEDED", [*verbs.NEEDED, "not_installed_here"])
    with pytest.raises(KaosError, match="needs not_installed_here") as refused:
        await verbs.lint(Session(), paths=("x.ipynb",))
    assert refused.value.hint == 'pip install "kaos-ext[test]"'


def test_a_thread_that_goes_on_is_told() -> None:
    released = threading.Event()
    thread = threading.Thread(target=released.wait, name="heartbeat")
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(traces, "THREAD_SECONDS", 0.01)
            assert [f.cause for f in traces.threads_left([thread])] == ["a thread is left: heartbeat"]
    finally:
        released.set()
    assert traces.threads_left([thread]) == []


def test_parameters_are_read_as_papermill_reads_them() -> None:
    words = ["a=1", "b=1.5", "c=true", "d=none", "e=text with = in it", "f="]
    assert from_words(words) == {"a": 1, "b": 1.5, "c": True, "d": None, "e": "text with = in it", "f": ""}
    with pytest.raises(UsageError, match="`x y=1` is not a parameter"):
        from_words(["x y=1"])


def test_an_unknown_parameter_is_an_error_that_names_the_near_one_and_fault_is_the_runners_own() -> None:
    assert declared(CLEAN) == {"count": 3}
    with pytest.raises(UsageError, match="has no parameter coutn") as refused:
        parameterised(Path("n.ipynb"), CLEAN, {"coutn": 2})
    assert refused.value.hint == "did you mean count?"
    assert parameterised(Path("n.ipynb"), CLEAN, {"fault": "agent_crash"}) == CLEAN
    given = parameterised(Path("n.ipynb"), CLEAN, {"count": 5})
    assert [c.source for c in given.cells if "injected-parameters" in c.metadata.get("tags", ())] == [
        "# Parameters\ncount = 5\n"
    ]
    assert (changed(CLEAN, {"count": 5}), changed(CLEAN, {"count": 3})) == (["count"], [])


def test_notebooks_are_found_in_folders_once_and_checkpoints_are_none(tmp_path: Path) -> None:
    first, second = written(tmp_path, CLEAN, "a"), written(tmp_path, CLEAN, "b")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "a-checkpoint.ipynb").write_text("{}")
    assert find_notebooks([tmp_path, first]) == [first, second]
    with pytest.raises(NotFoundError, match=r"there is no .*nowhere"):
        find_notebooks([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="is not a notebook"):
        find_notebooks([Path(__file__)])


def test_the_matrix_has_every_restart_and_every_fault_and_a_seed_means_one_sample(tmp_path: Path) -> None:
    path = written(tmp_path, CLEAN)
    assert restart_places(path) == [1, 2, 3, 4]
    cases = matrix(path, list(Proof), python=Path("/x/python"))
    assert len(cases) == len({case.name for case in cases}) == 1 + 4 + len(Fault) + 1
    assert sample(cases, 3, seed=7) == sample(cases, 3, seed=7)
    assert len({tuple(case.name for case in sample(cases, 3, seed)) for seed in range(20)}) > 5
    assert set(sample(cases, 99, seed=1)) == set(cases)
    assert Case(path, Proof.RESTART, after=3).name.endswith("[restart after cell 4]")


def test_budgets_are_multiples_of_the_runs_own_baseline() -> None:
    took = [CellRun(0, "a", "a", 4.0), CellRun(1, "b", "b", 0.001), CellRun(2, "new", "new", 30.0)]
    for baseline, red in ((0.01, True), (0.03, False)):
        cells = budget.judged(took, {"a": 50.0, "b": 5.0}, baseline)
        found = budget.check_budget(cells, {"a": 50.0, "b": 5.0}, baseline)
        assert bool(found) is red
    assert [cell.allowed for cell in cells] == [7.5, budget.FLOOR_SECONDS, None]


def test_a_budget_that_is_about_right_stays_as_it_is() -> None:
    took = [CellRun(0, "a", "a", 1.0), CellRun(1, "b", "b", 1.0)]
    measured = budget.measured(took, 0.01, {"a": 150.0, "b": 20.0})
    assert measured == {"a": 150.0, "b": 100.0}
    assert budget.measured(took, 0.012, measured) == measured


def test_the_last_word_about_an_object_is_the_claim() -> None:
    made = notebook(
        code("x", printed("context kaos-default, namespace ns-1\n✅ Deployed ModelAPI 'api' in Proxy mode\n")),
        code("y", shown("✅ Deployed Agent 'a' with ModelAPI 'api'\n  context c, namespace other", "<b>")),
        code("z", shown("✅ Deleted Agent 'a'\n  context c, namespace other", "<b>")),
        code("%kaos mcp delete tools --wait", printed("")),
        code("k", printed('namespace "ns-1" deleted\n')),
    )
    said = {claim.what: (claim.there, claim.cell) for claim in claims(made)}
    assert said == {"ModelAPI ns-1/api": (False, 5), "Agent other/a": (False, 3)}
    made.cells.pop()
    assert {c.what: c.there for c in claims(made)} == {"ModelAPI ns-1/api": True, "Agent other/a": False}


def test_what_a_notebook_expects_beyond_its_outputs_is_a_claim() -> None:
    made = notebook("x", kaos={"expect": {"agent/helper": "ready", "mcp/old": "gone"}})
    assert {c.what: c.there for c in claims(made, "ns")} == {"Agent ns/helper": True, "MCPServer ns/old": False}


def test_a_page_of_ours_is_whole_in_both_themes() -> None:
    pages = render(CLEAN)
    assert set(pages) == {"light", "dark"} and pages["light"] != pages["dark"]
    assert check_page(CLEAN, pages) == []


@pytest.mark.parametrize(
    ("html", "cause"),
    [
        ('<img src="https://elsewhere.example/a.png">', "fetches https://elsewhere.example/a.png"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "fetches //cdn.example/x.css"),
        ("<style>@import 'https://fonts.example/a.css';</style>", "fetches https://fonts.example/a.css"),
        ('<script type="module">import x from "https://esm.example/x"</script>', "fetches https://esm.example/x"),
        ('<b style="color:#111">dark</b>', "cannot be read in the dark theme"),
        ("<b style='font-weight:1; color: white'>w</b>", "cannot be read in the light theme"),
        ("Error displaying widget: model not found", "it says 'model not found'"),
        ("<code>&lt;</code><Thing object at 0x7f00aa11bb22>", "raw repr"),
    ],
)
def test_what_is_not_whole_is_found_in_its_cell(html: str, cause: str) -> None:
    made = copy.deepcopy(CLEAN)
    made.cells[3].outputs = [shown("x", html)]
    found = check_page(made, {})
    assert any(cause in finding.cause and finding.cell == 3 for finding in found), found


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://docs.example/">a link is followed only when it is clicked</a>',
        '<b style="color:#fff;background:#2f9e63">a pill</b>',
        '<b style="background-color:#123;color:white">another</b>',
        '<span style="color:#2f9e63">ours</span>',
        "<span style='border-color:#fff'>no text</span>",
    ],
)
def test_what_is_whole_is_let_alone(html: str) -> None:
    made = copy.deepcopy(CLEAN)
    made.cells[3].outputs = [shown("x", html)]
    assert check_page(made, {}) == []


def test_contrast_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == 1
