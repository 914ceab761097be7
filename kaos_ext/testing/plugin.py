"""The pytest plugin: `pytest notebooks/` runs notebooks, and `kaos_cluster` is a fresh cluster for tests of one's own.

    [pytest]
    kaos_notebooks = true          each .ipynb below is collected: an item for each verdict, all from one execution

Without that line, or `--kaos-notebooks`, nothing is collected and nothing imported: other runs stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kaos_ext.testing.clusters import EphemeralCluster
    from kaos_ext.testing.findings import Finding, Report, Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kaos", "notebooks as tests")
    group.addoption("--kaos-notebooks", action="store_true", help="collect every .ipynb as tests")
    group.addoption(
        "--kaos-parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the notebooks"
    )
    group.addoption("--kaos-kubeconfig", metavar="FILE", help="run on this cluster instead of fresh ones")
    group.addoption("--kaos-timeout", type=float, default=120.0, metavar="SECONDS", help="longest one cell may take")
    parser.addini("kaos_notebooks", "collect every .ipynb as tests", type="bool", default=False)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".ipynb" or ".ipynb_checkpoints" in file_path.parts:
        return None
    config = parent.config
    # pytest-notebook collects the same files when it is asked to; one of the two is enough.
    if config.getoption("nb_test_files", None):
        return None
    if not (config.getoption("kaos_notebooks") or config.getini("kaos_notebooks")):
        return None
    return NotebookFile.from_parent(parent, path=file_path)


class NotebookFile(pytest.File):
    """A notebook: it is run when the first of its verdicts is asked for, once."""

    _report: Report | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from kaos_ext.testing.findings import Verdict

        for verdict in Verdict:
            item = VerdictItem.from_parent(self, name=verdict.value, verdict=verdict)
            if self.config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group(str(self.path)))
            yield item

    def report_of_run(self) -> Report:
        if self._report is None:
            self._report = self._run()
        return self._report

    def _run(self) -> Report:
        import asyncio

        from kaos_ext.testing.cases import Case
        from kaos_ext.testing.parameters import from_words
        from kaos_ext.testing.runner import Options, run_case

        given = self.config.getoption("kaos_kubeconfig")
        options = Options(
            parameters=from_words(self.config.getoption("kaos_parameter")),
            kubeconfig=Path(given) if given else None,
            timeout=self.config.getoption("kaos_timeout"),
        )
        return asyncio.run(run_case(Case(self.path), options, self._say))

    def _say(self, line: str) -> None:
        """Progress, cell by cell, with -v."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and self.config.get_verbosity() > 0:
            capture: Any = self.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(line)


class VerdictItem(pytest.Item):
    """One verdict of one notebook."""

    def __init__(self, *, verdict: Verdict, **given: Any) -> None:
        super().__init__(**given)
        self.verdict = verdict

    def runtest(self) -> None:
        parent = self.parent
        assert isinstance(parent, NotebookFile)
        report = parent.report_of_run()
        found = report.of(self.verdict)
        if found:
            raise Red(found)
        if self.verdict in report.unasked:
            pytest.skip(report.unasked[self.verdict])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Red):
            return excinfo.value.told()
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.path.name}: {self.verdict}"


class Red(Exception):
    """A verdict is red; its findings say why."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = findings

    def told(self) -> str:
        lines: list[str] = []
        for finding in self.findings:
            lines += [f"{finding.verdict}: {finding}", *(f"    {line}" for line in finding.details)]
        return "\n".join(lines)


@pytest.fixture(scope="session")
def kaos_cluster() -> Iterator[EphemeralCluster]:
    """A fresh cluster for the whole session: `.environment`, `.kubeconfig`, `.kaos("agent", "list")`, `.json(...)`.

    It ends with the session, and the session fails if a process of it is left.
    """
    from kaos_ext.testing.clusters import EphemeralCluster

    with EphemeralCluster() as cluster:
        yield cluster


@pytest.fixture
def kaos_namespace(kaos_cluster: EphemeralCluster) -> Iterator[str]:
    """A namespace of the test's own on that cluster; it goes with the test."""
    with kaos_cluster.namespace() as name:
        yield name
