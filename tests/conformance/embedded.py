"""A cluster of its own for a suite, in a folder of its own, gone when the suite ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.kubeconfig import add_context
from kaos_ext.cluster.lifecycle import start_cluster, stop_cluster

PROGRAMS = Path(__file__).parent / "programs"
WAIT = "import signal; signal.sigwait({signal.SIGTERM, signal.SIGINT})"
WAITS = {"command": ["{python}", "-c", WAIT]}
IMAGES: dict[str, Any] = {
    "nginx": {"command": ["{python}", str(PROGRAMS / "serve.py"), "80"]},
    "wordpress": WAITS,
    "busybox": {"command": [], "args": ["sleep", "infinity"]},
    "ubuntu": {"command": [], "args": ["sleep", "infinity"]},
    "gcr.io/google_containers/pause": WAITS,
    "registry.k8s.io/pause": WAITS,
}
"""Local programs that stand for the images the suites name."""


@dataclass(frozen=True)
class Embedded:
    config: ClusterConfig
    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBERNETES_", "PYTEST_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**kept, "KUBECONFIG": str(self.kubeconfig)}


@asynccontextmanager
async def embedded_async(images: dict[str, Any] | None = None) -> AsyncIterator[ClusterConfig]:
    home = Path(tempfile.mkdtemp(prefix="conformance-"))
    with patch.dict(os.environ, {"KAOS_HOME": str(home), "KUBECONFIG": str(home / "kubeconfig")}):
        try:
            handle = await start_cluster("default", images={"images": IMAGES if images is None else images})
            add_context(handle.config)
            yield handle.config
        finally:
            await stop_cluster("default", delete_state=True)
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def embedded(images: dict[str, Any] | None = None) -> Iterator[Embedded]:
    with asyncio.Runner() as runner:
        context = embedded_async(images)
        config = runner.run(context.__aenter__())
        try:
            yield Embedded(config, Path(os.environ["KUBECONFIG"]))
        finally:
            runner.run(context.__aexit__(None, None, None))
