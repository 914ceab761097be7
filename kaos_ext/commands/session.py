"""What a verb works with: the cluster (connected when it is first asked for), and whom to tell of progress.

A face opens one session per command: `async with Session(options, report) as session: await run(session, parsed)`.
Progress is a view: `Steps` for something that gets ready, `Note` for one line. It never goes where results go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kaos_ext.commands.parse import Options
from kaos_ext.views import Note, Steps, Tone

if TYPE_CHECKING:
    from kaos_ext.kube.client import KubeClient

Progress = Note | Steps
Report = Callable[[Progress], None]
Connect = Callable[[Options], Awaitable["KubeClient"]]


def _silent(_: Progress) -> None:
    """A session without a face."""


async def _connect(options: Options) -> KubeClient:
    from kaos_ext.kube.client import KubeClient

    return await KubeClient.connect(context=options.context, kubeconfig=options.kubeconfig, namespace=options.namespace)


class Session:
    """One command's connection. `connect` is how tests give it another cluster."""

    def __init__(
        self,
        options: Options | None = None,
        report: Report = _silent,
        *,
        connect: Connect = _connect,
        owner_pid: int | None = None,
    ) -> None:
        self.options = options or Options()
        self.report = report
        self.owner_pid = owner_pid
        """Whose end ends an ephemeral cluster (None: this process)."""
        self._connect = connect
        self._kube: KubeClient | None = None

    async def kube(self) -> KubeClient:
        if self._kube is None:
            self._kube = await self._connect(self.options)
        return self._kube

    async def changing(self, namespace: str | None = None) -> KubeClient:
        """The cluster, for a verb that changes it: says first which context and namespace that is."""
        kube = await self.kube()
        self.note(f"context {kube.context_name}, namespace {namespace or kube.namespace}")
        return kube

    def note(self, text: str, tone: Tone = Tone.QUIET) -> None:
        self.report(Note(tone, text))

    async def close(self) -> None:
        if self._kube is not None:
            await self._kube.close()
            self._kube = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
