"""Deployment: turns each pod template into a ReplicaSet and moves the pods from one to the next (`rollout`)."""

from __future__ import annotations

import datetime as dt
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.events import NORMAL, WARNING
from kaos_ext.cluster.controllers.informer import Key, controller_uid, key_of
from kaos_ext.cluster.controllers.loop import Controller, Shared, enqueue
from kaos_ext.cluster.controllers.replicaset import owner_reference
from kaos_ext.cluster.controllers.rollout import REVISION, Scale, plan, replicas_of, same_template, status_count
from kaos_ext.cluster.controllers.rollout import current_set as current_set
from kaos_ext.cluster.controllers.rollout_status import observe
from kaos_ext.cluster.controllers.selectors import matches
from kaos_ext.kube.objects import DEPLOYMENTS, PODS, REPLICASETS, ApiError, Object, is_conflict, is_not_found

COMPONENT = "deployment-controller"


class DeploymentController(Controller):
    name = "deployment"

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._client = shared.client
        self._recorder = shared.recorder
        self._deployments = shared.informer(DEPLOYMENTS)
        self._sets = shared.informer(REPLICASETS)
        self._pods = shared.informer(PODS)
        self._by_uid: dict[str, Key] = {}
        self._deployments.on_change(self._index)
        self._deployments.on_change(enqueue(self.queue))
        self._sets.on_change(self._set_changed)
        self._pods.on_change(self._pod_changed)

    def _index(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._by_uid.pop(old["metadata"]["uid"], None)
        if new is not None:
            self._by_uid[new["metadata"]["uid"]] = key_of(new)

    def _set_changed(self, old: Object | None, new: Object | None) -> None:
        for replicaset in (old, new):
            if replicaset is None:
                continue
            uid = controller_uid(replicaset)
            if uid is not None:
                if key := self._by_uid.get(uid):
                    self.queue.add(key)
                continue
            for deployment in self._deployments.items(replicaset["metadata"]["namespace"]):
                if matches(deployment["spec"]["selector"], replicaset["metadata"].get("labels")):
                    self.queue.add(key_of(deployment))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """A Recreate rollout waits for the last old pod to be gone, which no ReplicaSet's spec shows."""
        if old is None or new is not None:
            return
        owner = controller_uid(old)
        for replicaset in self._sets.items(old["metadata"]["namespace"]):
            if replicaset["metadata"]["uid"] == owner:
                self._set_changed(None, replicaset)

    async def reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get(*key)
        if deployment is None or podinfo.is_terminating(deployment):
            return None
        replicasets = await self._claim(deployment)
        new = current_set(deployment, replicasets)
        old_pods = sum(
            not podinfo.is_finished(pod)
            for rs in replicasets
            if rs is not new
            for pod in self._pods.owned_by(rs["metadata"]["uid"])
        )
        step = plan(deployment, replicasets, old_pods)
        collisions = status_count(deployment, "collisionCount")
        created = ""
        if step.create is not None:
            created_set = await self._create(deployment, step.create)
            if created_set is None:
                collisions += 1
            else:
                created = created_set["metadata"]["name"]
                replicasets.append(created_set)
        for scale in step.scale:
            scaled = await self._scale(deployment, scale)
            replicasets = [scaled if rs is scale.replicaset else rs for rs in replicasets]
        for replicaset in step.delete:
            await self._delete(replicaset)
            replicasets.remove(replicaset)
        deployment = await self._note_revision(deployment, step.revision)
        observed = observe(deployment, replicasets, dt.datetime.now(dt.UTC), created=created, collisions=collisions)
        await self._write_status(deployment, observed.status)
        return observed.look_again

    async def _claim(self, deployment: Object) -> list[Object]:
        """The ReplicaSets of this Deployment; matching ones without a controller are adopted, others released."""
        uid, selector = deployment["metadata"]["uid"], deployment["spec"]["selector"]
        mine = []
        nobodys = self._sets.without_controller(deployment["metadata"]["namespace"])
        for replicaset in [*self._sets.owned_by(uid), *nobodys]:
            fits = matches(selector, replicaset["metadata"].get("labels"))
            owner = controller_uid(replicaset)
            if owner == uid and fits:
                mine.append(replicaset)
            elif owner == uid and not podinfo.is_terminating(replicaset):
                references = [ref for ref in replicaset["metadata"]["ownerReferences"] if ref["uid"] != uid]
                await self._patch_set(replicaset, {"metadata": {"ownerReferences": references or None}})
            elif owner is None and fits and not podinfo.is_terminating(replicaset):
                references = [*(replicaset["metadata"].get("ownerReferences") or ()), owner_reference(deployment)]
                mine.append(await self._patch_set(replicaset, {"metadata": {"ownerReferences": references}}))
        return mine

    async def _create(self, deployment: Object, replicaset: Object) -> Object | None:
        """The stored ReplicaSet; None when its name is taken by one with another template (a hash collision)."""
        namespace, name = deployment["metadata"]["namespace"], replicaset["metadata"]["name"]
        try:
            stored = await self._client.create(REPLICASETS, replicaset, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                message = f'Failed to create new replica set "{name}": {error}'
                self._recorder.event(deployment, WARNING, "ReplicaSetCreateError", message, component=COMPONENT)
                raise
            present = await self._client.get(REPLICASETS, name, namespace)
            self._sets.remember(present)
            if controller_uid(present) == deployment["metadata"]["uid"] and same_template(
                present["spec"]["template"], deployment["spec"]["template"]
            ):
                return present
            return None
        self._sets.remember(stored)
        if replicas_of(stored):
            self._scaled(deployment, stored, 0, replicas_of(stored))
        return stored

    async def _scale(self, deployment: Object, scale: Scale) -> Object:
        before = replicas_of(scale.replicaset)
        patch: Object = {"metadata": {"annotations": dict(scale.annotations)}}
        if scale.replicas != before:
            patch["spec"] = {"replicas": scale.replicas}
        if scale.min_ready_seconds is not None:
            patch.setdefault("spec", {})["minReadySeconds"] = scale.min_ready_seconds
        stored = await self._patch_set(scale.replicaset, patch)
        if scale.replicas != before:
            self._scaled(deployment, stored, before, scale.replicas)
        return stored

    def _scaled(self, deployment: Object, replicaset: Object, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {replicaset['metadata']['name']} from {before} to {after}"
        self._recorder.event(deployment, NORMAL, "ScalingReplicaSet", message, component=COMPONENT)

    async def _patch_set(self, replicaset: Object, patch: Object) -> Object:
        metadata = replicaset["metadata"]
        conditional = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], **patch["metadata"]}
        stored = await self._client.patch(
            REPLICASETS, metadata["name"], {**patch, "metadata": conditional}, metadata["namespace"]
        )
        self._sets.remember(stored)
        return stored

    async def _delete(self, replicaset: Object) -> None:
        metadata = replicaset["metadata"]
        try:
            await self._client.delete(REPLICASETS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except ApiError as error:
            if not is_not_found(error):
                raise
        self._sets.forget(replicaset)

    async def _note_revision(self, deployment: Object, revision: str) -> Object:
        metadata = deployment["metadata"]
        if revision in ("", "0") or (metadata.get("annotations") or {}).get(REVISION) == revision:
            return deployment
        patch = {"metadata": {"uid": metadata["uid"], "annotations": {REVISION: revision}}}
        name, namespace = metadata["name"], metadata["namespace"]
        # By way of the status, as an annotation that changes otherwise is a new generation.
        stored = await self._client.patch(DEPLOYMENTS, name, patch, namespace, subresource="status")
        self._deployments.remember(stored)
        return stored

    async def _write_status(self, deployment: Object, status: dict[str, Any]) -> None:
        old = deployment.get("status") or {}
        if all((old.get(key) or None) == (value or None) for key, value in status.items()):
            return
        metadata = deployment["metadata"]
        try:
            stored = await self._client.patch(
                DEPLOYMENTS,
                metadata["name"],
                {"metadata": {"uid": metadata["uid"]}, "status": {k: v or None for k, v in status.items()}},
                metadata["namespace"],
                subresource="status",
            )
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise
        else:
            self._deployments.remember(stored)
