"""kr8s's own tests of its API, objects and I/O."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.conformance import pytest_suite
from tests.conformance.embedded import embedded
from tests.conformance.outcome import Outcome
from tests.conformance.sources import environment, sdist

REQUIREMENTS = ("kubernetes-asyncio", "pykube-ng", "pytest-rerunfailures", "trio")
STAND_INS = Path(__file__).parent / "stand_ins"
FILES = ("api", "objects", "io")
KNOWN: dict[str, str] = {}


def run(only: Sequence[str] = ()) -> Outcome:
    folder = sdist("kr8s")
    python = environment("kr8s", (f"kr8s=={version('kr8s')}", *REQUIREMENTS))
    settings = folder / "pyproject.toml"
    settings.write_text(re.sub(r"(?m)^addopts = .*$", 'addopts = ""', settings.read_text()))
    choice = ["-k", " or ".join(only)] if only else []
    try:
        with embedded() as cluster:
            return pytest_suite.run(
                "kr8s",
                version("kr8s"),
                python=python,
                folder=folder,
                words=["-p", "kept_cluster", "--timeout=40", *(f"kr8s/tests/test_{one}.py" for one in FILES), *choice],
                cluster=cluster,
                known=KNOWN,
                python_path=(folder, STAND_INS),
                seconds=1800,
            )
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
