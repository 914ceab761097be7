"""Claims get volumes: a folder on this machine for each, at once.

A claim of our storage class (the default one) gets a PersistentVolume made for it, `volumes/<namespace>-<claim>-<uid>`,
mode 0700; a claim that names a volume is bound to that. A claim in use stays until no pod uses it (`pvc-protection`).
When the claim is gone the volume is Released; with reclaim policy Delete the folder goes, then the volume.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.events import NORMAL
from kaos_ext.cluster.controllers.informer import Key, key_of
from kaos_ext.cluster.controllers.loop import Controller, Shared, enqueue
from kaos_ext.cluster.controllers.scheduler import claim_names
from kaos_ext.kube.objects import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STORAGECLASSES,
    ApiError,
    Object,
    Resource,
    is_not_found,
)

COMPONENT = "persistentvolume-controller"
STORAGE_CLASS = "kaos-local"
PROVISIONER = "kaos.local/folder"
PROTECTION = "kubernetes.io/pvc-protection"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {_DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def folder_name(claim: Object) -> str:
    metadata = claim["metadata"]
    return f"{metadata['namespace']}-{metadata['name']}-{metadata['uid']}"


def new_volume(claim: Object, path: Path, reclaim: str) -> Object:
    """The PersistentVolume made for a claim."""
    spec, metadata = claim["spec"], claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "accessModes": list(spec.get("accessModes") or ["ReadWriteOnce"]),
            "capacity": {"storage": ((spec.get("resources") or {}).get("requests") or {}).get("storage", "1Gi")},
            "claimRef": claim_reference(claim),
            "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": reclaim,
            "storageClassName": spec.get("storageClassName") or STORAGE_CLASS,
            "volumeMode": "Filesystem",
        },
    }


def claim_reference(claim: Object) -> dict[str, Any]:
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


class VolumeController(Controller):
    """Keys with a namespace are claims, those without are volumes."""

    name = "volume"

    def __init__(self, shared: Shared, root: Path) -> None:
        super().__init__()
        self._client = shared.client
        self._recorder = shared.recorder
        self._root = root
        self._claims = shared.informer(PERSISTENTVOLUMECLAIMS)
        self._volumes = shared.informer(PERSISTENTVOLUMES)
        self._classes = shared.informer(STORAGECLASSES)
        self._pods = shared.informer(PODS)
        self._claims.on_change(enqueue(self.queue))
        self._claims.on_change(self._claim_gone)
        self._volumes.on_change(self._volume_changed)
        self._pods.on_change(self._pod_changed)
        self._classes.on_change(self._class_changed)

    def _claim_gone(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and old["spec"].get("volumeName"):
            self.queue.add(("", old["spec"]["volumeName"]))

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        volume = new or old or {}
        if new is not None:
            self.queue.add(key_of(new))
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("name"):
            self.queue.add((reference["namespace"], reference["name"]))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or podinfo.is_finished(new)):
            for name in claim_names(old):
                self.queue.add((old["metadata"]["namespace"], name))

    def _class_changed(self, old: Object | None, new: Object | None) -> None:
        for claim in self._claims.items():
            if not claim["spec"].get("volumeName"):
                self.queue.add(key_of(claim))

    async def started(self) -> None:
        if self._classes.get("", STORAGE_CLASS) is None:
            try:
                await self._client.create(STORAGECLASSES, storage_class())
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise

    async def reconcile(self, key: Key) -> float | None:
        if key[0]:
            await self._claim(key)
        else:
            await self._volume(key)
        return None

    async def _claim(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None:
            return
        if podinfo.is_terminating(claim):
            await self._release(claim)
            return
        name = claim["spec"].get("volumeName")
        if not name:
            if (claim["spec"].get("storageClassName") or "") not in self._ours(claim):
                return
            volume = await self._provision(claim)
        else:
            found = self._volumes.get("", name)
            if found is None:
                return  # it comes, or the claim is lost: nothing to do for us
            volume = found
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") not in (None, claim["metadata"]["uid"]):
            return
        if not reference.get("uid"):
            volume = await self._client.patch(
                PERSISTENTVOLUMES, volume["metadata"]["name"], {"spec": {"claimRef": claim_reference(claim)}}
            )
            self._volumes.remember(volume)
        await self._set_phase(PERSISTENTVOLUMES, volume, {"phase": "Bound"})
        await self._bind(claim, volume)

    def _ours(self, claim: Object) -> set[str]:
        """Names of storage classes that we provision; the empty name when ours is the default one."""
        names = {item["metadata"]["name"] for item in self._classes.items() if item.get("provisioner") == PROVISIONER}
        default = self._classes.get("", STORAGE_CLASS)
        marked = default is not None and (default["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        # An explicit "" asks for no provisioning; an absent class for the default one.
        return names | ({""} if marked and "storageClassName" not in claim["spec"] else set())

    async def _provision(self, claim: Object) -> Object:
        path = self._root / folder_name(claim)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._classes.get("", claim["spec"].get("storageClassName") or STORAGE_CLASS)
        volume = new_volume(claim, path, (found or {}).get("reclaimPolicy") or "Delete")
        try:
            stored = await self._client.create(PERSISTENTVOLUMES, volume)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            stored = await self._client.get(PERSISTENTVOLUMES, volume["metadata"]["name"])
        else:
            message = f"Successfully provisioned volume {volume['metadata']['name']}"
            self._recorder.event(claim, NORMAL, "ProvisioningSucceeded", message, component=COMPONENT)
        self._volumes.remember(stored)
        return stored

    async def _bind(self, claim: Object, volume: Object) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        finalizers = list(metadata.get("finalizers") or ())
        if spec.get("volumeName") != volume["metadata"]["name"] or PROTECTION not in finalizers:
            patch = {
                "metadata": {
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                    "annotations": {
                        "pv.kubernetes.io/bind-completed": "yes",
                        "volume.kubernetes.io/storage-provisioner": PROVISIONER,
                    },
                    "finalizers": [*finalizers, *([PROTECTION] if PROTECTION not in finalizers else [])],
                },
                "spec": {"volumeName": volume["metadata"]["name"]},
            }
            claim = await self._client.patch(PERSISTENTVOLUMECLAIMS, metadata["name"], patch, metadata["namespace"])
            self._claims.remember(claim)
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes"),
            "capacity": volume["spec"].get("capacity"),
        }
        await self._set_phase(PERSISTENTVOLUMECLAIMS, claim, status)

    async def _set_phase(self, resource: Resource, object: Object, status: dict[str, Any]) -> None:
        old = object.get("status") or {}
        if all(old.get(key) == value for key, value in status.items()):
            return
        metadata = object["metadata"]
        stored = await self._client.patch(
            resource, metadata["name"], {"status": status}, metadata.get("namespace"), subresource="status"
        )
        (self._claims if resource is PERSISTENTVOLUMECLAIMS else self._volumes).remember(stored)

    async def _release(self, claim: Object) -> None:
        """A claim that is being deleted goes when no pod uses it any more."""
        metadata = claim["metadata"]
        finalizers = metadata.get("finalizers") or []
        if PROTECTION not in finalizers:
            return
        for pod in self._pods.items(metadata["namespace"]):
            if metadata["name"] in claim_names(pod) and pod["spec"].get("nodeName") and not podinfo.is_finished(pod):
                return
        patch = {
            "metadata": {
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "finalizers": [one for one in finalizers if one != PROTECTION] or None,
            }
        }
        await self._client.patch(PERSISTENTVOLUMECLAIMS, metadata["name"], patch, metadata["namespace"])

    async def _volume(self, key: Key) -> None:
        volume = self._volumes.get(*key)
        if volume is None:
            return
        reference = volume["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            await self._set_phase(PERSISTENTVOLUMES, volume, {"phase": "Available"})
            return
        claim = self._claims.get(reference["namespace"], reference["name"])
        if claim is not None and claim["metadata"]["uid"] == reference["uid"]:
            return
        if claim is None and not await self._is_gone(reference):
            return
        await self._set_phase(PERSISTENTVOLUMES, volume, {"phase": "Released"})
        if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            return
        path = Path((volume["spec"].get("hostPath") or {}).get("path") or "/")
        if path.parent == self._root:  # only what was made here; a volume of somebody else may name any folder
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        try:
            await self._client.delete(PERSISTENTVOLUMES, key[1], uid=volume["metadata"]["uid"])
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _is_gone(self, reference: dict[str, Any]) -> bool:
        """Ask the API server itself before data are removed: the copy may lag behind."""
        try:
            found = await self._client.get(PERSISTENTVOLUMECLAIMS, reference["name"], reference["namespace"])
        except ApiError as error:
            if not is_not_found(error):
                raise
            return True
        return bool(found["metadata"]["uid"] != reference["uid"])
