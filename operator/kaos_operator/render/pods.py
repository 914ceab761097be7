"""Containers, Deployments and Services of one resource, and the overrides users may give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_ext.model.names import Kind
from kaos_operator.render.strategic import merge_pod_spec

SECRET_VARIABLES = "KAOS_SECRET_VARIABLES"
"""Names of variables whose values come from Secrets: a runtime takes them out of whatever it writes."""


def digest(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of the value's JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def metadata(resource: Object, name: str, *, labels: Mapping[str, str] | None = None) -> Object:
    """Metadata of a child: same namespace, owned (controller), labelled."""
    owner = resource["metadata"]
    kind = Kind(resource["kind"])
    return {
        "name": name,
        "namespace": owner["namespace"],
        "labels": {**(labels or names.labels(kind, owner["name"])), names.MANAGED_BY: names.OPERATOR},
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": kind.value,
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def env(values: Mapping[str, str | None]) -> list[Object]:
    """Entries with a plain value, in order; None leaves one out."""
    return [{"name": name, "value": value} for name, value in values.items() if value is not None]


def merge_env(generated: list[Object], user: Iterable[Object]) -> list[Object]:
    """The user's entries win over generated ones of the same name, in their place; others follow."""
    entries = {entry["name"]: entry for entry in generated}
    for entry in user:
        entries[entry["name"]] = entry
    return list(entries.values())


def secret_variables(entries: Iterable[Object]) -> str | None:
    """Comma list of the entries whose value comes from a Secret; None when there is none."""
    names = [entry["name"] for entry in entries if (entry.get("valueFrom") or {}).get("secretKeyRef")]
    return ",".join(names) or None


def override(container: Object, override: Object | None) -> Object:
    """The container with `spec.container` over it."""
    override = override or {}
    result = dict(container)
    for key in ("image", "command", "args", "resources"):
        if override.get(key):
            result[key] = override[key]
    result["env"] = merge_env(container.get("env", []), override.get("env") or [])
    if not result["env"]:
        del result["env"]
    return result


def _telling_secrets(pod_spec: Object) -> Object:
    """The pod with the names of the variables that come from Secrets told to each container, so that it can redact."""
    containers = []
    for container in pod_spec.get("containers", []):
        entries = container.get("env", [])
        told = env({SECRET_VARIABLES: secret_variables(entries)})
        containers.append({**container, "env": merge_env(entries, told)} if told else container)
    return {**pod_spec, "containers": containers}


def http_get(path: str, port: int | str = "http") -> Object:
    return {"httpGet": {"path": path, "port": port, "scheme": "HTTP"}}


def tcp(port: int | str = "http") -> Object:
    return {"tcpSocket": {"port": port}}


def probes(ready: Object, alive: Object) -> Object:
    """Seen ready within a second of being so, then asked rarely; two minutes to start."""
    return {
        "startupProbe": {**ready, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 2},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3},
    }


def references(pod_spec: Object) -> set[tuple[str, str]]:
    """ConfigMaps and Secrets that the pod reads once, at its start, by kind and name."""
    found: set[tuple[str, str]] = set()
    for container in [*pod_spec.get("initContainers", []), *pod_spec.get("containers", [])]:
        for entry in container.get("env", []):
            source = entry.get("valueFrom") or {}
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if source.get(key):
                    found.add((kind, source[key].get("name", "")))
        for entry in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if entry.get(key):
                    found.add((kind, entry[key].get("name", "")))
    for volume in pod_spec.get("volumes", []):
        if volume.get("configMap"):
            found.add(("ConfigMap", volume["configMap"].get("name", "")))
        if volume.get("secret"):
            found.add(("Secret", volume["secret"].get("secretName", "")))
    return found


def deployment(
    resource: Object,
    pod_spec: Object,
    *,
    digests: Mapping[tuple[str, str], str],
    contents: Mapping[tuple[str, str], str] | None = None,
    followed: frozenset[tuple[str, str]] = frozenset(),
    recreate: bool = False,
) -> Object:
    """One replica of a pod.

    `contents` are digests of objects rendered along with it, `followed` names those whose changes the running
    program sees by itself and that must not replace the pod.
    """
    kind, name = Kind(resource["kind"]), resource["metadata"]["name"]
    selector = names.labels(kind, name)
    merged = _telling_secrets(merge_pod_spec(pod_spec, resource["spec"].get("podSpec") or {}))
    known = {**digests, **(contents or {})}
    read = sorted((ref, known[ref]) for ref in references(merged) - followed if ref in known)
    annotations = {names.POD_SPEC_HASH: digest(merged)}
    if read:
        annotations[names.CONFIG_HASH] = digest(read)
    strategy: Object = {"type": "Recreate"}
    if not recreate:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(resource, names.child(kind, name)),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "strategy": strategy,
            "template": {
                "metadata": {
                    "labels": {**selector, names.MANAGED_BY: names.OPERATOR},
                    "annotations": annotations,
                },
                "spec": merged,
            },
        },
    }


def service(resource: Object, port: int = names.HTTP_PORT) -> Object:
    kind, name = Kind(resource["kind"]), resource["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(resource, names.child(kind, name)),
        "spec": {
            "type": "ClusterIP",
            "selector": names.labels(kind, name),
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def config_map(resource: Object, name: str, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(resource, name),
        "data": dict(data),
    }


def claim(resource: Object, name: str, size: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(resource, name),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }
