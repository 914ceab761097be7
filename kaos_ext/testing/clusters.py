"""A cluster for a test: a fresh one that ends with its owner, in a folder of its own, or one that is given.

    async with ephemeral(place, python) as environment: …      what a process needs to reach it
    with EphemeralCluster() as cluster: cluster.kaos("agent", "list")      the same for code that is not async

It is started and ended by the `kaos` command, as a user would. However the owner dies, the cluster ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import NAMESPACES
from kaos_ext.model.errors import KaosError
from kaos_ext.testing.leftovers import wait_until_none

KAOS = (sys.executable, "-m", "kaos_ext.cli.main")
NAME = "default"
UP_SECONDS = 90


class ClusterError(KaosError):
    """The cluster of a test did not start or end: the machine's trouble, not the notebook's."""


def cluster_environment(home: Path) -> dict[str, str]:
    """What leads to the fresh cluster of this home."""
    return {"KAOS_HOME": str(home), "KUBECONFIG": str(home / "clusters" / NAME / "kubeconfig")}


@asynccontextmanager
async def ephemeral(home: Path) -> AsyncIterator[dict[str, str]]:
    """A fresh cluster; left, everything in `home` that runs is ended."""
    environment = cluster_environment(home)
    try:
        await start(home)
        yield environment
    finally:
        await end(home)


async def start(home: Path) -> None:
    """Start it, or after a crash start it again."""
    await _kaos(home, "up", NAME, "--ephemeral")


async def end(home: Path) -> None:
    """End every cluster of this home: also those that the notebook itself started."""
    names = sorted(path.parent.name for path in (home / "clusters").glob("*/config.json"))
    await asyncio.gather(*(_kaos(home, "down", name, "--delete") for name in names))


async def _kaos(home: Path, *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *KAOS,
        *words,
        env=_own(cluster_environment(home)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), UP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ClusterError(f"`kaos {' '.join(words)}` has not ended after {UP_SECONDS} s") from None
    if process.returncode != 0:
        lines = tuple(said.decode(errors="replace").splitlines()[-12:])
        raise ClusterError(f"`kaos {' '.join(words)}` failed", details=lines)


def _own(extra: dict[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "NO_COLOR")}
    return {**kept, **extra}


class EphemeralCluster:
    """A fresh cluster for tests of one's own: `environment` for subprocesses, `kaos(...)` for commands.

    `down()` (or leaving the `with`) ends it and fails when a process of it is left.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="kaos-test-"))
        self._is_own = folder is None
        self.home = self.folder / "kaos"
        self.environment = _own(cluster_environment(self.home))
        self.kubeconfig = Path(self.environment["KUBECONFIG"])

    def up(self) -> Self:
        asyncio.run(start(self.home))
        return self

    def down(self) -> None:
        asyncio.run(end(self.home))
        left = wait_until_none(self.home)
        if left:
            raise ClusterError("processes of the cluster are left", details=tuple(left))
        if self._is_own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kaos(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `kaos` command against it."""
        done = subprocess.run([*KAOS, *words], env=self.environment, capture_output=True, text=True, timeout=180)
        if check and done.returncode != 0:
            details = tuple((done.stdout + done.stderr).splitlines()[-12:])
            raise ClusterError(f"`kaos {' '.join(words)}` failed", details=details)
        return done

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace that goes when this is left."""
        name = f"test-{uuid4().hex[:8]}"
        asyncio.run(self._in_namespaces(lambda kube: kube.create(NAMESPACES, {"metadata": {"name": name}})))
        try:
            yield name
        finally:
            asyncio.run(self._in_namespaces(lambda kube: kube.delete(NAMESPACES, name)))

    async def _in_namespaces(self, act: Callable[[KubeClient], Awaitable[object]]) -> None:
        kube = await KubeClient.connect(kubeconfig=str(self.kubeconfig))
        try:
            await act(kube)
        finally:
            await kube.close()

    def json(self, *words: str) -> Any:
        return json.loads(self.kaos(*words, "--json").stdout)

    def __enter__(self) -> Self:
        try:
            return self.up()
        except BaseException:
            self.down()
            raise

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()
