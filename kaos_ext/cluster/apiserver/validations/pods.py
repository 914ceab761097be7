"""Pods and the templates they are made from; volumes, containers and security contexts have files of their own."""

from __future__ import annotations

import copy
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns_label_errors, dns_subdomain_errors
from kaos_ext.cluster.apiserver.validations.containers import container_errors
from kaos_ext.cluster.apiserver.validations.metadata import annotation_errors, label_errors
from kaos_ext.cluster.apiserver.validations.placement import placement_errors
from kaos_ext.cluster.apiserver.validations.security import security_errors
from kaos_ext.cluster.apiserver.validations.volumes import volume_errors

Object = dict[str, Any]

RESTART_POLICIES = ("Always", "Never", "OnFailure")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
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
    found = volume_errors(spec.get("volumes") or (), f"{path}.volumes")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    containers = spec.get("containers") or ()
    if not containers:
        found.append(errors.required(f"{path}.containers"))
    names: set[str] = set()
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(group) or ()):
            here = f"{path}.{group}[{index}]"
            found += container_errors(container, here, names, volumes)
            if group == "initContainers" and container.get("restartPolicy") != "Always":
                why = "may not be set for init containers without restartPolicy=Always"
                for key in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
                    if container.get(key) is not None:
                        found.append(errors.forbidden(f"{here}.{key}", why))
    policy = spec.get("restartPolicy")
    if policy not in RESTART_POLICIES:
        found.append(errors.one_of(f"{path}.restartPolicy", policy, RESTART_POLICIES))
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
    found += security_errors(spec.get("securityContext") or {}, f"{path}.securityContext")
    if spec.get("dnsPolicy") not in _DNS_POLICIES:
        found.append(errors.one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy"), _DNS_POLICIES))
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
