"""Helm's five verbs with wait: its SDK from the Python package, and the real `helm` where $HELM or PATH has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.embedded import Embedded, embedded
from tests.conformance.outcome import Outcome
from tests.conformance.sources import environment

HERE = Path(__file__).parent
CHART = HERE / "data" / "chart"
PACKAGE = "helm-python-sdk==0.2.2"
VERBS: dict[str, list[str]] = {
    "install": ["install", "site", str(CHART), "--wait", "--timeout=60s"],
    "upgrade": ["upgrade", "site", str(CHART), "--set=replicas=2,text=second", "--wait", "--timeout=60s"],
    "list": ["list", "--output=json"],
    "rollback": ["rollback", "site", "1", "--wait", "--timeout=60s"],
    "uninstall": ["uninstall", "site", "--wait", "--timeout=60s"],
}


def program() -> str | None:
    """The real helm."""
    return os.environ.get("HELM") or shutil.which("helm")


def run(only: Sequence[str] = ()) -> Outcome:
    start = time.monotonic()
    with embedded() as cluster:
        results = _sdk(cluster)
        note = "SDK"
        if (helm := program()) is not None:
            results |= _real(helm, cluster)
            note = "SDK and the real helm"
    passed = tuple(verb for verb, wrong in results.items() if wrong is None)
    failed = {verb: wrong for verb, wrong in results.items() if wrong is not None}
    return Outcome("helm", PACKAGE.partition("==")[2], passed, failed, seconds=time.monotonic() - start, note=note)


def _sdk(cluster: Embedded) -> dict[str, str | None]:
    python = environment("helm", (PACKAGE,))
    command = [str(python), str(HERE / "programs" / "helm_verbs.py"), str(CHART)]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True, timeout=300)
    found: dict[str, str | None] = {f"SDK {verb}": "did not run" for verb in VERBS}
    for line in done.stdout.splitlines():
        said = json.loads(line)
        found[f"SDK {said['verb']}"] = said["wrong"]
    return found


def _real(helm: str, cluster: Embedded) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for verb, words in VERBS.items():
        done = subprocess.run(
            [helm, *words], env=cluster.environment, capture_output=True, text=True, timeout=120, check=False
        )
        wrong = done.stderr.strip()[-300:] if done.returncode else None
        if verb == "list" and wrong is None and '"revision":"2"' not in done.stdout:
            wrong = f"lists {done.stdout[:200]}"
        found[f"helm {verb}"] = wrong
    return found
