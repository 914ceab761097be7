"""kr8s's own tests of its API, objects and I/O."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.conformance import pytest_suite
from tests.conformance.embedded import Embedded, embedded
from tests.conformance.outcome import Outcome
from tests.conformance.sources import environment, sdist

REQUIREMENTS = ("kubernetes-asyncio", "pykube-ng", "pytest-rerunfailures", "trio")
STAND_INS = Path(__file__).parent / "stand_ins"
FILES = ("api", "objects", "io")
STREAMS = "a stream into a pod: comes with the nodes"
_STREAMING = ("port_forward", "_exec", "test_adoption")  # the last one's pod is prepared by exec
KNOWN = {
    **dict.fromkeys(_STREAMING, STREAMS),
    "test_wait_replicas": "the controller of StatefulSets comes with the nodes",
    "context_manager_manual": "its authors skip it: for manual testing only",
    "test_cast_to_from_kubernetes": "asks the official client for a module that its version 37 no longer has",
    "test_api_timeout": "wants a list to take longer than 10 microseconds as its client measures: it does so by chance",
}


def run(only: Sequence[str] = ()) -> Outcome:
    folder = sdist("kr8s")
    python = environment("kr8s", (f"kr8s=={version('kr8s')}", *REQUIREMENTS))
    settings = folder / "pyproject.toml"
    settings.write_text(re.sub(r"(?m)^addopts = .*$", 'addopts = ""', settings.read_text()))
    choice = ["-k", " or ".join(only)] if only else []
    try:
        with embedded() as cluster:
            _system_pods(cluster)
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


def _system_pods(cluster: Embedded) -> None:
    """A cluster in docker runs its parts as pods of kube-system, and the suite looks at them."""
    words = ["--namespace=kube-system", "--image=registry.k8s.io/pause", "--labels=tier=control-plane"]
    for name in ("etcd", "kube-scheduler"):
        subprocess.run(["kubectl", "run", name, *words], env=cluster.environment, check=True, capture_output=True)
    ready = ["wait", "--for=condition=Ready", "pod", "--all", "--namespace=kube-system", "--timeout=30s"]
    subprocess.run(["kubectl", *ready], env=cluster.environment, check=True, capture_output=True)
