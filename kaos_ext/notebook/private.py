"""The kubeconfig of an ephemeral cluster, for this kernel and what it starts.

Such a cluster leaves the user's own kubeconfig alone, so after `%kaos up --ephemeral` the kernel looks at the cluster's
file: `%kaos`, `!kubectl` and Python clients then mean that cluster. When it is gone, the former setting is back.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "KUBECONFIG"


class PrivateConfig:
    def __init__(self) -> None:
        self._path: Path | None = None
        self._former: str | None = None

    def use(self, path: str) -> str:
        """Point this kernel at `path`; says so."""
        if self._path is None:
            self._former = os.environ.get(VARIABLE)
        self._path = Path(path)
        os.environ[VARIABLE] = path
        return "this kernel and its `!` lines use it until it is down"

    def leave(self) -> None:
        """Back to what was set before."""
        if self._path is None:
            return
        if os.environ.get(VARIABLE) == str(self._path):
            os.environ.pop(VARIABLE)
            if self._former is not None:
                os.environ[VARIABLE] = self._former
        self._path = self._former = None

    def check(self) -> None:
        """Leave it when the cluster took its file along."""
        if self._path is not None and not self._path.exists():
            self.leave()
