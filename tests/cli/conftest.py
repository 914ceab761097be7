"""The real `kaos` command, with a kubeconfig and a home of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KAOS = Path(sys.executable).parent / "kaos"
Kaos = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": f"{KAOS.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KAOS_HOME": str(tmp_path / "kaos"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "LANG": "C.UTF-8",
    }


@pytest.fixture
def kaos(environment: dict[str, str], tmp_path: Path) -> Kaos:
    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(KAOS), *words], env={**environment, **more}, cwd=tmp_path, capture_output=True, text=True, timeout=30
        )

    return run
