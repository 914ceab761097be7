"""ReplicaSet: keeps the asked number of pods, adopts pods that match and releases those that no longer do.
ReplicationControllers are the same thing, with a plain map of labels for a selector.

`decide` is pure: from the ReplicaSet, the pods of its namespace and the time to what has to be done. The controller
does it, remembers its own writes in the shared copy (so that it never doubles), and writes the counts into the status.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.events import NORMAL, WARNING, now_text
from kaos_ext.cluster.controllers.informer import Key, controller_uid, key_of
from kaos_ext.cluster.controllers.loop import Controller, Shared, enqueue, namespace_ends
from kaos_ext.cluster.controllers.selectors import matches
from kaos_ext.kube.objects import PODS, REPLICASETS, ApiError, Object, Resource, is_conflict, is_not_found

COMPONENT = "replicaset-controller"
BURST = 500


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for one ReplicaSet, and what its status is when nothing changes any more."""

    create: int = 0
    delete: tuple[Object, ...] = ()
    adopt: tuple[Object, ...] = ()
    release: tuple[Object, ...] = ()
    status: dict[str, Any] = field(default_factory=dict)
    look_again: float | None = None


def decide(replicaset: Object, pods: list[Object], now: dt.datetime) -> Decision:
    """`pods`: those of the namespace that this ReplicaSet controls or that nobody controls."""
    spec, uid = replicaset["spec"], replicaset["metadata"]["uid"]
    selector = selector_of(replicaset)
    mine: list[Object] = []
    adopt: list[Object] = []
    release: list[Object] = []
    going = podinfo.is_terminating(replicaset)
    for pod in pods:
        fits = matches(selector, pod["metadata"].get("labels"))
        if controller_uid(pod) == uid:
            if fits:
                mine.append(pod)
            elif not podinfo.is_terminating(pod):
                release.append(pod)
        elif controller_uid(pod) is None and fits and podinfo.is_active(pod) and not going:
            adopt.append(pod)
    active = [pod for pod in mine if podinfo.is_active(pod)]
    wanted = spec.get("replicas", 1)
    missing = 0 if going else wanted - len(active) - len(adopt)
    delete = podinfo.deletion_order(active, now)[:-missing] if missing < 0 else []
    waits = [podinfo.available_in(pod, spec.get("minReadySeconds", 0), now) for pod in active]
    coming = [seconds for seconds in waits if seconds]
    return Decision(
        create=min(max(missing, 0), BURST),
        delete=tuple(delete),
        adopt=tuple(adopt),
        release=tuple(release),
        status=_status(replicaset, active, waits, sum(podinfo.is_terminating(pod) for pod in mine)),
        look_again=min(coming) if coming else None,
    )


def selector_of(replicaset: Object) -> Object:
    selector: Object = replicaset["spec"].get("selector") or {}
    return {"matchLabels": selector} if replicaset.get("kind") == "ReplicationController" else selector


def _status(replicaset: Object, active: list[Object], waits: list[float | None], terminating: int) -> dict[str, Any]:
    template = (replicaset["spec"].get("template") or {}).get("metadata", {}).get("labels") or {}
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(
            template.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active
        ),
        "readyReplicas": sum(map(podinfo.is_ready, active)),
        "availableReplicas": sum(seconds == 0 for seconds in waits),
        "observedGeneration": replicaset["metadata"].get("generation", 0),
    }
    if replicaset.get("kind") != "ReplicationController":
        status["terminatingReplicas"] = terminating
    return status


def new_pod(replicaset: Object) -> Object:
    """The pod that the template describes, named after the ReplicaSet and owned by it."""
    template = copy.deepcopy(replicaset["spec"]["template"])
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations", "finalizers") if metadata.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{replicaset['metadata']['name']}-",
            "namespace": replicaset["metadata"]["namespace"],
            **kept,
            "ownerReferences": [owner_reference(replicaset)],
        },
        "spec": template["spec"],
    }


def owner_reference(owner: Object) -> dict[str, Any]:
    """A reference that makes `owner` the controller."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


class ReplicaSetController(Controller):
    name = "replicaset"

    def __init__(self, shared: Shared, resource: Resource = REPLICASETS) -> None:
        super().__init__()
        self.name = resource.kind.lower()
        self._component = COMPONENT if resource is REPLICASETS else "replication-controller"
        self._resource = resource
        self._client = shared.client
        self._recorder = shared.recorder
        self._sets = shared.informer(resource)
        self._pods = shared.informer(PODS)
        self._sets.on_change(enqueue(self.queue))
        self._pods.on_change(self._pod_changed)
        self._by_uid: dict[str, Key] = {}
        self._sets.on_change(self._index)

    def _index(self, old: Object | None, new: Object | None) -> None:
        if old is not None:
            self._by_uid.pop(old["metadata"]["uid"], None)
        if new is not None:
            self._by_uid[new["metadata"]["uid"]] = key_of(new)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            if pod is not None and (uid := controller_uid(pod)) and (key := self._by_uid.get(uid)):
                self.queue.add(key)
        if new is not None and controller_uid(new) is None and podinfo.is_active(new):
            for candidate in self._sets.items(new["metadata"]["namespace"]):
                if matches(selector_of(candidate), new["metadata"].get("labels")):
                    self.queue.add(key_of(candidate))

    async def reconcile(self, key: Key) -> float | None:
        replicaset = self._sets.get(*key)
        if replicaset is None:
            return None
        mine = self._pods.owned_by(replicaset["metadata"]["uid"])
        decision = decide(replicaset, [*mine, *self._pods.without_controller(key[0])], dt.datetime.now(dt.UTC))
        failure: ApiError | None = None
        try:
            await self._act(replicaset, decision)
        except ApiError as error:
            failure = error
        await self._write_status(replicaset, decision, failure)
        if failure is not None:
            raise failure
        return decision.look_again

    async def _act(self, replicaset: Object, decision: Decision) -> None:
        await asyncio.gather(
            *(self._adopt(replicaset, pod) for pod in decision.adopt),
            *(self._release(replicaset, pod) for pod in decision.release),
            *(self._delete(replicaset, pod) for pod in decision.delete),
        )
        # One by one in growing groups: a template that is refused must not be tried five hundred times.
        done, group = 0, 1
        while done < decision.create:
            count = min(group, decision.create - done)
            await asyncio.gather(*(self._create(replicaset) for _ in range(count)))
            done, group = done + count, group * 2

    async def _create(self, replicaset: Object) -> None:
        namespace = replicaset["metadata"]["namespace"]
        try:
            pod = await self._client.create(PODS, new_pod(replicaset), namespace)
        except ApiError as error:
            if namespace_ends(error):
                return  # nobody wants the pod any more
            self._recorder.event(
                replicaset, WARNING, "FailedCreate", f"Error creating: {error}", component=self._component
            )
            raise
        self._pods.remember(pod)
        self._recorder.event(
            replicaset, NORMAL, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", component=self._component
        )

    async def _delete(self, replicaset: Object, pod: Object) -> None:
        metadata = pod["metadata"]
        try:
            answer = await self._client.delete(PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise
            return
        if answer.get("kind") == "Pod" and podinfo.is_terminating(answer):
            self._pods.remember(answer)
        else:
            self._pods.forget(pod)
        self._recorder.event(
            replicaset, NORMAL, "SuccessfulDelete", f"Deleted pod: {metadata['name']}", component=self._component
        )

    async def _adopt(self, replicaset: Object, pod: Object) -> None:
        references = [*(pod["metadata"].get("ownerReferences") or ()), owner_reference(replicaset)]
        await self._set_owners(pod, references)

    async def _release(self, replicaset: Object, pod: Object) -> None:
        uid = replicaset["metadata"]["uid"]
        await self._set_owners(pod, [ref for ref in pod["metadata"]["ownerReferences"] if ref["uid"] != uid])

    async def _set_owners(self, pod: Object, references: list[dict[str, Any]]) -> None:
        metadata = pod["metadata"]
        patch = {
            "metadata": {
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "ownerReferences": references or None,
            }
        }
        try:
            self._pods.remember(await self._client.patch(PODS, metadata["name"], patch, metadata["namespace"]))
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _write_status(self, replicaset: Object, decision: Decision, failure: ApiError | None) -> None:
        old = replicaset.get("status") or {}
        others = [item for item in old.get("conditions") or () if item["type"] != "ReplicaFailure"]
        was = podinfo.condition(replicaset, "ReplicaFailure")
        new: dict[str, Any] = dict(decision.status)
        if failure is not None:
            message = str(failure)
            since = was["lastTransitionTime"] if was and was["message"] == message else now_text()
            others.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": message,
                    "lastTransitionTime": since,
                }
            )
        conditions = others or None
        if {key: old.get(key) or 0 for key in new} == new and (old.get("conditions") or None) == conditions:
            return
        metadata = replicaset["metadata"]
        try:
            stored = await self._client.patch(
                self._resource,
                metadata["name"],
                {
                    "metadata": {"uid": metadata["uid"]},
                    # As the real one writes it: counts of nothing are absent, all but the first.
                    "status": {
                        **{k: v or None for k, v in new.items()},
                        "replicas": new["replicas"],
                        "conditions": conditions,
                    },
                },
                metadata["namespace"],
                subresource="status",
            )
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise
        else:
            self._sets.remember(stored)
