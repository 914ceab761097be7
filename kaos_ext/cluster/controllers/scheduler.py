"""Scheduler: gives each waiting pod a node, through the pod's `binding` subresource.

`choose` is pure: the Ready node with the fewest pods among those that the pod's selector and tolerations allow, or the
reasons why there is none, in the words of the real one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.events import NORMAL, WARNING, now_text
from kaos_ext.cluster.controllers.informer import Key, key_of
from kaos_ext.cluster.controllers.loop import Controller, Shared
from kaos_ext.kube.objects import NODES, PERSISTENTVOLUMECLAIMS, PODS, ApiError, Object, is_conflict, is_not_found

COMPONENT = "default-scheduler"
SCHEDULERS = ("", COMPONENT)
CLAIM_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, or why none; `wait` when the cause is likely to pass by itself at once."""

    node: str = ""
    message: str = ""
    wait: bool = False


def needs_node(pod: Object) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and podinfo.is_active(pod)
        and not spec.get("schedulingGates")
        and (spec.get("schedulerName") or "") in SCHEDULERS
    )


def choose(pod: Object, nodes: Sequence[Object], load: Mapping[str, int], claims: Mapping[str, Object]) -> Choice:
    """`load`: pods on each node; `claims`: the namespace's claims by name."""
    for name in claim_names(pod):
        claim = claims.get(name)
        if claim is None:
            return Choice(message=f'persistentvolumeclaim "{name}" not found', wait=True)
        if not claim["spec"].get("volumeName") or (claim.get("status") or {}).get("phase") != "Bound":
            return Choice(message="pod has unbound immediate PersistentVolumeClaims", wait=True)
    if not nodes:
        return Choice(message="no nodes available to schedule pods")
    refusals: Counter[str] = Counter()
    fitting = []
    for node in nodes:
        if reason := _refusal(pod, node):
            refusals[reason] += 1
        else:
            fitting.append(node["metadata"]["name"])
    if fitting:
        return Choice(node=min(fitting, key=lambda name: (load.get(name, 0), name)))
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items()))
    return Choice(message=f"0/{len(nodes)} nodes are available: {reasons}.")


def claim_names(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _refusal(pod: Object, node: Object) -> str:
    spec = pod["spec"]
    if node["spec"].get("unschedulable") and not _tolerates(spec, _UNSCHEDULABLE):
        return "node(s) were unschedulable"
    ready = podinfo.condition(node, "Ready")
    if ready is None or ready["status"] != "True":
        return "node(s) were not ready"
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerates(spec, taint):
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    return ""


_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _tolerates(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    for toleration in spec.get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint["key"]):
                return True
        elif toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


class SchedulerController(Controller):
    name = "scheduler"

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._client = shared.client
        self._recorder = shared.recorder
        self._pods = shared.informer(PODS)
        self._nodes = shared.informer(NODES)
        self._claims = shared.informer(PERSISTENTVOLUMECLAIMS)
        self._load: Counter[str] = Counter()
        self._waiting: set[Key] = set()
        self._patient: set[str] = set()
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._world_changed)
        self._claims.on_change(self._world_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for pod, step in ((old, -1), (new, 1)):
            if pod is not None and pod["spec"].get("nodeName") and podinfo.is_active(pod):
                self._load[pod["spec"]["nodeName"]] += step
        if new is not None and needs_node(new):
            self._waiting.add(key_of(new))
            if old is None or not needs_node(old):
                self.queue.add(key_of(new))
        elif old is not None:
            self._waiting.discard(key_of(old))
            self._patient.discard(old["metadata"]["uid"])

    def _world_changed(self, old: Object | None, new: Object | None) -> None:
        """What a waiting pod waits for may have come; heartbeats of nodes change nothing."""
        if old is not None and new is not None and old["kind"] == "Node" and _node_facts(old) == _node_facts(new):
            return
        for key in self._waiting:
            self.queue.add(key)

    async def reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None or not needs_node(pod):
            return None
        claims = {name: claim for name in claim_names(pod) if (claim := self._claims.get(key[0], name))}
        choice = choose(pod, list(self._nodes.items()), self._load, claims)
        if choice.node:
            await self._bind(pod, choice.node)
            return None
        uid = pod["metadata"]["uid"]
        if choice.wait and uid not in self._patient:
            self._patient.add(uid)
            return CLAIM_PATIENCE
        await self._refuse(pod, choice.message)
        return None

    async def _bind(self, pod: Object, node: str) -> None:
        metadata = pod["metadata"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.create(
                PODS, binding, metadata["namespace"], name=metadata["name"], subresource="binding"
            )
        except ApiError as error:
            if is_not_found(error) or is_conflict(error):
                return  # gone, or bound by another: the watch tells
            self._recorder.event(pod, WARNING, "FailedScheduling", f"binding rejected: {error}", component=COMPONENT)
            raise
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {node}"
        self._recorder.event(pod, NORMAL, "Scheduled", message, component=COMPONENT)

    async def _refuse(self, pod: Object, message: str) -> None:
        self._recorder.event(pod, WARNING, "FailedScheduling", message, component=COMPONENT)
        found = podinfo.condition(pod, "PodScheduled")
        if found and found["status"] == "False" and found.get("message") == message:
            return
        metadata = pod["metadata"]
        others = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] != "PodScheduled"]
        new = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": now_text(),
        }
        patch = {"metadata": {"uid": metadata["uid"]}, "status": {"conditions": [*others, new]}}
        try:
            await self._client.patch(PODS, metadata["name"], patch, metadata["namespace"], subresource="status")
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise


def _node_facts(node: Object) -> tuple[Any, ...]:
    ready = podinfo.condition(node, "Ready") or {}
    spec = node["spec"]
    return ready.get("status"), node["metadata"].get("labels"), spec.get("unschedulable"), spec.get("taints")
