"""The cells of tables of built-in kinds, a function for each kind: (object, now) → all cells, wide ones included."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kaos_ext.cluster.apiserver.wire.ages import since
from kaos_ext.cluster.apiserver.wire.cells import (
    NONE,
    Object,
    Printer,
    age_of,
    count_of,
    label_selector,
    labels_text,
    more_text,
    name_of,
    spec_of,
    status_of,
)
from kaos_ext.cluster.apiserver.wire.workload_printers import WORKLOADS


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    kind = spec.get("type") or "ClusterIP"
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    ports = [
        f"{one['port']}:{one['nodePort']}/{one.get('protocol', 'TCP')}"
        if one.get("nodePort")
        else f"{one['port']}/{one.get('protocol', 'TCP')}"
        for one in spec.get("ports") or ()
    ]
    return [
        name_of(obj),
        kind,
        (addresses[0] if addresses else "") or NONE,
        _external(obj, spec, kind),
        ",".join(ports) or NONE,
        age_of(obj, now),
        labels_text(spec.get("selector")),
    ]


def _external(obj: Object, spec: Object, kind: str) -> str:
    given = list(spec.get("externalIPs") or ())
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    if kind == "LoadBalancer":
        entries = (status_of(obj).get("loadBalancer") or {}).get("ingress") or ()
        assigned = [one.get("ip") or one.get("hostname") or "" for one in entries]
        return ",".join([*assigned, *given]) or "<pending>"
    return ",".join(given) or NONE


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [one["ip"] for one in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [f"{address}:{port['port']}" for port in ports for address in addresses] if ports else addresses
    return [name_of(obj), more_text(found) if obj.get("subsets") else NONE, age_of(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [
        str(port["port"]) if port.get("port") is not None else port.get("name") or "*"
        for port in obj.get("ports") or ()
    ]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [name_of(obj), obj.get("addressType", ""), more_text(ports), more_text(addresses), age_of(obj, now)]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    hosts = [one["host"] for one in spec.get("rules") or () if one.get("host")]
    entries = (status_of(obj).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [one.get("ip") or one.get("hostname") or "" for one in entries]
    return [
        name_of(obj),
        spec.get("ingressClassName") or NONE,
        more_text(hosts) if hosts else "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        age_of(obj, now),
    ]


def _node(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    ready = next((one.get("status") for one in status.get("conditions") or () if one["type"] == "Ready"), None)
    state = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if spec.get("unschedulable"):
        state.append("SchedulingDisabled")
    roles = set()
    for key, value in ((obj.get("metadata") or {}).get("labels") or {}).items():
        if key.startswith("node-role.kubernetes.io/"):
            roles.add(key.partition("/")[2])
        elif key == "kubernetes.io/role" and value:
            roles.add(value)
    info = status.get("nodeInfo") or {}
    addresses = {one["type"]: one["address"] for one in reversed(status.get("addresses") or ())}
    kernel = info.get("kernelVersion") or "<unknown>"
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [
        name_of(obj),
        ",".join(state),
        ",".join(sorted(role for role in roles if role)) or NONE,
        age_of(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", NONE),
        addresses.get("ExternalIP", NONE),
        info.get("osImage") or "<unknown>",
        kernel,
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), status_of(obj).get("phase", ""), age_of(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age_of(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or ()), age_of(obj, now)]


def _plain(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), age_of(obj, now)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Iterable[str]) -> str:
    given = set(modes)
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    bound = bool(spec.get("volumeName"))
    deleting = "deletionTimestamp" in (obj.get("metadata") or {})
    old = ((obj.get("metadata") or {}).get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return [
        name_of(obj),
        "Terminating" if deleting else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        _modes(status.get("accessModes") or ()) if bound else "",
        old or spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        age_of(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    claim = spec.get("claimRef") or {}
    deleting = "deletionTimestamp" in (obj.get("metadata") or {})
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec.get("accessModes") or ()),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if deleting else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        age_of(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _storage_class(obj: Object, now: datetime) -> list[Any]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    is_default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        name_of(obj) + (" (default)" if is_default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("holderIdentity") or "", age_of(obj, now)]


def _event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    first = since(obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now)
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = since(last_time, now) if last_time else first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    if series := obj.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    where = source.get("host") or obj.get("reportingInstance") or ""
    kind = str(about.get("kind", "")).lower()
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath", ""),
        f"{component}, {where}" if where else component,
        str(obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        name_of(obj),
    ]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for one in obj.get("subjects") or ():
        name = f"{one.get('namespace', '')}/{one['name']}" if one["kind"] == "ServiceAccount" else one["name"]
        subjects.setdefault(one["kind"], []).append(name)
    return [
        name_of(obj),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age_of(obj, now),
        *(", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]


def _disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return [
        name_of(obj),
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        count_of(status, "disruptionsAllowed"),
        age_of(obj, now),
    ]


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), label_selector(spec_of(obj).get("podSelector") or {}), age_of(obj, now)]


def _priority_class(obj: Object, now: datetime) -> list[Any]:
    policy = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    return [name_of(obj), obj.get("value", 0), bool(obj.get("globalDefault")), age_of(obj, now), policy]


def _quota(obj: Object, now: datetime) -> list[Any]:
    status = status_of(obj)
    requests: list[str] = []
    limits: list[str] = []
    for key in sorted(status.get("hard") or ()):
        used = f"{key}: {(status.get('used') or {}).get(key, '0')}/{status['hard'][key]}"
        (limits if key.startswith("limits.") else requests).append(used)
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age_of(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    target = spec.get("scaleTargetRef") or {}
    current = list(status.get("currentMetrics") or ())
    shown = [_metric(one, current[i] if i < len(current) else {}) for i, one in enumerate(spec.get("metrics") or ())]
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "") if shown else NONE,
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else "<unset>",
        spec.get("maxReplicas", 0),
        count_of(status, "currentReplicas"),
        age_of(obj, now),
    ]


def _metric(metric: Object, current: Object) -> str:
    kind = metric.get("type", "")
    member = kind[:1].lower() + kind[1:]
    wanted = (metric.get(member) or {}).get("target") or {}
    have = (current.get(member) or {}).get("current") or {}
    label = f"{(metric.get(member) or {}).get('name', '')}: " if kind in ("Resource", "ContainerResource") else ""
    if wanted.get("averageUtilization") is not None:
        now = have.get("averageUtilization")
        return f"{label}{'<unknown>' if now is None else f'{now}%'}/{wanted['averageUtilization']}%"
    value = wanted.get("averageValue") or wanted.get("value") or "<auto>"
    suffix = " (avg)" if wanted.get("averageValue") else ""
    return f"{label}{have.get('averageValue') or have.get('value') or '<unknown>'}/{value}{suffix}"


def _controller_revision(obj: Object, now: datetime) -> list[Any]:
    owners = (obj.get("metadata") or {}).get("ownerReferences") or ()
    owner = next((one for one in owners if one.get("controller")), None)
    shown = NONE
    if owner:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        shown = f"{str(owner['kind']).lower()}{'.' + group if group else ''}/{owner['name']}"
    return [name_of(obj), shown, obj.get("revision", 0), age_of(obj, now)]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name_of(obj), spec.get("controller", ""), shown, age_of(obj, now)]


def _runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("handler", ""), age_of(obj, now)]


PRINTERS: dict[str, Printer] = {
    **WORKLOADS,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "Ingress": _ingress,
    "IngressClass": _ingress_class,
    "Node": _node,
    "Namespace": _namespace,
    "ConfigMap": _config_map,
    "Secret": _secret,
    "ServiceAccount": _plain,
    "PersistentVolumeClaim": _claim,
    "PersistentVolume": _volume,
    "StorageClass": _storage_class,
    "Lease": _lease,
    "Event": _event,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "PodDisruptionBudget": _disruption_budget,
    "NetworkPolicy": _network_policy,
    "PriorityClass": _priority_class,
    "ResourceQuota": _quota,
    "HorizontalPodAutoscaler": _autoscaler,
    "ControllerRevision": _controller_revision,
    "RuntimeClass": _runtime_class,
}
