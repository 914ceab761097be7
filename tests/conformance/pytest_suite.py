"""Run a suite written for pytest in its own folder and environment; what failed is tried once more, and counted."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance.embedded import Embedded
from tests.conformance.outcome import Outcome, from_junit


def run(
    suite: str,
    version: str,
    *,
    python: Path,
    folder: Path,
    words: Sequence[str],
    cluster: Embedded,
    known: Mapping[str, str],
    python_path: Sequence[Path] = (),
    seconds: float = 900,
    note: str = "",
) -> Outcome:
    start = time.monotonic()
    report = folder / "report.xml"
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nb_regression", *words]
    environment = cluster.environment
    if python_path:
        environment["PYTHONPATH"] = ":".join(map(str, python_path))
    with (folder / "output.log").open("ab") as log:
        subprocess.run(
            [*command, f"--junitxml={report}"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            timeout=seconds,
            check=False,
        )
    if not report.exists():
        raise AssertionError(f"{suite} did not run:\n{(folder / 'output.log').read_text()[-3000:]}")
    passed, failed = from_junit(report)
    return Outcome(suite, version, tuple(passed), failed, known, seconds=time.monotonic() - start, note=note)
