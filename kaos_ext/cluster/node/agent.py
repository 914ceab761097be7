"""The node agent: runs the pods bound to its node, over the Client protocol alone.

It follows pods of its node (a worker each), Services and EndpointSlices (the forwarder's table and the names that pods
resolve), registers the Node and renews its Lease, and serves the kubelet's HTTP API. Stopping it leaves pods running
under the supervisor; the next agent adopts what runs, learns what ended meanwhile, and ends what no object stands for.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Coroutine
from typing import Any

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.node.addresses import PodAddresses
from kaos_ext.cluster.node.config import NodeConfig
from kaos_ext.cluster.node.container import LABEL_POD
from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.kubelet_api import KubeletApi
from kaos_ext.cluster.node.pod_worker import PodWorker
from kaos_ext.cluster.node.protocol import ProcessRecord
from kaos_ext.cluster.node.recorder import Recorder
from kaos_ext.cluster.node.references import ReferencedObjects
from kaos_ext.cluster.node.registration import Registration, machine_capacity
from kaos_ext.cluster.node.service_proxy import ServiceProxy
from kaos_ext.cluster.node.services import refused_ports
from kaos_ext.cluster.node.supervisor_client import SupervisorClient
from kaos_ext.cluster.node.watching import Follower
from kaos_ext.kube.objects import ENDPOINTSLICES, PODS, SERVICES, Object
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)
_CLAIM_TRIES, _CLAIM_PAUSE = 20, 0.1


class NodeAgent:
    def __init__(self, client: Client, config: NodeConfig) -> None:
        self.config = config
        self.supervisor = SupervisorClient(config.root)
        self._services = Follower(client, SERVICES, changed=self._on_service)
        self._slices = Follower(client, ENDPOINTSLICES, changed=self._on_endpoints)
        self._pods = Follower(client, PODS, fields=f"spec.nodeName={config.name}", changed=self._on_pod)
        self.recorder = Recorder(client, config.name)
        self.context = NodeContext(
            client,
            config,
            self.supervisor,
            PodAddresses(config.pod_network),
            ReferencedObjects(client),
            self.recorder,
            lambda: self._services.objects.values(),
            machine_capacity(),
        )
        self.proxy = ServiceProxy(self.supervisor, config.root, config.dns_domain)
        self.kubelet = KubeletApi(self.context, self.worker_named)
        self._registration = Registration(client, config, self.context.capacity)
        self.workers: dict[str, PodWorker] = {}
        self._records: dict[str, list[ProcessRecord]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._worker_tasks: dict[str, asyncio.Task[None]] = {}

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return when the node is registered and every pod already bound to it has a worker."""
        config = self.config
        for folder in (config.root, config.root / "pods", config.root / "logs", config.volumes):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = await self.supervisor.connect()
        await self._claim_network()
        await self.supervisor.warm(config.images.templates)
        for record in known:
            if pod := record.labels.get(LABEL_POD):
                self._records.setdefault(pod, []).append(record)
        self.recorder.start()
        await self.kubelet.start()
        self._begin("node registration", self._registration.run(self.kubelet.port))
        self._begin("services", self._services.run())
        self._begin("endpoints", self._slices.run())
        await self._services.synced.wait()
        await self._slices.synced.wait()
        self._begin("service proxy", self.proxy.run(known))
        self._begin("pods", self._pods.run())
        await self._pods.synced.wait()
        await self._registration.registered.wait()
        await self._end_orphans()

    async def _claim_network(self) -> None:
        host = self.config.claim_host
        for _ in range(_CLAIM_TRIES):
            if await self.supervisor.claim(host):
                return
            await asyncio.sleep(_CLAIM_PAUSE)  # our own predecessor may be just ending
        raise KaosError(f"the network of {host} is another cluster's", hint="choose another network for this one")

    async def stop(self) -> None:
        """Leave; pods and Services go on."""
        for task in (*self._tasks, *self._worker_tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._worker_tasks.values(), return_exceptions=True)
        await self.recorder.close()
        await self.context.references.close()
        await self.kubelet.stop()
        await self.supervisor.close()

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_tell_failure)

    # -- what the API tells --------------------------------------------------------------------------------------

    def _on_service(self, object: Object, gone: bool) -> None:
        if not gone and (ports := refused_ports(object)):
            listed = ", ".join(map(str, ports))
            text = f"only root may listen on port {listed}: this node's user cannot serve it; use ports from 1024 up"
            self.recorder.warning({"kind": "Service", **object}, "FailedToListen", text)
        self._on_endpoints(object, gone)

    def _on_endpoints(self, object: Object, gone: bool) -> None:
        self.proxy.update(self._services.objects.values(), self._slices.objects.values())

    def _on_pod(self, pod: Object, gone: bool) -> None:
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if gone:
            if worker is not None:
                worker.vanish()
        elif worker is not None:
            worker.update(pod)
        else:
            self._adopt(pod)

    def _adopt(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        try:
            worker = PodWorker(self.context, pod, self._records.pop(uid, []))
        except KaosError as error:
            _log.error("pod %s cannot run: %s", uid, error)
            self.recorder.warning(pod, "FailedCreatePodSandBox", error.message)
            return
        self.workers[uid] = worker
        task = asyncio.create_task(worker.run(), name=f"pod {uid}")
        self._worker_tasks[uid] = task
        task.add_done_callback(lambda done: self._over(uid, done))

    def _over(self, uid: str, task: asyncio.Task[None]) -> None:
        self.workers.pop(uid, None)
        self._worker_tasks.pop(uid, None)
        _tell_failure(task)

    @property
    def worker_tasks(self) -> list[asyncio.Task[None]]:
        return list(self._worker_tasks.values())

    def worker_named(self, namespace: str, name: str) -> PodWorker | None:
        found = [
            worker
            for worker in self.workers.values()
            if worker.pod["metadata"]["name"] == name and worker.pod["metadata"]["namespace"] == namespace
        ]
        return found[-1] if found else None

    async def _end_orphans(self) -> None:
        """End processes and remove folders of pods that no object stands for."""
        orphans = [record for records in self._records.values() for record in records]
        self._records.clear()
        for record in orphans:
            if record.running:
                await self.supervisor.signal(record.id, signal.SIGKILL)
            await self.supervisor.exit_of(record)
            await self.supervisor.forget(record.id)
        for parent, uid_of in ((self.config.root / "pods", lambda name: name), (self.config.root / "logs", _log_uid)):
            for folder in parent.iterdir():
                if uid_of(folder.name) not in self.workers:
                    await asyncio.to_thread(shutil.rmtree, folder, True)


def _log_uid(name: str) -> str:
    return name.rpartition("_")[2]


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s ended: %r", task.get_name(), error, exc_info=error)
