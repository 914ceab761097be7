"""Follows CustomResourceDefinitions: accepts their names, serves what they define, clears up after them.

A CRD is served from the commit of its condition `Established` on. A CRD that is being deleted stays until its objects
are gone; then its finalizer goes, and with it the resource.
"""

from __future__ import annotations

import asyncio
import logging

from kaos_ext.cluster.apiserver.crds import is_true, served_by
from kaos_ext.cluster.apiserver.deletion import CRD_CLEANUP, CRDS, Deletion
from kaos_ext.cluster.apiserver.metadata import copied, timestamp
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import DeleteOptions, WriteOptions
from kaos_ext.cluster.apiserver.registry import Registry, Served
from kaos_ext.cluster.apiserver.schema.crd import naming_status
from kaos_ext.cluster.apiserver.storage import Change, Storage
from kaos_ext.kube.objects import ApiError, Object

log = logging.getLogger(__name__)


class Definitions:
    """`start()` serves what is established already; the task goes on from there."""

    def __init__(self, storage: Storage, registry: Registry, operations: Operations, deletion: Deletion) -> None:
        self._storage = storage
        self._registry = registry
        self._operations = operations
        self._deletion = deletion
        self._collection = storage.collection(CRDS)
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._clearing: dict[str, asyncio.Task[None]] = {}
        self._served_specs: dict[str, Object] = {}

    def start(self) -> None:
        for stored in self._collection.scan():
            self._serve(stored.object)
            self._due.put_nowait(stored.name)
        self._collection.listeners.append(self._follow)
        self._task = asyncio.create_task(self._run(), name="definitions")

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._clearing.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, change: Change) -> None:
        name = change.stored.name
        if change.kind == "DELETED":
            self._served_specs.pop(name, None)
            self._registry.define(name, ())
            self._storage.forget(_storage_of(change.stored.object))
        else:
            self._serve(change.stored.object)
        self._due.put_nowait(name)

    def _serve(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        if not is_true(crd, "Established"):
            return
        spec = crd["spec"]
        if self._served_specs.get(name) == spec:
            return
        first = name not in self._served_specs
        self._served_specs[name] = spec
        self._registry.define(name, served_by(crd))
        collection = self._storage.collection(_storage_of(crd))
        if first and not collection.ring and not collection.count:
            collection.birth = self._storage.revision

    async def _run(self) -> None:
        while True:
            name = await self._due.get()
            try:
                await self._sync(name)
            except ApiError as error:
                if error.code not in (404, 409):
                    log.exception("definition %s", name)
            except Exception:
                log.exception("definition %s", name)

    @property
    def _resource(self) -> Served:
        found = self._registry.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        assert found is not None
        return found

    async def _sync(self, name: str) -> None:
        stored = self._collection.get("", name)
        if stored is None:
            await self._resync_refused()
            return
        crd = stored.object
        if crd["metadata"].get("deletionTimestamp"):
            if name not in self._clearing:
                task = asyncio.create_task(self._clear(name), name=f"clear {name}")
                self._clearing[name] = task
                task.add_done_callback(lambda _: self._clearing.pop(name, None))
            return
        await self._operations.update(
            self._resource, "", name, self._with_status, WriteOptions(manager="kube-apiserver"), subresource="status"
        )

    async def _resync_refused(self) -> None:
        for stored in self._collection.scan():
            if not is_true(stored.object, "NamesAccepted"):
                await self._sync(stored.name)

    def _with_status(self, crd: Object) -> Object:
        result: Object = copied(crd)
        others = (stored.object for stored in self._collection.scan())
        result["status"] = naming_status(crd, others, timestamp())
        storage = next((one["name"] for one in crd["spec"]["versions"] if one.get("storage")), None)
        if storage and storage not in result["status"]["storedVersions"]:
            result["status"]["storedVersions"].append(storage)
        return result

    async def _clear(self, name: str) -> None:
        """Delete every object of a CRD that goes, wait for the last, then let it go."""
        stored = self._collection.get("", name)
        if stored is None:
            return
        crd = stored.object
        resources = served_by(crd)
        collection = self._storage.collection(_storage_of(crd))
        accepted = is_true(crd, "NamesAccepted")
        while accepted and resources and collection.count:
            for one in list(collection.scan()):
                try:
                    await self._deletion.delete(resources[0], one.namespace, one.name, DeleteOptions())
                except ApiError as error:
                    if error.code != 404:
                        log.warning("clearing %s: %s", name, error)
            if collection.count:
                await collection.changed(5.0)
        options = WriteOptions(manager="kube-apiserver")
        await self._operations.update(self._resource, "", name, _without_hold, options)


def _without_hold(crd: Object) -> Object:
    result: Object = copied(crd)
    held = [one for one in result["metadata"].get("finalizers") or () if one != CRD_CLEANUP]
    result["metadata"]["finalizers"] = held
    if not held:
        del result["metadata"]["finalizers"]
    return result


def _storage_of(crd: Object) -> str:
    return f"{crd['spec']['group']}/{crd['spec']['names']['plural']}"
