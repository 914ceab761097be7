"""The test of the tests: each defect turns exactly the right verdict red, with a message that names cell and cause."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.testing.cases import Case, Proof
from kaos_ext.testing.findings import Report, Verdict
from kaos_ext.testing.runner import Options, run_case
from tests.testing.notebooks import CLEAN, HTML, code, notebook, printed, shown, written

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]
ALONE = Options(cluster=False, timeout=30)
QUICK = replace(ALONE, pages=False)


@dataclass(frozen=True)
class Defect:
    """A notebook with one thing wrong; which verdict it turns red, in which cell (0: in none), in what words."""

    name: str
    made: Any
    verdict: Verdict
    cell: int
    words: tuple[str, ...]
    options: Options = QUICK
    proof: Proof | None = None
    after: int | None = None


SWALLOWING = """\
from IPython.core.magic import register_cell_magic
@register_cell_magic
def quietly(line, cell):
    get_ipython().run_cell(cell)
"""
WIDGET = "application/vnd.jupyter.widget-view+json"
DEFECTS = (
    Defect(
        "a wrong number",
        notebook(code("print(6 * 7 - 1)", printed("42\n"))),
        Verdict.OUTPUTS, 1, ("42", "41", "kaos notebook refresh"),
    ),
    Defect(
        "a stale output",
        notebook(
            code(f"{HTML}display(HTML('<i>new</i>'))", shown("<IPython.core.display.HTML object>", "<i>old</i>"))
        ),
        Verdict.OUTPUTS, 1, ("old", "new"),
    ),
    Defect("no outputs", notebook("print(1)"), Verdict.OUTPUTS, 0, ("no outputs are committed",)),
    Defect(
        "a leaked process",
        notebook(
            "import subprocess, sys\nleak = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])"
        ),
        Verdict.LEFTOVERS, 0, ("a process is left", "time.sleep(300)"),
    ),
    Defect(
        "a leaked port",
        notebook(
            "import subprocess, sys\n"
            "leak = subprocess.Popen([sys.executable, '-m', 'http.server', '0', '--bind', '127.0.0.1'],\n"
            "    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)\n"
            "assert b'Serving' in leak.stdout.readline()"
        ),
        Verdict.LEFTOVERS, 0, ("http.server", "listening on"),
    ),
    Defect(
        "a leaked file",
        notebook("from pathlib import Path\n_ = Path('left.txt').write_text('left')"),
        Verdict.LEFTOVERS, 0, ("a file is left: cwd/left.txt",),
    ),
    Defect(
        "a widget without html",
        notebook(
            code(
                "import ipywidgets\nfrom IPython.display import display\ndisplay(ipywidgets.IntProgress(value=3))",
                shown("IntProgress(value=3)", **{WIDGET: {"model_id": "x", "version_major": 2, "version_minor": 0}}),
            ),
            kaos={"compare": False},
        ),
        Verdict.BUNDLES, 1, ("a widget without text/html",),
    ),
    Defect(
        "a widget whose state is not saved",
        notebook(
            "from IPython.display import display\n"
            f"display({{'{WIDGET}': {{'model_id': 'gone'}}, 'text/plain': 'w', 'text/html': 'w'}}, raw=True)",
            kaos={"compare": False},
        ),
        Verdict.PAGE, 1, ("model not found",), ALONE,
    ),
    Defect(
        "a swallowed error",
        notebook(SWALLOWING, "%%quietly\n1 / 0", kaos={"compare": False}),
        Verdict.ERRORS, 2, ("ZeroDivisionError", "the cell went on"),
    ),
    Defect(
        "an unknown magic, whose error has no message in its reply",
        notebook("%nosuchmagic at all"),
        Verdict.ERRORS, 1, ("UsageError", "nosuchmagic"),
    ),
    Defect("a failing command", notebook("!false"), Verdict.ERRORS, 1, ("false", "status 1")),
    Defect("sys.exit(0)", notebook("import sys", "sys.exit(0)"), Verdict.ERRORS, 2, ("sys.exit(0) ends",)),
    Defect(
        "a dead kernel",
        notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
        Verdict.ERRORS, 1, ("the kernel died",),
    ),
    Defect(
        "an endless wait",
        notebook("import threading\nnever = threading.Event()\nnever.wait()"),
        Verdict.ERRORS, 1, ("has not ended after 2 s", "never.wait()"), replace(QUICK, timeout=2),
    ),
    Defect(
        "a warning on standard error",
        notebook("import warnings\nwarnings.warn('this is odd')", kaos={"compare": False}),
        Verdict.ERRORS, 1, ("standard error", "this is odd"),
    ),
    Defect(
        "an error in a thread",
        notebook(
            "import threading\ndef work():\n    raise OSError('lost in a thread')\n"
            "thread = threading.Thread(target=work)\nthread.start()\nthread.join()",
            kaos={"compare": False},
        ),
        Verdict.ERRORS, 1, ("standard error", "lost in a thread"),
    ),
    Defect(
        "a cell that is not idempotent",
        notebook(code("total = globals().get('total', 0) + 1\nprint(total)", printed("1\n"))),
        Verdict.OUTPUTS, 1, ("the second time", "something else", "2"), QUICK, Proof.TWICE,
    ),
    Defect(
        "a cell that cannot run after a restart",
        notebook(
            "import os\nos.mkdir('made')",
            "os.rmdir('made')",
        ),
        Verdict.ERRORS, 1, ("FileExistsError",), QUICK, Proof.RESTART, 1,
    ),
    Defect(
        "a slow cell",
        notebook(code("import time\ntime.sleep(2.6)"), kaos={"budget": {"cell-1": 0.5}}),
        Verdict.BUDGET, 1, ("2.6 s", "times what it did"),
    ),
    Defect(
        "a raw repr",
        notebook("from IPython.display import display\ndisplay(object())", kaos={"compare": False}),
        Verdict.PAGE, 1, ("raw repr", "<object at 0x"), ALONE,
    ),
    Defect(
        "a script of a CDN",
        notebook(
            f"{HTML}display(HTML('<script src=\"https://cdn.example/x.js\"></script>ok'))", kaos={"compare": False}
        ),
        Verdict.PAGE, 1, ("fetches https://cdn.example/x.js",), ALONE,
    ),
    Defect(
        "white text",
        notebook(f"{HTML}display(HTML('<b style=\"color:#fefefe\">ok</b>'))", kaos={"compare": False}),
        Verdict.PAGE, 1, ("#fefefe", "light theme"), ALONE,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """All of them, two at a time: each needs a kernel and none a cluster."""
    folder = tmp_path_factory.mktemp("defects")

    async def all_of_them() -> dict[str, Report]:
        free = asyncio.Semaphore(2)

        async def one(defect: Defect) -> tuple[str, Report]:
            path = written(folder, defect.made, defect.name.replace(" ", "-"))
            async with free:
                case = Case(path, defect.proof, after=defect.after)
                return defect.name, await run_case(case, defect.options)

        return dict(await asyncio.gather(*map(one, DEFECTS)))

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_it_turns_the_right_verdict_red_and_only_that(defect: Defect, reports: dict[str, Report]) -> None:
    report = reports[defect.name]
    assert {finding.verdict for finding in report.findings} == {defect.verdict}, report.findings
    finding = report.of(defect.verdict)[0]
    assert finding.cell == (defect.cell or None)
    assert defect.cell == 0 or f"cell {defect.cell + 1} (cell-{defect.cell})" in str(finding)
    assert all(word in str(finding) for word in defect.words), str(finding)


def test_a_failing_cell_is_never_tried_again_and_a_dead_kernel_once(reports: dict[str, Report]) -> None:
    assert reports["a dead kernel"].retried == "the kernel died"
    assert {report.name for report in reports.values() if report.retried} == {reports["a dead kernel"].name}


def test_a_failure_shows_the_source_and_the_streams_of_its_cell(reports: dict[str, Report]) -> None:
    (finding,) = reports["an endless wait"].of(Verdict.ERRORS)
    assert "  never.wait()" in finding.details
    (finding,) = reports["an error in a thread"].of(Verdict.ERRORS)
    assert any("stderr: OSError: lost in a thread" in line for line in finding.details)


def test_verdicts_that_could_not_be_asked_say_why(reports: dict[str, Report]) -> None:
    report = reports["sys.exit(0)"]
    assert report.unasked[Verdict.OUTPUTS] == "the run ended early"
    assert report.state(Verdict.OUTPUTS) == "not asked"
    assert report.unasked[Verdict.CLUSTER] == "there is no cluster"


async def test_a_clean_notebook_is_green(tmp_path: Path) -> None:
    lines: list[str] = []
    report = await run_case(Case(written(tmp_path, CLEAN)), ALONE, lines.append)
    assert report.findings == ()
    assert [line.split("s  ", 1)[1] for line in lines][1] == "print(sum(range(count)))"


async def test_given_parameters_are_injected_and_outputs_of_other_ones_not_compared(tmp_path: Path) -> None:
    report = await run_case(Case(written(tmp_path, CLEAN)), replace(QUICK, parameters={"count": 5}))
    assert report.findings == ()
    assert report.unasked[Verdict.OUTPUTS] == "they were made with other parameters (count)"
    assert next(o.text for cell in report.executed.cells for o in cell.get("outputs", ()) if "text" in o) == "10\n"


async def test_a_clean_notebook_passes_twice_and_after_a_restart(tmp_path: Path) -> None:
    path = written(tmp_path, CLEAN)
    twice = await run_case(Case(path, Proof.TWICE), QUICK)
    restarted = await run_case(Case(path, Proof.RESTART, after=2), QUICK)
    assert (twice.findings, restarted.findings) == ((), ())
