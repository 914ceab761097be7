"""The proof that nothing is left must be able to fail: a process is found however it hides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaos_ext.testing.leftovers import processes_of, wait_until_none

pytestmark = pytest.mark.process
TITLED = "import setproctitle, sys; setproctitle.setproctitle('kaos: agent a'); print(1, flush=True); sys.stdin.read()"
PLAIN = "import sys; print(1, flush=True); sys.stdin.read()"


def started(
    code: str, *words: str, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    return process


@pytest.mark.parametrize("how", ["command line", "environment", "folder, under another title"])
def test_a_process_is_found_by(how: str, tmp_path: Path) -> None:
    if how == "command line":
        process = started(PLAIN, str(tmp_path / "state"))
    elif how == "environment":
        process = started(PLAIN, env={"KAOS_HOME": str(tmp_path)})
    else:
        process = started(TITLED, cwd=tmp_path)
    try:
        assert [line.split()[0] for line in processes_of(tmp_path)] == [str(process.pid)]
        assert wait_until_none(tmp_path, seconds=0.05) != []
    finally:
        process.communicate("")
    assert wait_until_none(tmp_path) == []
