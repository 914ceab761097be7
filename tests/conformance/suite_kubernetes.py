"""Kubernetes' own end-to-end tests of API machinery, from the `e2e.test` binary of its release.

The binary is built from Go modules and is no package: $KUBE_E2E names it, or it is on PATH. `agnhost`, the server and
tool of tests that need a pod, lies beside it where it was built.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.embedded import IMAGES, embedded
from tests.conformance.outcome import Outcome

NOT_RUN = {
    r"AdmissionPolicy.*(Deployment|refer variables)": "admission policies are stored, not enforced",
    r"AdmissionWebhook|ConversionWebhook|CustomResourceFieldSelectors": "its webhook is a pod whose files lie at fixed "
    "paths, which needs mounts: comes with the nodes; webhooks themselves are tested by ours and by kopf's suite",
    r"Sample API Server": "needs the image of another API server",
}
"""Tests of what is not there, each of which would wait for minutes; they count as failed."""


def binary() -> Path:
    found = os.environ.get("KUBE_E2E") or shutil.which("e2e.test")
    if not found:
        raise AssertionError("Kubernetes' e2e.test is missing: set KUBE_E2E to it, or put it on PATH")
    return Path(found)


def run(only: Sequence[str] = ()) -> Outcome:
    e2e = binary()
    images = dict(IMAGES)
    if (agnhost := e2e.parent / "agnhost").exists():
        images["registry.k8s.io/e2e-test-images/agnhost"] = {"command": [str(agnhost)], "args": ["pause"]}
    mine = [name for name in names(e2e) if name.startswith("[sig-api-machinery]")]
    wanted = [name for name in mine if not only or any(re.search(one, name) for one in only)]
    left_out = {name: why for name in wanted for part, why in NOT_RUN.items() if re.search(part, name)}
    wanted = [name for name in wanted if name not in left_out]
    assert wanted, "no test has such a name"
    reports = Path(tempfile.mkdtemp(prefix="kubernetes-"))
    start = time.monotonic()
    try:
        with embedded(images) as cluster:
            command = [
                str(e2e),
                f"--kubeconfig={cluster.kubeconfig}",
                "--provider=skeleton",
                "--disable-log-dump",
                "--allowed-not-ready-nodes=-1",
                "--minStartupPods=0",
                "--node-schedulable-timeout=30s",
                "--ginkgo.timeout=120m",
                "--ginkgo.no-color",
                "--ginkgo.succinct",
                f"--ginkgo.json-report={reports / 'report.json'}",
                *("--ginkgo.focus=" + re.escape(name).replace("\\ ", " ") for name in wanted),
            ]
            with Path(os.environ.get("KUBE_E2E_LOG", reports / "output.log")).open("wb") as log:
                subprocess.run(command, stdout=log, stderr=log, env=cluster.environment, check=False)
        passed, failed = _read(reports / "report.json")
        missing = {name: "did not run" for name in wanted if name not in passed and name not in failed}
    finally:
        shutil.rmtree(reports, ignore_errors=True)
    version = subprocess.run([str(e2e), "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return Outcome(
        "Kubernetes conformance, API machinery",
        version or "unknown",
        tuple(passed),
        {**failed, **missing, **left_out},
        left_out,
        seconds=time.monotonic() - start,
    )


def names(e2e: Path) -> list[str]:
    """The names of all tests marked [Conformance]."""
    listed = subprocess.run([str(e2e), "--list-tests"], capture_output=True, text=True, check=True).stdout
    lines = (re.sub(r"^\s*\S+\.go:\d+: ", "", line).strip() for line in listed.splitlines())
    return sorted(line for line in lines if line.startswith("[") and "[Conformance]" in line)


def _read(report: Path) -> tuple[list[str], dict[str, str]]:
    passed: list[str] = []
    failed: dict[str, str] = {}
    for suite in json.loads(report.read_text()):
        for spec in suite["SpecReports"] or []:
            if spec["LeafNodeType"] != "It" or (spec["State"] == "skipped" and not spec.get("NumAttempts")):
                continue
            name = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]])
            if spec["State"] == "passed":
                passed.append(name)
            else:
                why = (spec.get("Failure") or {}).get("Message", "").strip().splitlines()
                failed[name] = " ".join(why)[:400] if why else str(spec["State"])
    return passed, failed
