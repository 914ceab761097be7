"""One pod on this node, from binding to its end.

    prepare (address, token, volumes) → init containers in order → containers together → … → stop → status → delete

The worker is one task; beside it one writes the status whenever something has changed, and one keeps volumes and tokens
fresh. Cancelling a worker (the daemon ends) leaves the pod's processes running.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from kaos_ext.cluster.node.container import LABEL_ADDRESS, LABEL_CONTAINER, LABEL_POD, ContainerRunner
from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.pod_setup import PodSetup
from kaos_ext.cluster.node.pod_status import ContainerState, PodFacts, Role, Terminated, fold
from kaos_ext.cluster.node.protocol import ProcessRecord
from kaos_ext.cluster.node.recorder import timestamp
from kaos_ext.cluster.node.volumes import MountError
from kaos_ext.kube.objects import PODS, ApiError, Object, is_conflict, is_not_found
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)
_QUIET_SECONDS = 1.0
"""A mount that waits for less than this says nothing: what it needs is being made at this moment."""
_TOKEN_CHECK_SECONDS = 60.0


class PodWorker:
    def __init__(self, node: NodeContext, pod: Object, records: list[ProcessRecord]) -> None:
        self.node = node
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.hurry = asyncio.Event()
        self.references_changed = asyncio.Event()
        self._refresh = asyncio.Event()
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._granted = 0.0
        self._gone = False
        self._started_at = timestamp()
        self._written: Object | None = None
        self._failure: tuple[str, str] | None = None
        self.address = self._take_address(records)
        self.setup = PodSetup(node, pod, self.address, self._on_reference_change)
        self.runners = self._make_runners(records)
        self.update(pod)

    def _take_address(self, records: list[ProcessRecord]) -> str:
        known = [record.labels.get(LABEL_ADDRESS, "") for record in records]
        known.append((self.pod.get("status") or {}).get("podIP") or "")
        for address in known:
            if address and self.node.addresses.keep(address, self.uid):
                return address
        return self.node.addresses.take(self.uid)

    def _make_runners(self, records: list[ProcessRecord]) -> list[ContainerRunner]:
        spec, status = self.pod["spec"], self.pod.get("status") or {}
        before = {
            each["name"]: each
            for key in ("containerStatuses", "initContainerStatuses")
            for each in status.get(key) or []
        }
        specs: list[tuple[dict[str, Any], Role]] = [
            (each, Role.SIDECAR if each.get("restartPolicy") == "Always" else Role.INIT)
            for each in spec.get("initContainers") or []
        ]
        specs += [(each, Role.APP) for each in spec.get("containers") or []]
        return [
            ContainerRunner(
                self,
                each,
                role,
                before.get(each["name"], {}),
                [record for record in records if record.labels.get(LABEL_CONTAINER) == each["name"]],
            )
            for each, role in specs
        ]

    @property
    def containers(self) -> list[ContainerState]:
        return [runner.state for runner in self.runners]

    @property
    def phase(self) -> str:
        status: Object = self._written or self.pod.get("status") or {}
        return str(status.get("phase") or "Pending")

    # -- what others tell it -------------------------------------------------------------------------------------

    def update(self, pod: Object) -> None:
        shown = [self.pod["metadata"].get(part) for part in ("labels", "annotations")]
        if shown != [pod["metadata"].get(part) for part in ("labels", "annotations")]:
            self._refresh.set()  # files may show them
        self.pod = pod
        self.setup.update(pod)
        if pod["metadata"].get("deletionTimestamp"):
            grace = self._grace()
            if self._stop.is_set() and grace < self._granted:
                self.hurry.set()
            self._granted = grace
            self._stop.set()
        if pod["spec"].get("readinessGates"):
            self.changed()

    def vanish(self) -> None:
        """The object is gone (deleted by force): what runs has no right to."""
        self._gone = True
        self.hurry.set()
        self._stop.set()

    def changed(self) -> None:
        self._dirty.set()

    def _on_reference_change(self) -> None:
        self.references_changed.set()
        self._refresh.set()

    # -- the life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        self.changed()
        beside = [
            asyncio.create_task(self._publish(), name=f"status of {self.uid}"),
            asyncio.create_task(self._live_on(), name=f"life of {self.uid}"),
        ]
        try:
            await self._stop.wait()
            beside[1].cancel()
            await asyncio.gather(beside[1], return_exceptions=True)
            await self._terminate()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _live_on(self) -> None:
        """Live; what nobody foresaw is logged, and tried again."""
        while True:
            try:
                return await self._live()
            except Exception as error:
                _log.exception("pod %s", self.uid)
                self.node.recorder.warning(self.pod, "FailedSync", f"Error syncing pod: {error}")
                await asyncio.sleep(2)

    async def _live(self) -> None:
        if self.phase in ("Succeeded", "Failed"):
            return
        deadline = self.pod["spec"].get("activeDeadlineSeconds")
        try:
            async with asyncio.timeout(float(deadline) if deadline else None) as limit:
                await self._prepare()
                async with asyncio.TaskGroup() as group:
                    keeper = group.create_task(self._keep_fresh())
                    await self._containers(group)
                    keeper.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            await self._stop_containers(self._grace())
            self.changed()

    async def _prepare(self) -> None:
        began, delay = time.monotonic(), 0.02
        while True:
            self._refresh.clear()
            try:
                return await self.setup.prepare()
            except MountError as error:
                if time.monotonic() - began > _QUIET_SECONDS:
                    self.node.recorder.warning(self.pod, "FailedMount", error.message)
            try:
                async with asyncio.timeout(delay):
                    await self._refresh.wait()
            except TimeoutError:
                delay = min(delay * 2, 5.0)

    async def _containers(self, group: asyncio.TaskGroup) -> None:
        sidecars = []
        for runner in self.runners:
            if runner.state.role is Role.INIT:
                await runner.run()
                if isinstance(runner.state.state, Terminated) and runner.state.state.exit_code:
                    return
            elif runner.state.role is Role.SIDECAR:
                sidecars.append(group.create_task(runner.run()))
                await runner.started.wait()
        await asyncio.gather(*(each.run() for each in self.runners if each.state.role is Role.APP))
        for task in sidecars:
            task.cancel()
        await self._stop_containers(self._grace())

    async def _keep_fresh(self) -> None:
        """Volumes follow their ConfigMaps and Secrets; tokens are replaced before they expire."""
        while True:
            try:
                async with asyncio.timeout(_TOKEN_CHECK_SECONDS):
                    await self._refresh.wait()
            except TimeoutError:
                if not self.setup.tokens_stale:
                    continue
            self._refresh.clear()
            try:
                await self.setup.prepare()
            except MountError as error:
                # What ran with the old content goes on with it, as on any node.
                self.node.recorder.warning(self.pod, "FailedMount", error.message)

    # -- status --------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write_status()
            except Exception as error:
                if self._is_gone(error):
                    continue
                _log.warning("status of pod %s: %r", self.uid, error)
                self._dirty.set()
                await asyncio.sleep(0.2)

    @staticmethod
    def _is_gone(error: BaseException) -> bool:
        return is_not_found(error) or is_conflict(error)

    async def _write_status(self) -> None:
        reason, message = self._failure or ("", "")
        facts = PodFacts(
            self.node.host_ip,
            self.address,
            self._started_at,
            reason,
            message,
            failed=self._failure is not None,
            stopping=self._stop.is_set(),
        )
        status = fold(self._with_written_status(), self.containers, facts, timestamp())
        if status == self._written:
            return
        metadata = self.pod["metadata"]
        patch = {"metadata": {"uid": self.uid}, "status": status}
        await self.node.client.patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
        self._written = status

    def _with_written_status(self) -> Object:
        """The pod with the status we wrote last; the watch may lag behind it, but knows others' conditions."""
        if self._written is None:
            return self.pod
        ours = {each["type"] for each in self._written["conditions"]}
        theirs = (self.pod.get("status") or {}).get("conditions") or []
        gates = {each["conditionType"] for each in self.pod["spec"].get("readinessGates") or []}
        fresh = {each["type"]: each for each in theirs if each["type"] not in ours or each["type"] in gates}
        kept = [fresh.pop(each["type"], each) for each in self._written["conditions"]]
        return {**self.pod, "status": {**self._written, "conditions": [*kept, *fresh.values()]}}

    # -- the end -------------------------------------------------------------------------------------------------

    def _grace(self) -> float:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        grace = metadata.get("deletionGracePeriodSeconds")
        if grace is None:
            grace = spec.get("terminationGracePeriodSeconds", 30)
        return float(grace)

    async def _stop_containers(self, grace: float) -> None:
        for role in (Role.APP, Role.INIT, Role.SIDECAR):
            await asyncio.gather(*(each.stop(grace) for each in self.runners if each.state.role is role))

    async def _terminate(self) -> None:
        """Stop everything, say so, and only then let the object go."""
        await self._stop_containers(2.0 if self._gone else self._grace())
        delay = 0.05
        while not self._gone:
            try:
                await self._write_status()
                metadata = self.pod["metadata"]
                await self.node.client.delete(
                    PODS, metadata["name"], metadata["namespace"], grace_seconds=0, uid=self.uid
                )
                break
            except (KaosError, OSError, TimeoutError) as error:
                if self._is_gone(error) or (isinstance(error, ApiError) and error.code == 409):
                    break
                _log.warning("deleting pod %s: %s", self.uid, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
        for record in await self.node.supervisor.records():
            if record.labels.get(LABEL_POD) == self.uid and not record.running:
                await self.node.supervisor.forget(record.id)
        await self.setup.remove()
        self.node.addresses.release(self.address, self.uid)
