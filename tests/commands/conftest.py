"""A session on a cluster in memory, driven by words as every face drives it."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kaos_ext.commands.parse import Options, parse
from kaos_ext.commands.result import Result, Update
from kaos_ext.commands.run import run
from kaos_ext.commands.session import Progress, Session
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import Object
from kaos_ext.kube.transport import Request
from kaos_ext.views import Note
from tests.kube.fake import FakeCluster, FakeResponse

GROUP = "/apis/kaos.tools/v1alpha1/namespaces/here"


def kaos_object(kind: str, name: str, spec: Object | None = None, **status: Any) -> Object:
    """An object of ours as the operator leaves it."""
    return {
        "apiVersion": "kaos.tools/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "here", "generation": 1},
        "spec": spec or {},
        "status": status,
    }


def answering(value: Any, code: int = 200) -> Callable[[Request, str], Awaitable[FakeResponse]]:
    """A service that gives the same JSON to everything."""

    async def answer(request: Request, path: str) -> FakeResponse:
        return FakeResponse(code, json.dumps(value).encode())

    return answer


@dataclass
class Machine:
    """One cluster in memory and what commands said on the way."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    progress: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.put("/api/v1/namespaces/here", {"metadata": {"name": "here"}})

    def session(self) -> Session:
        async def connect(options: Options) -> KubeClient:
            changes = {"namespace": options.namespace} if options.namespace else {}
            return self.cluster.client(**changes)

        return Session(Options(), self.progress.append, connect=connect)

    async def kaos(self, line: str, *, body: str | None = None) -> Result:
        async with self.session() as session:
            answer = await run(session, parse(shlex.split(line), body))
            assert isinstance(answer, Result), f"{line} streams"
            return answer

    async def stream(self, line: str) -> AsyncIterator[Update]:
        async with self.session() as session:
            answer = await run(session, parse(shlex.split(line)))
            assert not isinstance(answer, Result), f"{line} does not stream"
            async for update in answer:
                yield update

    @property
    def notes(self) -> list[str]:
        return [progress.message for progress in self.progress if isinstance(progress, Note)]

    def add(self, kind: str, name: str, spec: Object | None = None, **status: Any) -> Object:
        plural = f"{kind.lower()}s"
        return self.cluster.put(f"{GROUP}/{plural}/{name}", kaos_object(kind, name, spec, **status))

    def stored(self, kind: str, name: str) -> Object:
        return self.cluster.objects[f"{GROUP}/{kind.lower()}s/{name}"]


@pytest.fixture
def machine() -> Machine:
    return Machine()
