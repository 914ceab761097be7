"""The cells of tables of built-in kinds, a function for each kind: (object, now) → all cells, wide ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from kaos_ext.cluster.apiserver.wire.ages import human, moment, since

Object = dict[str, Any]
Printer = Callable[[Object, datetime], list[Any]]

_NONE = "<none>"


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _status(obj: Object) -> Object:
    return obj.get("status") or {}


def _age(obj: Object, now: datetime) -> str:
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _count(status: Object, key: str) -> int:
    return int(status.get(key) or 0)


def _containers(spec: Object) -> list[str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(one.get("name", "") for one in containers),
        ",".join(one.get("image", "") for one in containers),
    ]


def label_selector(selector: Object | None) -> str:
    """A `meta/v1 LabelSelector` as text."""
    if selector is None:
        return _NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        parts.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(
                term["operator"], f"!{key}"
            )
        )
    return ",".join(parts) or _NONE


def _labels(labels: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _more(items: list[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    text = ",".join(items[:most])
    return f"{text} + {len(items) - most} more..." if len(items) > most else text or "<unset>"


def _pod(pod: Object, now: datetime) -> list[Any]:
    spec, status = _spec(pod), _status(pod)
    reason, ready, total, restarts, last = _pod_state(pod)
    text = str(restarts)
    if restarts and last:
        text += f" ({since(last, now)} ago)"
    gates = spec.get("readinessGates") or ()
    conditions = {one["type"]: one.get("status") for one in status.get("conditions") or ()}
    passed = sum(conditions.get(gate["conditionType"]) == "True" for gate in gates)
    addresses = status.get("podIPs") or ()
    return [
        _name(pod),
        f"{ready}/{total}",
        reason,
        text,
        _age(pod, now),
        (addresses[0].get("ip") if addresses else "") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{passed}/{len(gates)}" if gates else _NONE,
    ]


def _stopped(state: Object, prefix: str = "") -> str:
    if state.get("reason"):
        return f"{prefix}{state['reason']}"
    if state.get("signal"):
        return f"{prefix}Signal:{state['signal']}"
    return f"{prefix}ExitCode:{state.get('exitCode', 0)}"


def _pod_state(pod: Object) -> tuple[str, int, int, int, str]:
    """Status, ready and all containers, restarts, and when the last of these was."""
    spec, status = _spec(pod), _status(pod)
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    reason = status.get("reason") or status.get("phase") or ""
    if any(one.get("reason") == "SchedulingGated" for one in conditions.values()):
        reason = "SchedulingGated"
    sidecars = {one["name"] for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready, initializing = 0, False
    first: list[Object] = []
    of_sidecars: list[Object] = []
    for index, one in enumerate(status.get("initContainerStatuses") or ()):
        first.append(one)
        sidecar = one["name"] in sidecars
        if sidecar:
            of_sidecars.append(one)
        state = one.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and one.get("started"):
            ready += bool(one.get("ready"))
            continue
        if ended is not None:
            reason = _stopped(ended, "Init:")
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{index}/{len(spec.get('initContainers') or ())}"
        initializing = True
        break
    counted = first
    if not initializing or (conditions.get("Initialized") or {}).get("status") == "True":
        containers = list(status.get("containerStatuses") or ())
        counted = of_sidecars + containers
        reason, running = _containers_state(reason, containers, conditions)
        ready += running
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    ends = [((one.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or "" for one in counted]
    return reason, ready, total, sum(_count(one, "restartCount") for one in counted), max(ends, default="")


def _containers_state(reason: str, containers: list[Object], conditions: dict[str, Object]) -> tuple[str, int]:
    ready, failed = 0, ""
    for one in reversed(containers):
        state = one.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            reason = _stopped(state["terminated"])
            if state["terminated"].get("exitCode"):
                failed = reason
        elif one.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed":
        if ready and (conditions.get("Ready") or {}).get("status") == "True":
            reason = "Running"
        else:
            reason = failed or ("NotReady" if ready else reason)
    return reason, ready


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    return [
        _name(obj),
        f"{_count(status, 'readyReplicas')}/{_count(spec, 'replicas')}",
        _count(status, "updatedReplicas"),
        _count(status, "availableReplicas"),
        _age(obj, now),
        *_containers(spec),
        label_selector(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    selector = spec.get("selector")
    is_object = isinstance(selector, dict) and ("matchLabels" in selector or "matchExpressions" in selector)
    return [
        _name(obj),
        _count(spec, "replicas"),
        _count(status, "replicas"),
        _count(status, "readyReplicas"),
        _age(obj, now),
        *_containers(spec),
        label_selector(selector) if is_object else _labels(selector),
    ]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    ready = f"{_count(status, 'readyReplicas')}/{_count(spec, 'replicas')}"
    return [_name(obj), ready, _age(obj, now), *_containers(spec)]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        _name(obj),
        *(_count(status, key) for key in counts),
        _labels(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")),
        _age(obj, now),
        *_containers(spec),
        label_selector(spec.get("selector")),
    ]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    done, parallel = _count(status, "succeeded"), _count(spec, "parallelism")
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        completions = f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"
    begun, ended = moment(status.get("startTime") or ""), moment(status.get("completionTime") or "")
    conditions = {one["type"] for one in status.get("conditions") or () if one.get("status") == "True"}
    deleting = "deletionTimestamp" in (obj.get("metadata") or {})
    ranked = ["Complete", "Failed", "Terminating", "Suspended", "FailureTarget", "SuccessCriteriaMet"]
    true = conditions | ({"Terminating"} if deleting else set())
    return [
        _name(obj),
        next((one for one in ranked if one in true), "Running"),
        completions,
        human(((ended or now) - begun).total_seconds()) if begun else "",
        _age(obj, now),
        *_containers(spec),
        label_selector(spec.get("selector")),
    ]


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or _NONE,
        str(bool(spec.get("suspend"))),
        len(status.get("active") or ()),
        since(last, now) if last else _NONE,
        _age(obj, now),
        *_containers(job),
        label_selector(job.get("selector")),
    ]


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    kind = spec.get("type") or "ClusterIP"
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    ports = [
        f"{one['port']}:{one['nodePort']}/{one.get('protocol', 'TCP')}"
        if one.get("nodePort")
        else f"{one['port']}/{one.get('protocol', 'TCP')}"
        for one in spec.get("ports") or ()
    ]
    return [
        _name(obj),
        kind,
        (addresses[0] if addresses else "") or _NONE,
        _external(obj, spec, kind),
        ",".join(ports) or _NONE,
        _age(obj, now),
        _labels(spec.get("selector")),
    ]


def _external(obj: Object, spec: Object, kind: str) -> str:
    given = list(spec.get("externalIPs") or ())
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    if kind == "LoadBalancer":
        entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
        assigned = [one.get("ip") or one.get("hostname") or "" for one in entries]
        return ",".join([*assigned, *given]) or "<pending>"
    return ",".join(given) or _NONE


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [one["ip"] for one in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        found += [f"{address}:{port['port']}" for port in ports for address in addresses] if ports else addresses
    return [_name(obj), _more(found) if obj.get("subsets") else _NONE, _age(obj, now)]


def _endpoint_slice(obj: Object, now: datetime) -> list[Any]:
    ports = [
        str(port["port"]) if port.get("port") is not None else port.get("name") or "*"
        for port in obj.get("ports") or ()
    ]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [_name(obj), obj.get("addressType", ""), _more(ports), _more(addresses), _age(obj, now)]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = [one["host"] for one in spec.get("rules") or () if one.get("host")]
    entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [one.get("ip") or one.get("hostname") or "" for one in entries]
    return [
        _name(obj),
        spec.get("ingressClassName") or _NONE,
        _more(hosts) if hosts else "*",
        ",".join(addresses),
        "80, 443" if spec.get("tls") else "80",
        _age(obj, now),
    ]


def _node(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
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
        _name(obj),
        ",".join(state),
        ",".join(sorted(role for role in roles if role)) or _NONE,
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage") or "<unknown>",
        kernel,
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _status(obj).get("phase", ""), _age(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), _age(obj, now)]


def _plain(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _age(obj, now)]


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Iterable[str]) -> str:
    given = set(modes)
    return ",".join(short for mode, short in _MODES.items() if mode in given)


def _claim(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    bound = bool(spec.get("volumeName"))
    deleting = "deletionTimestamp" in (obj.get("metadata") or {})
    old = ((obj.get("metadata") or {}).get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return [
        _name(obj),
        "Terminating" if deleting else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "0") if bound else "",
        _modes(status.get("accessModes") or ()) if bound else "",
        old or spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        _age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _volume(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    claim = spec.get("claimRef") or {}
    deleting = "deletionTimestamp" in (obj.get("metadata") or {})
    return [
        _name(obj),
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec.get("accessModes") or ()),
        spec.get("persistentVolumeReclaimPolicy", ""),
        "Terminating" if deleting else status.get("phase", ""),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or "<unset>",
        status.get("reason", ""),
        _age(obj, now),
        spec.get("volumeMode") or "<unset>",
    ]


def _storage_class(obj: Object, now: datetime) -> list[Any]:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    is_default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        _name(obj) + (" (default)" if is_default else ""),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        _age(obj, now),
    ]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity") or "", _age(obj, now)]


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
        _name(obj),
    ]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role = obj.get("roleRef") or {}
    subjects: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for one in obj.get("subjects") or ():
        name = f"{one.get('namespace', '')}/{one['name']}" if one["kind"] == "ServiceAccount" else one["name"]
        subjects.setdefault(one["kind"], []).append(name)
    return [
        _name(obj),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        _age(obj, now),
        *(", ".join(subjects[kind]) for kind in ("User", "Group", "ServiceAccount")),
    ]


def _disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return [
        _name(obj),
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        _count(status, "disruptionsAllowed"),
        _age(obj, now),
    ]


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), label_selector(_spec(obj).get("podSelector") or {}), _age(obj, now)]


def _priority_class(obj: Object, now: datetime) -> list[Any]:
    policy = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    return [_name(obj), obj.get("value", 0), bool(obj.get("globalDefault")), _age(obj, now), policy]


def _quota(obj: Object, now: datetime) -> list[Any]:
    status = _status(obj)
    requests: list[str] = []
    limits: list[str] = []
    for key in sorted(status.get("hard") or ()):
        used = f"{key}: {(status.get('used') or {}).get(key, '0')}/{status['hard'][key]}"
        (limits if key.startswith("limits.") else requests).append(used)
    return [_name(obj), ", ".join(requests), ", ".join(limits), _age(obj, now)]


def _autoscaler(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    target = spec.get("scaleTargetRef") or {}
    current = list(status.get("currentMetrics") or ())
    shown = [_metric(one, current[i] if i < len(current) else {}) for i, one in enumerate(spec.get("metrics") or ())]
    return [
        _name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "") if shown else _NONE,
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else "<unset>",
        spec.get("maxReplicas", 0),
        _count(status, "currentReplicas"),
        _age(obj, now),
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
    shown = _NONE
    if owner:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        shown = f"{str(owner['kind']).lower()}{'.' + group if group else ''}/{owner['name']}"
    return [_name(obj), shown, obj.get("revision", 0), _age(obj, now)]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    parameters = spec.get("parameters")
    shown = _NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [_name(obj), spec.get("controller", ""), shown, _age(obj, now)]


def _pod_template(obj: Object, now: datetime) -> list[Any]:
    labels = ((obj.get("template") or {}).get("metadata") or {}).get("labels")
    return [_name(obj), *_containers(obj), _labels(labels)]


def _runtime_class(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("handler", ""), _age(obj, now)]


PRINTERS: dict[str, Printer] = {
    "Pod": _pod,
    "PodTemplate": _pod_template,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "ReplicationController": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
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
