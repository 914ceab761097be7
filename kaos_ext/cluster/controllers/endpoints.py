"""EndpointSlices and Endpoints: which pods stand behind each Service, and on which ports.

`desired_slices` and `desired_endpoints` are pure. A slice holds the pods that resolve the Service's ports to the same
numbers; both forms name the pod (`targetRef`), because the service proxy routes to nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.informer import Key, key_of
from kaos_ext.cluster.controllers.loop import Controller, Shared, enqueue
from kaos_ext.cluster.controllers.replicaset import owner_reference
from kaos_ext.cluster.controllers.selectors import matches_map
from kaos_ext.kube.objects import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES, ApiError, Object, is_conflict, is_not_found

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
SLICE_SIZE = 1000


def desired_slices(service: Object, pods: Sequence[Object]) -> list[Object]:
    """The slices a Service should have, without names; at least one, so that "no endpoints" can be read too."""
    groups: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
    for pod in sorted(selected(service, pods), key=lambda pod: str(pod["metadata"]["name"])):
        ports = ports_of(service, pod)
        groups.setdefault(json.dumps(ports), (ports, []))[1].append(endpoint(service, pod))
    return [
        _slice(service, ports, endpoints[start : start + SLICE_SIZE])
        for ports, endpoints in list(groups.values()) or [([], [])]
        for start in range(0, max(len(endpoints), 1), SLICE_SIZE)
    ]


def selected(service: Object, pods: Sequence[Object]) -> list[Object]:
    """The pods that can be endpoints: selected, with an address, not finished."""
    return [
        pod
        for pod in pods
        if matches_map(service["spec"].get("selector"), pod["metadata"].get("labels"))
        and (pod.get("status") or {}).get("podIP")
        and not podinfo.is_finished(pod)
    ]


def endpoint(service: Object, pod: Object) -> dict[str, Any]:
    serving, terminating = podinfo.is_ready(pod), podinfo.is_terminating(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": _target(pod),
    }


def ports_of(service: Object, pod: Object) -> list[dict[str, Any]]:
    """The Service's ports as this pod has them; a name the pod does not know gives none."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is not None:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            found.append(entry)
    return found


def target_port(port: dict[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    for container in pod["spec"].get("containers") or ():
        for declared in container.get("ports") or ():
            same = declared.get("protocol", "TCP") == port.get("protocol", "TCP")
            if declared.get("name") == target and same:
                return int(declared["containerPort"])
    return int(target) if target.isdigit() else None


def desired_endpoints(service: Object, pods: Sequence[Object]) -> Object:
    """The older form of the same."""
    subsets: dict[str, dict[str, Any]] = {}
    for pod in sorted(selected(service, pods), key=lambda pod: str(pod["metadata"]["name"])):
        ports = ports_of(service, pod)
        entry = endpoint(service, pod)
        if podinfo.is_terminating(pod) and not entry["conditions"]["ready"]:
            continue
        subset = subsets.setdefault(json.dumps(ports), {"ports": ports})
        address = {"ip": entry["addresses"][0], "nodeName": entry["nodeName"], "targetRef": entry["targetRef"]}
        subset.setdefault("addresses" if entry["conditions"]["ready"] else "notReadyAddresses", []).append(address)
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels},
        "subsets": list(subsets.values()),
    }


def _slice(service: Object, ports: list[dict[str, Any]], endpoints: list[dict[str, Any]]) -> Object:
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), SERVICE_NAME: metadata["name"], MANAGED_BY: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


def _target(pod: Object) -> dict[str, Any]:
    metadata = pod["metadata"]
    return {"kind": "Pod", "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"]}


class EndpointsController(Controller):
    name = "endpoints"

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._client = shared.client
        self._services = shared.informer(SERVICES)
        self._pods = shared.informer(PODS)
        self._slices = shared.informer(ENDPOINTSLICES)
        self._endpoints = shared.informer(ENDPOINTS)
        self._services.on_change(enqueue(self.queue))
        self._pods.on_change(self._pod_changed)
        self._slices.on_change(self._slice_changed)
        self._endpoints.on_change(self._endpoints_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _facts(old) == _facts(new):
            return
        for pod in (old, new):
            if pod is None:
                continue
            for service in self._services.items(pod["metadata"]["namespace"]):
                if matches_map(service["spec"].get("selector"), pod["metadata"].get("labels")):
                    self.queue.add(key_of(service))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        metadata = (new or old or {})["metadata"]
        if name := (metadata.get("labels") or {}).get(SERVICE_NAME):
            self.queue.add((metadata["namespace"], name))

    def _endpoints_changed(self, old: Object | None, new: Object | None) -> None:
        namespace, name = key_of(new or old or {})
        if self._services.get(namespace, name) is not None or new is not None:
            self.queue.add((namespace, name))

    async def reconcile(self, key: Key) -> float | None:
        namespace, name = key
        service = self._services.get(namespace, name)
        present = [
            item
            for item in self._slices.items(namespace)
            if (labels := item["metadata"].get("labels") or {}).get(SERVICE_NAME) == name
            and labels.get(MANAGED_BY) == MANAGER
        ]
        if service is None:
            mirrored = self._endpoints.get(namespace, name)
            if mirrored is not None and _is_ours(mirrored):
                await self._delete(ENDPOINTS, mirrored)
            for item in present:
                await self._delete(ENDPOINTSLICES, item)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        if podinfo.is_terminating(service):
            return None
        pods = list(self._pods.items(namespace))
        await self._write_slices(desired_slices(service, pods), present)
        await self._write_endpoints(desired_endpoints(service, pods))
        return None

    async def _write_slices(self, wanted: list[Object], present: list[Object]) -> None:
        left = sorted(present, key=lambda item: str(item["metadata"]["name"]))
        for new in wanted:
            if not left:
                stored = await self._client.create(ENDPOINTSLICES, new, new["metadata"]["namespace"])
                self._slices.remember(stored)
                continue
            old = next((item for item in left if item.get("ports") == new["ports"]), left[0])
            left.remove(old)
            labels = new["metadata"]["labels"]
            if (
                (old.get("endpoints") or []) == _clean(new["endpoints"])
                and (old.get("ports") or []) == new["ports"]
                and labels.items() <= (old["metadata"].get("labels") or {}).items()
            ):
                continue
            patch = {"metadata": {"labels": labels}, "endpoints": _clean(new["endpoints"]), "ports": new["ports"]}
            await self._patch(ENDPOINTSLICES, old, patch)
        for old in left:
            await self._delete(ENDPOINTSLICES, old)

    async def _write_endpoints(self, wanted: Object) -> None:
        metadata = wanted["metadata"]
        old = self._endpoints.get(metadata["namespace"], metadata["name"])
        subsets = _clean(wanted["subsets"])
        if old is None:
            try:
                stored = await self._client.create(ENDPOINTS, {**wanted, "subsets": subsets}, metadata["namespace"])
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                stored = await self._client.get(ENDPOINTS, metadata["name"], metadata["namespace"])
                self._endpoints.remember(stored)
                raise
            self._endpoints.remember(stored)
        elif (old.get("subsets") or []) != subsets:
            await self._patch(ENDPOINTS, old, {"metadata": {"labels": metadata["labels"]}, "subsets": subsets or None})

    async def _patch(self, resource: Any, old: Object, patch: Object) -> None:
        metadata = old["metadata"]
        conditional = {
            **(patch.get("metadata") or {}),
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
        stored = await self._client.patch(
            resource, metadata["name"], {**patch, "metadata": conditional}, metadata["namespace"]
        )
        (self._slices if resource is ENDPOINTSLICES else self._endpoints).remember(stored)

    async def _delete(self, resource: Any, old: Object) -> None:
        metadata = old["metadata"]
        try:
            await self._client.delete(resource, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise
        (self._slices if resource is ENDPOINTSLICES else self._endpoints).forget(old)


def _is_ours(endpoints: Object) -> bool:
    return (endpoints["metadata"].get("labels") or {}).get(
        "endpoints.kubernetes.io/managed-by"
    ) == "endpoint-controller"


def _clean(value: Any) -> Any:
    """Without None, as the API server will give it back."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def _facts(pod: Object) -> tuple[Any, ...]:
    metadata = pod["metadata"]
    status = pod.get("status") or {}
    return (
        metadata["uid"],
        metadata.get("labels"),
        podinfo.is_terminating(pod),
        podinfo.is_ready(pod),
        podinfo.is_finished(pod),
        status.get("podIP"),
        pod["spec"].get("nodeName"),
    )
