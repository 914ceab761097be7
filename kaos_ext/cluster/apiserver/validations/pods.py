"""Pods and the templates they are made from."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors, quantities
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import (
    config_key_errors,
    dns_label_errors,
    dns_subdomain_errors,
    env_name_errors,
    port_name_errors,
)
from kaos_ext.cluster.apiserver.validations.metadata import annotation_errors, label_errors
from kaos_ext.cluster.apiserver.validations.placement import placement_errors

Object = dict[str, Any]

RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_TERMINATION_POLICIES = ("File", "FallbackToLogsOnError")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_SOURCES_BY_NAME = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_NOT_NEGATIVE = "must be greater than or equal to 0"
_IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod_errors(pod: Object, old: Object | None) -> list[FieldError]:
    spec = pod.get("spec") or {}
    if old is None:
        return pod_spec_errors(spec, "spec")
    before = old.get("spec") or {}
    if _frozen_part(spec, before) != _frozen_part(before, before):
        return [errors.forbidden("spec", _IMMUTABLE)]
    found: list[FieldError] = []
    for group in ("initContainers", "containers"):
        for index, one in enumerate(spec.get(group) or ()):
            if not one.get("image"):
                found.append(errors.required(f"spec.{group}[{index}].image"))
    return found


def _frozen_part(spec: Object, before: Object) -> Object:
    """What of a Pod's spec may not change after its creation."""
    part = copy.deepcopy({key: value for key, value in spec.items() if key != "activeDeadlineSeconds"})
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in part.get(group) or ():
            container.pop("image", None)
            container.pop("imagePullPolicy", None)
    part.pop("ephemeralContainers", None)
    old_tolerations = before.get("tolerations") or []
    if all(one in (part.get("tolerations") or []) for one in old_tolerations):
        part.pop("tolerations", None)
    if part.get("schedulingGates") and before.get("schedulingGates"):
        part.pop("schedulingGates")
    elif before.get("schedulingGates"):
        part.pop("schedulingGates", None)
    if part.get("terminationGracePeriodSeconds") == 1 and (before.get("terminationGracePeriodSeconds") or 0) < 0:
        part["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    return part


def template_errors(template: Object, path: str) -> list[FieldError]:
    metadata = template.get("metadata") or {}
    return [
        *label_errors(metadata.get("labels"), f"{path}.metadata.labels"),
        *annotation_errors(metadata.get("annotations"), f"{path}.metadata.annotations"),
        *pod_spec_errors(template.get("spec") or {}, f"{path}.spec"),
    ]


def pod_spec_errors(spec: Object, path: str) -> list[FieldError]:
    found = _volumes(spec.get("volumes") or (), f"{path}.volumes")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    containers = spec.get("containers") or ()
    if not containers:
        found.append(errors.required(f"{path}.containers"))
    names: set[str] = set()
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            here = f"{path}.{group}[{index}]"
            found += _container(container, here, names, volumes)
            if group == "initContainers" and container.get("restartPolicy") != "Always":
                why = "may not be set for init containers without restartPolicy=Always"
                for key in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
                    if container.get(key) is not None:
                        found.append(errors.forbidden(f"{here}.{key}", why))
    policy = spec.get("restartPolicy")
    if policy not in RESTART_POLICIES:
        found.append(_one_of(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        missing = "" if spec.get("dnsConfig") is None else ".nameservers"
        words = "must provide `dnsConfig` when `dnsPolicy` is None"
        if missing:
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        found.append(errors.required(f"{path}.dnsConfig{missing}", words))
    system = (spec.get("os") or {}).get("name")
    if spec.get("os") is not None and system not in ("linux", "windows"):
        found.append(errors.not_supported(f"{path}.os", system, ("linux", "windows")))
    found += placement_errors(spec, path)
    found += _security(spec.get("securityContext") or {}, f"{path}.securityContext")
    if spec.get("dnsPolicy") not in _DNS_POLICIES:
        found.append(_one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES))
    for key in ("serviceAccountName", "nodeName", "priorityClassName"):
        if spec.get(key):
            found += [errors.invalid(f"{path}.{key}", spec[key], why) for why in dns_subdomain_errors(spec[key])]
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            found += [errors.invalid(f"{path}.{key}", spec[key], why) for why in dns_label_errors(spec[key])]
    found += label_errors(spec.get("nodeSelector"), f"{path}.nodeSelector")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        why = "must be between 1 and 2147483647, inclusive"
        found.append(errors.invalid(f"{path}.activeDeadlineSeconds", deadline, why))
    return found


_IDS = ("runAsUser", "runAsGroup", "fsGroup")


def _security(context: Object, path: str) -> list[FieldError]:
    found = [
        errors.invalid(f"{path}.{key}", context[key], "must be between 0 and 2147483647, inclusive")
        for key in _IDS
        if context.get(key) is not None and not 0 <= context[key] <= 2**31 - 1
    ]
    profile = context.get("seccompProfile")
    if profile is not None:
        kind, local = profile.get("type") or "", profile.get("localhostProfile")
        if kind == "Localhost" and not local:
            words = "must be set when seccomp type is Localhost"
            found.append(errors.required(f"{path}.seccompProfile.localhostProfile", words))
        elif kind != "Localhost" and local is not None:
            words = "can only be set when seccomp type is Localhost"
            found.append(errors.invalid(f"{path}.seccompProfile.localhostProfile", local, words))
        if not kind:
            found.append(errors.required(f"{path}.seccompProfile.type", "type is required when seccompProfile is set"))
        elif kind not in _SECCOMP:
            found.append(errors.not_supported(f"{path}.seccompProfile.type", kind, _SECCOMP))
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        members = "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot "
        members += "readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile"
        shown = {
            ("SELinuxOptions" if key == "seLinuxOptions" else key[0].upper() + key[1:]): context.get(key)
            for key in members.split()
        }
        why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        found.append(errors.invalid(path, shown, why))
    return found


_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")


def _one_of(path: str, value: Any, allowed: Collection[str]) -> FieldError:
    return errors.not_supported(path, value, list(allowed)) if value else errors.required(path)


def _name(container: Object, path: str, names: set[str]) -> list[FieldError]:
    name = container.get("name") or ""
    if not name:
        return [errors.required(f"{path}.name")]
    found = [errors.invalid(f"{path}.name", name, why) for why in dns_label_errors(name)]
    if not found and name in names:
        found.append(errors.duplicate(f"{path}.name", name))
    names.add(name)
    return found


def _container(container: Object, path: str, names: set[str], volumes: set[Any]) -> list[FieldError]:
    found = _name(container, path, names)
    image = container.get("image") or ""
    if not image:
        found.append(errors.required(f"{path}.image"))
    elif image.strip() != image:
        found.append(errors.invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    for key, allowed in (
        ("imagePullPolicy", _PULL_POLICIES),
        ("terminationMessagePolicy", _TERMINATION_POLICIES),
    ):
        if container.get(key) not in allowed:
            found.append(_one_of(f"{path}.{key}", container.get(key), allowed))
    found += _ports(container.get("ports") or (), f"{path}.ports")
    found += _environment(container, path)
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        found += _mount(mount, f"{path}.volumeMounts[{index}]", volumes, seen)
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(key) is not None:
            found += _probe(container[key], f"{path}.{key}", once=key != "readinessProbe")
    for key in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(key)
        if handler is not None and not any(one in handler for one in ("exec", "httpGet", "tcpSocket", "sleep")):
            found.append(errors.required(f"{path}.lifecycle.{key}", "must specify a handler type"))
    found += _security(container.get("securityContext") or {}, f"{path}.securityContext")
    probe = container.get("readinessProbe") or {}
    if probe.get("terminationGracePeriodSeconds") is not None:
        where, why = f"{path}.readinessProbe.terminationGracePeriodSeconds", "must not be set for readinessProbes"
        found.append(errors.invalid(where, probe["terminationGracePeriodSeconds"], why))
    return found + resource_errors(container.get("resources") or {}, f"{path}.resources")


def _ports(ports: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here = f"{path}[{index}]"
        if name := port.get("name"):
            wrong = [errors.invalid(f"{here}.name", name, why) for why in port_name_errors(name)]
            if not wrong and name in names:
                wrong = [errors.duplicate(f"{here}.name", name)]
            found += wrong
            names.add(name)
        number = port.get("containerPort") or 0
        if number == 0:
            found.append(errors.required(f"{here}.containerPort"))
        elif not 1 <= number <= 65535:
            found.append(errors.invalid(f"{here}.containerPort", number, _PORT_RANGE))
        host = port.get("hostPort") or 0
        if host and not 1 <= host <= 65535:
            found.append(errors.invalid(f"{here}.hostPort", host, _PORT_RANGE))
        if port.get("protocol") not in _PROTOCOLS:
            found.append(_one_of(f"{here}.protocol", port.get("protocol"), _PROTOCOLS))
    return found


_FIELD = re.compile(
    r"metadata\.(name|namespace|uid|labels\['[^']+'\]|annotations\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?|phase)"
)
_RESOURCES = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_RESOURCE = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)")


def _environment(container: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, variable in enumerate(container.get("env") or ()):
        here = f"{path}.env[{index}]"
        name = variable.get("name") or ""
        if not name:
            found.append(errors.required(f"{here}.name"))
        else:
            found += [errors.invalid(f"{here}.name", name, why) for why in env_name_errors(name)]
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            why = "may not be specified when `value` is not empty"
            found.append(errors.invalid(f"{here}.valueFrom", "", why))
        given = [key for key in source if source[key] is not None]
        if len(given) != 1:
            why = (
                "may not have more than one field specified at a time"
                if given
                else "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
                "`fileKeyRef`"
            )
            found.append(errors.invalid(f"{here}.valueFrom", "", why))
        for key in ("configMapKeyRef", "secretKeyRef"):
            reference = source.get(key)
            if reference is not None and not reference.get("key"):
                found.append(errors.required(f"{here}.valueFrom.{key}.key"))
            elif reference is not None:
                found += [
                    errors.invalid(f"{here}.valueFrom.{key}.key", reference["key"], why)
                    for why in config_key_errors(reference["key"])
                ]
        field = source.get("fieldRef")
        if field is not None and not field.get("fieldPath"):
            found.append(errors.required(f"{here}.valueFrom.fieldRef.fieldPath"))
        elif field is not None and not _FIELD.fullmatch(field["fieldPath"]):
            why = f"error converting fieldPath: field label not supported: {field['fieldPath']}"
            found.append(errors.invalid(f"{here}.valueFrom.fieldRef.fieldPath", field["fieldPath"], why))
        resource = source.get("resourceFieldRef")
        if resource is not None and not _RESOURCE.fullmatch(resource.get("resource") or ""):
            given_resource = resource.get("resource") or ""
            found.append(
                errors.not_supported(f"{here}.valueFrom.resourceFieldRef.resource", given_resource, _RESOURCES)
                if given_resource
                else errors.required(f"{here}.valueFrom.resourceFieldRef.resource")
            )
    for one in container.get("envFrom") or ():
        if one.get("configMapRef") is None and one.get("secretRef") is None:
            why = "must specify one of: `configMapRef` or `secretRef`"
            found.append(errors.invalid(f"{path}.envFrom", "", why))
    return found


def _mount(mount: Object, path: str, volumes: set[Any], seen: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name, place = mount.get("name") or "", mount.get("mountPath") or ""
    mounts = path.rpartition("[")[0]
    if not name:
        found.append(errors.required(f"{path}.name"))
    if name not in volumes:
        found.append(errors.not_found(f"{path}.name", name))
    if not place:
        found.append(errors.required(f"{path}.mountPath"))
    elif place in seen:
        found.append(errors.invalid(f"{path}.mountPath", place, "must be unique"))
    seen.add(place)
    inside = mount.get("subPath") or ""
    if inside.startswith("/"):
        found.append(errors.invalid(f"{mounts}.subPath", inside, "must be a relative path"))
    if ".." in inside.split("/"):
        found.append(errors.invalid(f"{mounts}.subPath", inside, "must not contain '..'"))
    return found


def _probe(probe: Object, path: str, *, once: bool) -> list[FieldError]:
    found: list[FieldError] = []
    handlers = [key for key in _HANDLERS if probe.get(key) is not None]
    if not handlers:
        found.append(errors.required(path, "must specify a handler type"))
    found += [errors.forbidden(f"{path}.{key}", "may not specify more than 1 handler type") for key in handlers[1:]]
    request = probe.get("httpGet")
    if request is not None and request.get("scheme") not in ("HTTP", "HTTPS"):
        found.append(_one_of(f"{path}.httpGet.scheme", request.get("scheme"), ("HTTP", "HTTPS")))
    if handlers and handlers[0] in ("httpGet", "tcpSocket"):
        found += _port_reference(probe[handlers[0]].get("port"), f"{path}.{handlers[0]}.port")
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if (probe.get(key) or 0) < 0:
            found.append(errors.invalid(f"{path}.{key}", probe[key], _NOT_NEGATIVE))
    if once and probe.get("successThreshold", 1) != 1:
        found.append(errors.invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def _port_reference(port: Any, path: str) -> list[FieldError]:
    if isinstance(port, str):
        return [errors.invalid(path, port, why) for why in port_name_errors(port)]
    if not 1 <= (port or 0) <= 65535:
        return [errors.invalid(path, port or 0, _PORT_RANGE)]
    return []


_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def resource_errors(resources: Object, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            here = f"{path}.{key}[{name}]"
            if "/" in name:
                if quantities.value(amount).denominator != 1:
                    found.append(errors.invalid(here, amount, "must be an integer"))
            elif name not in _COMPUTE and not name.startswith("hugepages-"):
                found.append(errors.invalid(here, name, "must be a standard resource type or fully qualified"))
                found.append(errors.invalid(here, name, "must be a standard resource for containers"))
        found += [
            errors.invalid(f"{path}.{key}[{name}]", amount, _NOT_NEGATIVE)
            for name, amount in amounts.items()
            if quantities.value(amount) < 0
        ]
    for name, amount in requests.items():
        if name in limits and quantities.value(amount) > quantities.value(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            found.append(errors.invalid(f"{path}.requests", amount, why))
    return found


_SOURCES = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
"""The order in which a volume's sources are looked at."""


def _inside(place: str, path: str) -> list[FieldError]:
    """A path in a volume that does not lead out of it."""
    if not place:
        return [errors.required(path)]
    if place.startswith("/"):
        return [errors.invalid(path, place, "must be a relative path")]
    if ".." in place.split("/"):
        return [errors.invalid(path, place, "must not contain '..'")]
    return []


def _volumes(volumes: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        found += _name(volume, here, names)
        sources = [key for key in volume if key != "name" and volume[key] is not None]
        sources.sort(key=lambda source: _SOURCES.index(source) if source in _SOURCES else len(_SOURCES))
        if not sources:
            found.append(errors.required(here, "must specify a volume type"))
        found += [errors.forbidden(f"{here}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        for key in ("configMap", "secret"):
            for at, item in enumerate((volume.get(key) or {}).get("items") or ()):
                found += _inside(item.get("path") or "", f"{here}.{key}.items[{at}].path")
        for key, member in _SOURCES_BY_NAME.items():
            if volume.get(key) is not None and not volume[key].get(member):
                found.append(errors.required(f"{here}.{key}.{member}"))
        host = volume.get("hostPath")
        if host is not None and not host.get("path"):
            found.append(errors.required(f"{here}.hostPath.path"))
    return found
