"""`kaos notebook refresh`: outputs in the committed form, written once, never from a run that fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kaos_ext.testing.cases import Case
from kaos_ext.testing.findings import Verdict
from kaos_ext.testing.lint import lint
from kaos_ext.testing.refresh import refresh
from kaos_ext.testing.runner import Options, run_case
from tests.testing.notebooks import HTML, code, notebook, printed, written

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
ALONE = Options(cluster=False, timeout=30)
SOURCES = (
    "import time\nbegan = time.time()",
    "print(f'took {time.time() - began:.3f} s')",
    f"{HTML}display(HTML(f'<b>{{time.strftime(\"%H:%M:%S\")}}</b>'))\nassert began",
)


async def renewed(path: Path) -> tuple[bool, Any]:
    report, changed = await refresh(path, ALONE)
    assert {finding.verdict for finding in report.findings} <= {Verdict.OUTPUTS, Verdict.BUDGET}
    return changed, nbformat.read(path, as_version=4)


async def test_it_writes_what_every_run_shows_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, notebook(*SOURCES))
    first, committed = await renewed(path)
    text = path.read_text()
    second, _ = await renewed(path)
    assert (first, second, path.read_text()) == (True, False, text)
    assert committed.cells[2].outputs[0].text == "took … s\n"
    assert committed.cells[3].outputs[0].data["text/html"] == "<b>--:--:--</b>"
    assert set(committed.metadata["kaos"]["budget"]) == {"cell-1", "cell-2", "cell-3"}
    assert lint(path) == []
    assert (await run_case(Case(path), ALONE)).findings == ()


async def test_a_run_that_fails_is_never_written(tmp_path: Path) -> None:
    path = written(tmp_path, notebook(code("print(1)", printed("0\n")), "1 / 0"))
    before = path.read_text()
    report, changed = await refresh(path, ALONE)
    assert not changed and path.read_text() == before
    assert [finding.verdict for finding in report.findings] == [Verdict.ERRORS]


async def test_a_kernel_that_does_not_start_is_tried_once_more_and_named(tmp_path: Path) -> None:
    report = await run_case(Case(written(tmp_path, notebook("1"))), replace(ALONE, python=Path("/bin/false")))
    (finding,) = report.findings
    assert finding.verdict is Verdict.ERRORS and "the kernel did not start" in finding.cause
    assert report.retried == finding.cause
    assert report.unasked[Verdict.PAGE] == "the run did not begin"
