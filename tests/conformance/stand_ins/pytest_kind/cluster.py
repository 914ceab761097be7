"""The running cluster, by the names that suites made for kind use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class KindCluster:
    def __init__(self, name: str, **_: object) -> None:
        self.name = name
        self.kubeconfig_path = Path(os.environ["KUBECONFIG"])

    def create(self) -> None:
        self.kubectl("get", "--raw", "/readyz")

    def kubectl(self, *words: str) -> str:
        return subprocess.run(["kubectl", *words], check=True, capture_output=True, text=True).stdout

    def delete(self) -> None:
        """Whoever started it ends it."""
