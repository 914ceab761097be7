"""The cells of pods and of what makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kaos_ext.cluster.apiserver.wire.ages import human, moment, since
from kaos_ext.cluster.apiserver.wire.cells import (
    NONE,
    Object,
    Printer,
    age_of,
    containers_of,
    count_of,
    label_selector,
    labels_text,
    name_of,
    spec_of,
    status_of,
)


def _pod(pod: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(pod), status_of(pod)
    reason, ready, total, restarts, last = _pod_state(pod)
    text = str(restarts)
    if restarts and last:
        text += f" ({since(last, now)} ago)"
    gates = spec.get("readinessGates") or ()
    conditions = {one["type"]: one.get("status") for one in status.get("conditions") or ()}
    passed = sum(conditions.get(gate["conditionType"]) == "True" for gate in gates)
    addresses = status.get("podIPs") or ()
    return [
        name_of(pod),
        f"{ready}/{total}",
        reason,
        text,
        age_of(pod, now),
        (addresses[0].get("ip") if addresses else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]


def _stopped(state: Object, prefix: str = "") -> str:
    if state.get("reason"):
        return f"{prefix}{state['reason']}"
    if state.get("signal"):
        return f"{prefix}Signal:{state['signal']}"
    return f"{prefix}ExitCode:{state.get('exitCode', 0)}"


def _pod_state(pod: Object) -> tuple[str, int, int, int, str]:
    """Status, ready and all containers, restarts, and when the last of these was."""
    spec, status = spec_of(pod), status_of(pod)
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
    return reason, ready, total, sum(count_of(one, "restartCount") for one in counted), max(ends, default="")


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
    spec, status = spec_of(obj), status_of(obj)
    return [
        name_of(obj),
        f"{count_of(status, 'readyReplicas')}/{count_of(spec, 'replicas')}",
        count_of(status, "updatedReplicas"),
        count_of(status, "availableReplicas"),
        age_of(obj, now),
        *containers_of(spec),
        label_selector(spec.get("selector")),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    selector = spec.get("selector")
    is_object = isinstance(selector, dict) and ("matchLabels" in selector or "matchExpressions" in selector)
    return [
        name_of(obj),
        count_of(spec, "replicas"),
        count_of(status, "replicas"),
        count_of(status, "readyReplicas"),
        age_of(obj, now),
        *containers_of(spec),
        label_selector(selector) if is_object else labels_text(selector),
    ]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    ready = f"{count_of(status, 'readyReplicas')}/{count_of(spec, 'replicas')}"
    return [name_of(obj), ready, age_of(obj, now), *containers_of(spec)]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        name_of(obj),
        *(count_of(status, key) for key in counts),
        labels_text(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")),
        age_of(obj, now),
        *containers_of(spec),
        label_selector(spec.get("selector")),
    ]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    done, parallel = count_of(status, "succeeded"), count_of(spec, "parallelism")
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
        name_of(obj),
        next((one for one in ranked if one in true), "Running"),
        completions,
        human(((ended or now) - begun).total_seconds()) if begun else "",
        age_of(obj, now),
        *containers_of(spec),
        label_selector(spec.get("selector")),
    ]


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(status.get("active") or ()),
        since(last, now) if last else NONE,
        age_of(obj, now),
        *containers_of(job),
        label_selector(job.get("selector")),
    ]


def _pod_template(obj: Object, now: datetime) -> list[Any]:
    labels = ((obj.get("template") or {}).get("metadata") or {}).get("labels")
    return [name_of(obj), *containers_of(obj), labels_text(labels)]


WORKLOADS: dict[str, Printer] = {
    "Pod": _pod,
    "PodTemplate": _pod_template,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "ReplicationController": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
}
