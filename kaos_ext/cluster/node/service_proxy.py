"""Keeps the forwarder running and its table, and the names that pods resolve, up to date."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

from kaos_ext.cluster.node import forwarder
from kaos_ext.cluster.node.forwarder import ready_file
from kaos_ext.cluster.node.protocol import ProcessRecord, ProcessSpec
from kaos_ext.cluster.node.services import ServiceTable, service_table
from kaos_ext.cluster.node.supervisor_client import SupervisorClient
from kaos_ext.kube.objects import Object

_ROLE = {"role": "forwarder"}


class ServiceProxy:
    def __init__(self, supervisor: SupervisorClient, root: Path, domain: str) -> None:
        self._supervisor = supervisor
        self._root = root
        self._domain = domain
        self._table_file = root / "services.json"
        self._written: ServiceTable | None = None
        self._wanted = ServiceTable()
        self._changed = asyncio.Event()
        self._forwarder: ProcessRecord | None = None

    def update(self, services: Iterable[Object], slices: Iterable[Object]) -> None:
        self._wanted = service_table(services, slices, self._domain)
        self._changed.set()

    async def run(self, known: Iterable[ProcessRecord]) -> None:
        """Adopt the running forwarder or start one, and keep it; the file comes first, so it starts with the truth."""
        self._forwarder = next((each for each in known if each.labels == _ROLE and each.running), None)
        for each in known:
            if each.labels == _ROLE and not each.running:
                await self._supervisor.forget(each.id)
        self._write()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_forwarder())
            group.create_task(self._follow())

    async def _keep_forwarder(self) -> None:
        delay = 0.05
        while True:
            if self._forwarder is None:
                ready_file(self._table_file).unlink(missing_ok=True)
                self._forwarder = await self._supervisor.start(self._spec())
            else:
                await self._notify()
            await self._supervisor.exit_of(self._forwarder)
            await self._supervisor.forget(self._forwarder.id)
            self._forwarder = None
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)

    def _spec(self) -> ProcessSpec:
        argv = [sys.executable, "-I", "-S", forwarder.__file__, str(self._table_file)]
        return ProcessSpec(
            id=uuid.uuid4().hex,
            argv=argv,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            cwd=str(self._root),
            log=str(self._root / "forwarder.log"),
            labels=dict(_ROLE),
            hold_stdin=True,
        )

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._write():
                await self._notify()

    def _write(self) -> bool:
        table = self._wanted
        if table == self._written:
            return False
        _replace(self._root / "hosts", table.hosts())
        _replace(self._table_file, json.dumps(table.to_json()))
        self._written = table
        return True

    async def _notify(self) -> None:
        """Tell the forwarder, if it is so far that it understands; before that it will read the file by itself."""
        with contextlib.suppress(FileNotFoundError):
            ready = ready_file(self._table_file).read_text()
            if self._forwarder is not None and ready == str(self._forwarder.pid):
                await self._supervisor.signal(self._forwarder.id, signal.SIGHUP)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)
