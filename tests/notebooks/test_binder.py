"""Binder's steps, as the unprivileged user they run as there: build, session start, a first `kaos up`.

The libraries are borrowed from this environment instead of fetched again; the package itself is built and installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
NOBODY = 65534
LIBRARIES = Path(aiohttp.__file__).parents[1]


class Visitor:
    """Runs commands in a copy of the repository, as somebody who is not root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.env = {"HOME": str(self.home), "LANG": "C.UTF-8", "PATH": f"{folder}/env/bin:{os.environ['PATH']}"}
        self.prefix: list[str] = []
        if os.geteuid() == 0:
            self.prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, *words], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=240
        )

    def must(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


@pytest.fixture(scope="module")
def visitor() -> Iterator[Visitor]:
    # Not under pytest's own folder: that is closed to everybody else.
    folder = Path(tempfile.mkdtemp(prefix="binder-"))
    folder.chmod(0o755)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    visitor = Visitor(folder)
    visitor.home.mkdir()
    if visitor.prefix:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    visitor.must(interpreter(visitor), "-m", "venv", "--without-pip", "env")
    (borrowed,) = folder.glob("env/lib/python3*/site-packages")
    (borrowed / "borrowed.pth").write_text(f"{LIBRARIES}\n")
    yield visitor
    visitor.run("kaos", "down", "--delete")
    shutil.rmtree(folder)


def interpreter(visitor: Visitor) -> str:
    """A Python of this version that the visitor may run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    where = "import os, sys, venv; path = os.path.realpath(sys.executable); open(path).close(); print(path)"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        found = visitor.run(candidate, "-c", where) if Path(candidate).exists() else None
        if found is not None and found.returncode == 0:
            return found.stdout.strip()
    raise AssertionError(f"no {version} that an unprivileged user can run")


def test_a_build_installs_and_a_session_can_start_a_cluster(visitor: Visitor) -> None:
    visitor.must("binder/postBuild")
    where = visitor.must("binder/start", "python", "-P", "-c", "import kaos_ext; print(kaos_ext.__file__)")
    assert where.startswith(str(visitor.folder / "env"))
    visitor.must("binder/start", "kaos", "up")
    assert "Ready" in visitor.must("kaos", "system", "status")
    visitor.must("kaos", "down", "--delete")


def test_an_error_during_the_build_is_not_ignored(visitor: Visitor) -> None:
    for name in ("postBuild", "start"):
        assert "set -euo pipefail" in (ROOT / "binder" / name).read_text()
        assert os.access(ROOT / "binder" / name, os.X_OK)
    assert (ROOT / "binder" / "start").read_text().rstrip().endswith('exec "$@"')
    assert (ROOT / "binder" / "runtime.txt").read_text().strip() == "python-3.11"
    assert (ROOT / "binder" / "requirements.txt").exists()
