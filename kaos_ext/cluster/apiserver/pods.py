"""What can be asked of a Pod besides being read and written: to be bound to a node, to be evicted."""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.metadata import copied, timestamp
from kaos_ext.cluster.apiserver.operations import Make
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import not_supported, required
from kaos_ext.kube.objects import Object


def binding(served: Served, name: str, body: Object) -> Make:
    """Put an unbound Pod on the node a Binding names."""
    target, kind = (body.get("target") or {}).get("name") or "", (body.get("target") or {}).get("kind") or ""
    if kind not in ("", "Node"):
        raise failures.internal(str(not_supported("target.kind", kind, ["Node", "<empty>"])))
    if not target:
        raise failures.internal(str(required("target.name")))
    given = body.get("metadata") or {}

    def make(pod: Object) -> Object:
        uid = pod["metadata"]["uid"]
        if given.get("uid") and given["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {uid}"
            raise failures.conflict(served, name, why)
        if pod["metadata"].get("deletionTimestamp"):
            raise failures.conflict(served, f"{name}", f"pod {name} is being deleted, cannot be assigned to a host")
        present = (pod.get("spec") or {}).get("nodeName")
        if present:
            why = f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node '
            raise failures.failure(409, "Conflict", f'{why}"{present}"', {"name": name, "kind": "pods/binding"})
        result: Object = copied(pod)
        result["spec"]["nodeName"] = target
        annotations = given.get("annotations")
        if annotations:
            result["metadata"]["annotations"] = {**(result["metadata"].get("annotations") or {}), **annotations}
        status = result.setdefault("status", {})
        conditions = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
        scheduled: Object = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        scheduled["lastTransitionTime"] = timestamp()
        status["conditions"] = [*conditions, scheduled]
        return result

    return make


def success(code: int = 201) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}
