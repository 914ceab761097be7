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
    environment = cluster.environment
    if python_path:
        environment["PYTHONPATH"] = ":".join(map(str, python_path))

    def once(*more: str) -> tuple[dict[str, None], dict[str, str]]:
        report = folder / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "-p", "no:nb_regression", "-o", "cache_dir=.outcomes", f"--junitxml={report}"]
        with (folder / "output.log").open("ab") as log:
            subprocess.run(
                [str(python), "-m", "pytest", *options, *words, *more],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                timeout=seconds,
                check=False,
            )
        if not report.exists():
            raise AssertionError(f"{suite} did not run:\n{(folder / 'output.log').read_text()[-3000:]}")
        return from_junit(report)

    passed, failed = once()
    if passed and any(not any(part in test for part in known) for test in failed):
        again, still = once("--last-failed", "--last-failed-no-failures=none")
        if again:
            note = "; ".join(filter(None, [note, f"{len(again)} on the second try"]))
        failed = {test: still.get(test, why) for test, why in failed.items() if test not in again}
        passed |= again
    return Outcome(suite, version, tuple(passed), failed, known, seconds=time.monotonic() - start, note=note)
