"""What `kaos test`, `kaos notebook lint` and `kaos notebook refresh` do. The grammar names these functions."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kaos_ext.commands.result import Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.testing.cases import Case, Proof, find_notebooks, matrix
from kaos_ext.testing.cases import sample as sampled
from kaos_ext.testing.findings import Report, Verdict
from kaos_ext.testing.parameters import from_words
from kaos_ext.testing.reading import summary
from kaos_ext.testing.runner import Options
from kaos_ext.views import Cell, State, Table, Tone

EVERY = "all"
NEEDED = ["nbformat", "nbclient", "nbconvert", "papermill", "pytest_notebook", "ipykernel"]
TONES = {"green": Tone.DONE, "red": Tone.FAILED, "not asked": Tone.QUIET}


def _need_extra() -> None:
    """A base install runs no tests; say what does."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise KaosError(f"testing notebooks needs {', '.join(missing)}", hint='pip install "kaos-ext[test]"')


async def test(
    session: Session,
    *,
    paths: tuple[str, ...],
    workers: int,
    parameter: tuple[str, ...],
    proof: tuple[str, ...],
    sample: int | None,
    seed: int,
    kernel_python: str | None,
    timeout: float,  # noqa: ASYNC109
    junit: str | None,
    html: str | None,
) -> Result:
    """Run notebooks, plainly and under the proofs that are asked for."""
    from kaos_ext.testing.suite import run_suite

    _need_extra()
    notebooks = find_notebooks(paths)
    python = _python(kernel_python)
    proofs = _proofs(proof, python)
    cases = [Case(notebook) for notebook in notebooks]
    proved = [case for notebook in notebooks for case in matrix(notebook, proofs, python)]
    cases += proved if sample is None else sampled(proved, sample, seed)
    given = session.options.kubeconfig
    options = Options(
        from_words(parameter),
        kubeconfig=Path(given) if given else None,
        timeout=timeout,
        python=None if Proof.KERNEL in proofs else python,
    )
    reports = await run_suite(cases, options, at_once=workers, say=session.note)
    if junit:
        from kaos_ext.testing.junit import write_junit

        write_junit(Path(junit), reports)
    if html:
        from kaos_ext.testing.html_report import write_pages

        session.note(f"pages in {write_pages(Path(html), reports)}")
    session.note(summary(reports))
    data = {"green": all(report.green for report in reports), "reports": [report.as_json() for report in reports]}
    return Result(_table(reports), data, status=0 if data["green"] else 1)


def _python(path: str | None) -> Path | None:
    if path is None:
        return None
    # Not resolved: a virtual environment's python is a link, and is known by where it lies.
    python = Path(path).absolute()
    if not python.is_file():
        raise UsageError(f"there is no Python at {path}", hint="--kernel-python VENV/bin/python")
    return python


def _proofs(words: tuple[str, ...], python: Path | None) -> list[Proof]:
    if EVERY in words:
        return [proof for proof in Proof if proof is not Proof.KERNEL or python is not None]
    proofs = [Proof(word) for word in dict.fromkeys(words)]
    if Proof.KERNEL in proofs and python is None:
        raise UsageError("the proof `kernel` needs another Python", hint="--kernel-python VENV/bin/python")
    return proofs


def _table(reports: list[Report]) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            report.name,
            *(
                State(report.state(verdict), TONES[report.state(verdict)])
                for verdict in Verdict
            ),
            f"{report.seconds:.1f} s",
        )
        for report in reports
    )  # fmt: skip
    return Table("notebooks", ("notebook", *(verdict.value for verdict in Verdict), "time"), rows)


async def lint(session: Session, *, paths: tuple[str, ...]) -> Result:
    """Look at committed notebooks without running them."""
    from kaos_ext.testing.lint import lint as check

    _need_extra()
    notebooks = find_notebooks(paths)
    found = [broke for notebook in notebooks for broke in check(notebook)]
    rows = tuple((str(broke.notebook), broke.where, broke.rule, broke.cause) for broke in found)
    table = Table("lint", ("notebook", "cell", "rule", "what"), rows, empty=f"{len(notebooks)} notebooks, all clean")
    return Result(table, [broke.as_json() for broke in found], status=1 if found else 0)


async def refresh(
    session: Session, *, paths: tuple[str, ...], timeout: float  # noqa: ASYNC109
) -> Result:  # fmt: skip
    """Run notebooks and write their outputs in the committed form."""
    from kaos_ext.testing.reading import report_text
    from kaos_ext.testing.refresh import ITS_OWN
    from kaos_ext.testing.refresh import refresh as renew

    _need_extra()
    given = session.options.kubeconfig
    options = Options(kubeconfig=Path(given) if given else None, timeout=timeout)
    rows: list[tuple[Any, ...]] = []
    data: list[dict[str, Any]] = []
    red = False
    for notebook in find_notebooks(paths):
        session.note(str(notebook))
        report, changed = await renew(notebook, options, session.note)
        wrong = [finding for finding in report.findings if finding.verdict not in ITS_OWN]
        if wrong:
            session.note(report_text(report))
        said = f"not written: {wrong[0]}" if wrong else "written" if changed else "is as it was"
        red = red or bool(wrong)
        rows.append((str(notebook), State(said, Tone.FAILED if wrong else Tone.DONE)))
        data.append({"notebook": str(notebook), "changed": changed, "findings": [f.as_json() for f in wrong]})
    return Result(Table("refreshed", ("notebook", "file"), tuple(rows)), data, status=1 if red else 0)
