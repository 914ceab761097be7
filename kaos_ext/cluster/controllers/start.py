"""All controllers as one thing that starts and stops."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.controllers import eventttl
from kaos_ext.cluster.controllers.contents import Contents, Discover
from kaos_ext.cluster.controllers.deployment import DeploymentController
from kaos_ext.cluster.controllers.endpoints import EndpointsController
from kaos_ext.cluster.controllers.garbage import GarbageCollector
from kaos_ext.cluster.controllers.loop import Controller, Shared
from kaos_ext.cluster.controllers.namespaces import NamespaceController, NamespaceDefaultsController
from kaos_ext.cluster.controllers.replicaset import ReplicaSetController
from kaos_ext.cluster.controllers.scheduler import SchedulerController
from kaos_ext.cluster.controllers.volumes import VolumeController
from kaos_ext.kube.objects import PODS, Object, Resource

REPLICATIONCONTROLLERS = Resource("", "v1", "replicationcontrollers", "ReplicationController", namespaced=True)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """What the controllers need to know about the cluster."""

    discover: Discover
    """All resources that the API server serves now."""
    root_ca: str
    volumes: Path
    event_ttl: dt.timedelta = field(default=dt.timedelta(hours=1))


class Controllers:
    """The running controllers."""

    def __init__(self, shared: Shared, contents: Contents, controllers: list[Controller], tasks: asyncio.Task[None]):
        self.shared = shared
        self.contents = contents
        self.controllers = controllers
        self._task = tasks

    @property
    def pods(self) -> Iterator[Object]:
        """All pods of the cluster, as the controllers know them."""
        return self.shared.informer(PODS).items()

    async def failed(self) -> None:
        """Return (or raise) only when the controllers end by themselves, which they never should."""
        await asyncio.shield(self._task)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Nobody has anything to do right now."""
        return all(controller.queue.idle for controller in self.controllers)


async def start_controllers(client: Client, settings: ControllerSettings) -> Controllers:
    """Start them all; returns when every copy is complete and the workers run."""
    shared = Shared(client)
    contents = Contents(shared, settings.discover)
    controllers: list[Controller] = [
        NamespaceDefaultsController(shared, settings.root_ca),
        DeploymentController(shared),
        ReplicaSetController(shared),
        ReplicaSetController(shared, REPLICATIONCONTROLLERS),
        SchedulerController(shared),
        EndpointsController(shared),
        VolumeController(shared, settings.volumes),
        GarbageCollector(shared, contents),
        NamespaceController(shared, contents, settings.discover),
    ]
    ready = asyncio.Event()
    task = asyncio.create_task(_run(shared, contents, controllers, settings, ready), name="controllers")
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if task.done():
        task.result()
    return Controllers(shared, contents, controllers, task)


async def _run(
    shared: Shared,
    contents: Contents,
    controllers: list[Controller],
    settings: ControllerSettings,
    ready: asyncio.Event,
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(shared.recorder.run(), name="events")
        group.create_task(eventttl.run(shared.client, settings.event_ttl, every=300), name="event ttl")
        for informer in shared.informers:
            group.create_task(informer.run(), name=f"informer {informer.resource.plural}")
        group.create_task(contents.run(), name="contents")
        for informer in shared.informers:
            await informer.synced.wait()
        await contents.synced()
        for controller in controllers:
            await controller.started()
            group.create_task(controller.run(), name=controller.name)
        ready.set()
