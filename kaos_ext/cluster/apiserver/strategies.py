"""What each built-in kind does with an object before it is stored: which part a request may touch, and its generation.

The main path of a kind with a `status` subresource leaves the status alone, `/status` leaves everything else alone.
`metadata.generation` counts changes of what the object asks for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from kaos_ext.cluster.apiserver.defaults import select_own_pods
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.crd import first_status, store_also
from kaos_ext.kube.objects import Object

_GENERATIONS = frozenset(
    {
        "deployments",
        "replicasets",
        "statefulsets",
        "daemonsets",
        "replicationcontrollers",
        "jobs",
        "cronjobs",
        "pods",
        "ingresses",
        "networkpolicies",
        "poddisruptionbudgets",
        "priorityclasses",
        "customresourcedefinitions",
        "endpointslices",
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "ingressclasses",
        "podtemplates",
        "flowschemas",
        "prioritylevelconfigurations",
    }
)
_WHOLE = frozenset(
    {
        "endpointslices",
        "priorityclasses",
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "podtemplates",
    }
)
"""Kinds without a `spec`: all of them is what they ask for."""
_LABELS_STAY = frozenset({"deployments", "replicasets", "statefulsets", "daemonsets"})
"""Kinds whose /status does not take labels."""
_WITH_STATUS = frozenset({"nodes"})
"""Kinds that are created with the status their creator gives."""
_FIRST_STATUS: dict[str, Callable[[Object], Object]] = {
    "namespaces": lambda _: {"phase": "Active"},
    "pods": lambda pod: {"phase": "Pending", "qosClass": quality(pod)},
    "persistentvolumes": lambda _: {"phase": "Pending"},
    "persistentvolumeclaims": lambda _: {"phase": "Pending"},
    "services": lambda _: {"loadBalancer": {}},
    "replicasets": lambda _: {"replicas": 0},
    "replicationcontrollers": lambda _: {"replicas": 0},
    "statefulsets": lambda _: {"replicas": 0, "availableReplicas": 0},
    "daemonsets": lambda _: {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    "ingresses": lambda _: {"loadBalancer": {}},
    "poddisruptionbudgets": lambda _: {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
    "horizontalpodautoscalers": lambda _: {"desiredReplicas": 0, "currentMetrics": None},
    "customresourcedefinitions": first_status,
}


def has_generation(served: Served) -> bool:
    return served.custom or served.plural in _GENERATIONS


def before_create(served: Served, object: Object) -> None:
    """The parts a creator does not write."""
    if has_generation(served):
        object["metadata"]["generation"] = 1
    if served.custom:
        if served.has("status"):
            object.pop("status", None)
        return
    if served.storage == "batch/jobs":
        select_own_pods(object)
        if not object["metadata"].get("labels"):
            object["metadata"]["labels"] = dict(object["spec"]["template"]["metadata"].get("labels") or {})
    if served.has("status") and served.plural not in _WITH_STATUS:
        first = _FIRST_STATUS.get(served.plural)
        object["status"] = first(object) if first else {}
    if served.storage == "/namespaces":
        given = (object.get("spec") or {}).get("finalizers") or []
        held = given if "kubernetes" in given else [*given, "kubernetes"]
        object.setdefault("spec", {})["finalizers"] = held


def name_of_namespace_label(served: Served, object: Object) -> None:
    if served.storage == "/namespaces" and object["metadata"].get("name"):
        labels = object["metadata"].get("labels") or {}
        if not isinstance(labels, dict):
            return  # refused in a moment, when the body is read as its kind
        object["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": object["metadata"]["name"]}


def fold(served: Served, secret: Object) -> None:
    """A Secret's `stringData` is for writing only: it goes into `data`."""
    if served.storage != "/secrets":
        return
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def before_update(served: Served, new: Object, old: Object, subresource: str) -> Object:
    """`new` with only those parts changed that this path may change."""
    if subresource == "status":
        return _status_only(served, new, old)
    if subresource == "binding":
        return new
    if subresource == "approval":
        decided = (new.get("status") or {}).get("conditions") or []
        return {**old, "metadata": new["metadata"], "status": {**(old.get("status") or {}), "conditions": decided}}
    if served.has("status"):
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    if served.storage == "apiextensions.k8s.io/customresourcedefinitions" and isinstance(new.get("spec"), dict):
        store_also(new)
    if served.storage == "/services":
        _keep_allocations(new.setdefault("spec", {}), old.get("spec") or {})
    if served.storage == "/namespaces" and subresource != "finalize":
        new["spec"] = old.get("spec") or {}
    return new


def _keep_allocations(new: Object, old: Object) -> None:
    """A Service keeps the addresses and node ports it has where a writer does not speak of them."""
    if new.get("type") == "ExternalName":
        if new.get("clusterIP") == old.get("clusterIP"):
            for key in ("clusterIP", "clusterIPs"):
                new.pop(key, None)
        return
    if old.get("clusterIP") and not new.get("clusterIP") and not new.get("clusterIPs"):
        new["clusterIP"], new["clusterIPs"] = old["clusterIP"], old.get("clusterIPs") or [old["clusterIP"]]
    elif new.get("clusterIP") != old.get("clusterIP") and new.get("clusterIPs") == old.get("clusterIPs"):
        new["clusterIPs"] = [new["clusterIP"]] if new.get("clusterIP") else []
    elif new.get("clusterIPs") and not new.get("clusterIP"):
        new["clusterIP"] = new["clusterIPs"][0]
    if new.get("type") not in ("NodePort", "LoadBalancer"):
        return
    taken = {_port(one): one["nodePort"] for one in old.get("ports") or () if one.get("nodePort")}
    for one in new.get("ports") or ():
        if not one.get("nodePort") and _port(one) in taken:
            one["nodePort"] = taken[_port(one)]


def _port(port: Object) -> tuple[str, int]:
    return port.get("protocol") or "TCP", port.get("port") or 0


def _status_only(served: Served, new: Object, old: Object) -> Object:
    result = dict(old)
    if "status" in new:
        result["status"] = new["status"]
    else:
        result.pop("status", None)
    metadata = dict(old["metadata"])
    given = new["metadata"]
    if not served.custom:
        keys = ["annotations", "finalizers"] + ([] if served.plural in _LABELS_STAY else ["labels"])
        for key in keys:
            if key in given:
                metadata[key] = given[key]
            else:
                metadata.pop(key, None)
    if "managedFields" in given:
        metadata["managedFields"] = given["managedFields"]
    if "resourceVersion" in given:
        metadata["resourceVersion"] = given["resourceVersion"]
    result["metadata"] = metadata
    return result


def asks_for_more(served: Served, new: Object, old: Object, subresource: str = "") -> bool:
    """Whether the change counts as a new generation."""
    if not has_generation(served):
        return False
    if served.custom or served.plural in _WHOLE:
        ignored = {"metadata", "status"} if served.has("status") else {"metadata"}
        return _without(new, ignored) != _without(old, ignored)
    if served.storage == "apps/deployments" and not subresource and _annotations(new) != _annotations(old):
        return True
    return bool(new.get("spec") != old.get("spec"))


def _annotations(object: Object) -> Any:
    return object["metadata"].get("annotations") or {}


def _without(object: Object, keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in object.items() if key not in keys}


def quality(pod: Object) -> str:
    """The quality of service class of a Pod, by its containers' requests and limits."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [one.get("resources") or {} for one in containers]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    for one in resources:
        limits, requests = one.get("limits") or {}, one.get("requests") or {}
        less = any(requests.get(key, limits[key]) != limits[key] for key in limits)
        if less or not {"cpu", "memory"} <= limits.keys():
            return "Burstable"
    return "Guaranteed"
