"""kopf's own end-to-end tests: each of its examples as an operator on the cluster, driven by kubectl."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.conformance import pytest_suite
from tests.conformance.embedded import embedded
from tests.conformance.outcome import Outcome
from tests.conformance.sources import environment, sdist

TESTS = 17
REQUIREMENTS = (
    "certbuilder",
    "certvalidator",
    "freezegun",
    "kmock",
    "looptime",
    "pykube-ng",
    "pyngrok",
    "pytest-mock",
)


def run(only: Sequence[str] = ()) -> Outcome:
    folder = sdist("kopf")
    python = environment("kopf", REQUIREMENTS)
    fixed = _read_two_digit_versions(python)
    # the suite gives an operator three seconds to log in: the first import of these must not be part of them
    subprocess.run([str(python), "-c", "import kopf, kubernetes.client, pykube, certbuilder"], check=True)
    choice = ["-k", " or ".join(only)] if only else []
    try:
        with embedded() as cluster:
            return pytest_suite.run(
                "kopf e2e",
                version("kopf"),
                python=python,
                folder=folder,
                # what an operator leaves to the garbage collector at its end is between its client and asyncio
                words=[
                    *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
                    "--only-e2e",
                    "--timeout=120",
                    "tests/e2e",
                    "examples",
                    *choice,
                ],
                cluster=cluster,
                known={},
                note="oscrypto with its merged but unreleased fix, as kopf's own CI" if fixed else "",
            )
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def _read_two_digit_versions(python: Path) -> bool:
    """oscrypto 1.3 cannot load an OpenSSL whose version ends in two digits; kopf's CI installs the fixed commit."""
    (site,) = (python.parent.parent / "lib").glob("python*/site-packages")
    fixed = False
    for path in (site / "oscrypto" / "_openssl").glob("_libcrypto_c*.py"):
        text = path.read_text()
        found = re.sub(r"(search\('\\\\b\(\\\\d\\\\\.\\\\d\\\\\.\\\\d)(\[)", r"\1+\2", text)
        fixed = fixed or found != text or r"\\d+[" in text
        path.write_text(found)
    return fixed
