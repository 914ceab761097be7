"""A container's environment, pure: built from nothing, then by Kubernetes' order and rules.

    the node's own (PATH, HOME, …) < the image's < Services of the namespace < envFrom < env

`$(NAME)` in a value, in command and in args stands for what was defined before it; `$$(NAME)` is the text. No mount
namespace is assumed: a volume lies under the pod's root, so mount paths in values, command and args are rewritten.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.node.quantities import divided
from kaos_ext.kube.objects import Object
from kaos_ext.model.errors import KaosError

_REFERENCE = re.compile(r"\$\$|\$\(([^()$]*)\)")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*$")


class ContainerConfigError(KaosError):
    """What the container refers to is not there (yet): CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class References:
    """The ConfigMaps and Secrets a container refers to, by name; None: it does not exist."""

    configmaps: Mapping[str, Object | None]
    secrets: Mapping[str, Object | None]


def expand(text: str, known: Mapping[str, str]) -> str:
    """Kubernetes' `$(NAME)` expansion; unknown names stay as they are written."""

    def one(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return known.get(match.group(1), match.group(0))

    return _REFERENCE.sub(one, text)


def referenced(container: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Names of the ConfigMaps and Secrets that a container's environment refers to."""
    configmaps: set[str] = set()
    secrets: set[str] = set()
    for source in container.get("envFrom") or []:
        if reference := source.get("configMapRef"):
            configmaps.add(reference["name"])
        if reference := source.get("secretRef"):
            secrets.add(reference["name"])
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        if reference := source.get("configMapKeyRef"):
            configmaps.add(reference["name"])
        if reference := source.get("secretKeyRef"):
            secrets.add(reference["name"])
    return configmaps, secrets


def secret_data(secret: Object) -> dict[str, bytes]:
    return {key: base64.b64decode(value or "") for key, value in (secret.get("data") or {}).items()}


def configmap_data(configmap: Object) -> dict[str, bytes]:
    text = {key: str(value).encode() for key, value in (configmap.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (configmap.get("binaryData") or {}).items()}


def service_env(services: Iterable[Object], namespace: str) -> dict[str, str]:
    """`<NAME>_SERVICE_HOST` and its like, for Services of the pod's namespace (never for the API server's own)."""
    env: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address = spec.get("clusterIP")
        if metadata["namespace"] != namespace or not address or address == "None":
            continue
        if namespace == "default" and metadata["name"] == "kubernetes":
            continue
        prefix = metadata["name"].upper().replace("-", "_")
        ports = spec.get("ports") or []
        env[f"{prefix}_SERVICE_HOST"] = address
        for index, port in enumerate(ports):
            number, protocol = str(port["port"]), port.get("protocol", "TCP")
            if index == 0:
                env[f"{prefix}_SERVICE_PORT"] = number
                env[f"{prefix}_PORT"] = f"{protocol.lower()}://{address}:{number}"
            if port.get("name"):
                env[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = number
            base = f"{prefix}_PORT_{number}_{protocol}"
            env[base] = f"{protocol.lower()}://{address}:{number}"
            env[f"{base}_PROTO"] = protocol.lower()
            env[f"{base}_PORT"] = number
            env[f"{base}_ADDR"] = address
    return env


def pod_field(pod: Object, path: str, facts: Mapping[str, str]) -> str:
    """A fieldRef; `facts` are what only the node knows (status.podIP, status.hostIP, spec.nodeName)."""
    if path in facts:
        return facts[path]
    metadata = pod["metadata"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str((metadata.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{_escaped(str(values[key]))}"' for key in sorted(values))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        if path == "spec.serviceAccountName":
            return "default"
        raise ContainerConfigError(f"unsupported fieldPath: {path}")
    return str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(
    pod: Object, container: Mapping[str, Any], reference: Mapping[str, Any], capacity: Mapping[str, str]
) -> str:
    """A resourceFieldRef; an absent limit is what the node has."""
    if name := reference.get("containerName"):
        everyone = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
        container = next((each for each in everyone if each["name"] == name), container)
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    value = (resources.get(kind) or {}).get(resource)
    if value is None and kind == "requests":
        value = (resources.get("limits") or {}).get(resource, "0")
    if value is None:
        value = capacity.get(resource, "0")
    return divided(value, reference.get("divisor") or "1")


def container_env(
    pod: Object,
    container: Mapping[str, Any],
    *,
    base: Mapping[str, str],
    services: Mapping[str, str],
    references: References,
    facts: Mapping[str, str],
    capacity: Mapping[str, str],
) -> tuple[dict[str, str], set[str]]:
    """The environment, and the names whose values came from Secrets."""
    env = {**base, **services}
    secret: set[str] = set()
    for source in container.get("envFrom") or []:
        kind = "configMapRef" if "configMapRef" in source else "secretRef"
        reference = source[kind]
        data = _data(reference, "configmap" if kind == "configMapRef" else "secret", references)
        for key, raw in (data or {}).items():
            name = (source.get("prefix") or "") + key
            if _NAME.match(name):
                env[name] = raw.decode(errors="surrogateescape")
                secret.discard(name)
                if kind == "secretRef":
                    secret.add(name)
    for variable in container.get("env") or []:
        name = variable["name"]
        secret.discard(name)
        source = variable.get("valueFrom")
        if not source:
            env[name] = expand(variable.get("value") or "", env)
        elif "fieldRef" in source:
            env[name] = pod_field(pod, source["fieldRef"]["fieldPath"], facts)
        elif "resourceFieldRef" in source:
            env[name] = resource_field(pod, container, source["resourceFieldRef"], capacity)
        else:
            kind = "configmap" if "configMapKeyRef" in source else "secret"
            reference = source["configMapKeyRef" if kind == "configmap" else "secretKeyRef"]
            data = _data(reference, kind, references)
            if data is None:
                continue
            if reference["key"] not in data:
                if reference.get("optional"):
                    continue
                label = "ConfigMap" if kind == "configmap" else "Secret"
                where = f"{pod['metadata']['namespace']}/{reference['name']}"
                raise ContainerConfigError(f"couldn't find key {reference['key']} in {label} {where}")
            env[name] = data[reference["key"]].decode(errors="surrogateescape")
            if kind == "secret":
                secret.add(name)
    return env, secret


def _data(reference: Mapping[str, Any], kind: str, references: References) -> dict[str, bytes] | None:
    found = (references.configmaps if kind == "configmap" else references.secrets).get(reference["name"])
    if found is not None:
        return configmap_data(found) if kind == "configmap" else secret_data(found)
    if reference.get("optional"):
        return None
    raise ContainerConfigError(f'{kind} "{reference["name"]}" not found')


class PathRewriter:
    """Rewrites mount paths to where they really lie, wherever one stands as a path of its own in a text."""

    def __init__(self, root: str, mount_paths: Iterable[str]) -> None:
        self._root = root
        paths = sorted({path.rstrip("/") for path in mount_paths} - {""}, key=len, reverse=True)
        # Not inside a longer path or a URL's path, but after `file://` and SQLAlchemy's `sqlite:///`.
        before = r"(?:(?<![\w.\-~/%])|(?<=file://)|(?<=:///))"
        self._pattern = re.compile(f"{before}({'|'.join(map(re.escape, paths))})(?![\\w.\\-])") if paths else None

    def __call__(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._root + match.group(1), text)
