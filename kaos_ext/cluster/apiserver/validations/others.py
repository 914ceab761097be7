"""ConfigMaps, Secrets, claims, volumes, leases, events, roles and bindings, token requests, classes."""

from __future__ import annotations

import base64
import json
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors, quantities
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import (
    config_key_errors,
    dns_subdomain_errors,
    path_segment_errors,
    qualified_name_errors,
)

Object = dict[str, Any]

_MAX_DATA = 1024 * 1024
_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_RBAC = "rbac.authorization.k8s.io"
_FROZEN = "field is immutable when `immutable` is set"


def config_map_errors(new: Object, old: Object | None) -> list[FieldError]:
    found: list[FieldError] = []
    text, binary = new.get("data") or {}, new.get("binaryData") or {}
    for member, data in (("data", text), ("binaryData", binary)):
        for key in data:
            found += [errors.invalid(f"{member}[{key}]", key, why) for why in config_key_errors(key)]
    found += [
        errors.invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in text if key in binary
    ]
    size = sum(len(value.encode()) for value in text.values()) + sum(_decoded(value) for value in binary.values())
    if size > _MAX_DATA:
        found.append(errors.too_long("[]", _MAX_DATA))
    if old is not None and old.get("immutable"):
        found += _frozen(new, old, ("data", "binaryData"))
    return found


def _decoded(value: str) -> int:
    return len(value) * 3 // 4 - value.count("=", -2)


def _frozen(new: Object, old: Object, members: tuple[str, ...]) -> list[FieldError]:
    found = []
    if not new.get("immutable"):
        found.append(errors.forbidden("immutable", _FROZEN))
    found += [
        errors.forbidden(member, _FROZEN) for member in members if (new.get(member) or {}) != (old.get(member) or {})
    ]
    return found


_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def secret_errors(new: Object, old: Object | None) -> list[FieldError]:
    data, kind = new.get("data") or {}, new.get("type")
    found = [errors.invalid(f"data[{key}]", key, why) for key in data for why in config_key_errors(key)]
    if sum(_decoded(value) for value in data.values()) > _MAX_DATA:
        found.append(errors.too_long("data", _MAX_DATA))
    found += [errors.required(f"data[{key}]") for key in _SECRET_KEYS.get(kind or "", ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        found += [errors.required(f"data[{key}]") for key in ("username", "password")]
    if kind == "kubernetes.io/service-account-token":
        name = ((new.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/service-account.name")
        if not name:
            found.append(errors.required("metadata.annotations[kubernetes.io/service-account.name]"))
    if kind == "kubernetes.io/dockerconfigjson" and ".dockerconfigjson" in data:
        try:
            json.loads(base64.b64decode(data[".dockerconfigjson"]))
        except ValueError:
            found.append(
                errors.invalid("data[.dockerconfigjson]", "<secret contents redacted>", "invalid character in JSON")
            )
    if old is not None:
        if kind != old.get("type"):
            found.append(errors.invalid("type", kind, "field is immutable"))
        if old.get("immutable"):
            found += _frozen(new, old, ("data",))
    return found


def claim_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    if old is not None:
        return _claim_changes(spec, old)
    found = _access(spec, "at least 1 access mode is required")
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        found.append(errors.required("spec.resources[storage]"))
    elif quantities.value(spec["resources"]["requests"]["storage"]) <= 0:
        amount = spec["resources"]["requests"]["storage"]
        found.append(errors.invalid("spec.resources[storage]", amount, "must be greater than zero"))
    if name := spec.get("storageClassName"):
        found += [errors.invalid("spec.storageClassName", name, why) for why in dns_subdomain_errors(name)]
    if spec.get("volumeMode") not in _VOLUME_MODES:
        found.append(errors.not_supported("spec.volumeMode", spec.get("volumeMode"), _VOLUME_MODES))
    return found


def _claim_changes(spec: Object, old: Object) -> list[FieldError]:
    was = dict(old.get("spec") or {})
    now = dict(spec)
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if not was.get("volumeName"):  # the binder sets it, once
        now.pop("volumeName", None)
        was.pop("volumeName", None)
    if was.get("storageClassName") is None:
        now.pop("storageClassName", None)
        was.pop("storageClassName", None)
    if bound:
        for side in (now, was):
            side.pop("volumeAttributesClassName", None)
            side["resources"] = {
                key: value for key, value in (side.get("resources") or {}).items() if key != "requests"
            }
    if now != was:
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [errors.forbidden("spec", why)]
    return []


def _access(spec: Object, why: str) -> list[FieldError]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [errors.required("spec.accessModes", why)]
    found = [errors.not_supported("spec.accessModes", mode, _ACCESS) for mode in modes if mode not in _ACCESS]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(errors.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))
    return found


_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")


def volume_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found = _access(spec, "")
    if not (spec.get("capacity") or {}).get("storage"):
        found.append(errors.required("spec.capacity"))
    known = {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
    sources = [key for key in spec if key not in known]
    if not sources:
        found.append(errors.required("spec", "must specify a volume type"))
    found += [errors.forbidden(f"spec.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
    if "local" in sources and old is None and spec.get("nodeAffinity") is None:
        found.append(errors.required("spec.nodeAffinity", "Local volume requires node affinity"))
    place = (spec.get("hostPath") or {}).get("path") or ""
    if ".." in place.split("/"):
        found.append(errors.invalid("spec.hostPath.path", place, "must not contain '..'"))
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy not in _RECLAIM:
        found.append(errors.not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    return found


def lease_errors(new: Object, old: Object | None) -> list[FieldError]:
    spec = new.get("spec") or {}
    found: list[FieldError] = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        found.append(errors.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(errors.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    return found


def event_errors(new: Object, old: Object | None) -> list[FieldError]:
    """The older API of events, which takes nearly everything."""
    namespace = (new.get("metadata") or {}).get("namespace") or ""
    about = (new.get("involvedObject") or {}).get("namespace") or ""
    if about != namespace and not (not about and namespace == "default"):
        return [errors.invalid("involvedObject.namespace", about, "does not match event.namespace")]
    return []


def new_event_errors(new: Object, old: Object | None) -> list[FieldError]:
    """The newer API of events."""
    if old is not None:
        return []
    if not new.get("eventTime"):
        return [errors.required("eventTime")]
    found = [
        errors.required(key)
        for key in ("reportingController", "reportingInstance", "action", "reason")
        if not new.get(key)
    ]
    if new.get("type") not in ("Normal", "Warning"):
        found.append(errors.invalid("type", new.get("type") or "", "has invalid value"))
    return found


def role_errors(new: Object, old: Object | None) -> list[FieldError]:
    return _rules(new.get("rules") or (), namespaced=True)


def cluster_role_errors(new: Object, old: Object | None) -> list[FieldError]:
    rule = new.get("aggregationRule")
    if rule is not None and not rule.get("clusterRoleSelectors"):
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [errors.required("aggregationRule.clusterRoleSelectors", why)]
    return _rules(new.get("rules") or (), namespaced=False)


def _rules(rules: Any, *, namespaced: bool) -> list[FieldError]:
    found: list[FieldError] = []
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            found.append(errors.required(f"{path}.verbs", "verbs must contain at least one value"))
        urls = rule.get("nonResourceURLs") or []
        if urls:
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                found.append(errors.invalid(f"{path}.nonResourceURLs", urls, why))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(errors.invalid(f"{path}.nonResourceURLs", urls, why))
            continue
        if not rule.get("apiGroups"):
            why = "resource rules must supply at least one api group"
            found.append(errors.required(f"{path}.apiGroups", why))
        if not rule.get("resources"):
            why = "resource rules must supply at least one resource"
            found.append(errors.required(f"{path}.resources", why))
    return found


def role_binding_errors(new: Object, old: Object | None) -> list[FieldError]:
    return _binding(new, old, ("ClusterRole", "Role"))


def cluster_role_binding_errors(new: Object, old: Object | None) -> list[FieldError]:
    return _binding(new, old, ("ClusterRole",))


def _binding(new: Object, old: Object | None, kinds: tuple[str, ...]) -> list[FieldError]:
    role = new.get("roleRef") or {}
    found: list[FieldError] = []
    if role.get("apiGroup") != _RBAC:
        found.append(errors.not_supported("roleRef.apiGroup", role.get("apiGroup") or "", [_RBAC]))
    if role.get("kind") not in kinds:
        found.append(errors.not_supported("roleRef.kind", role.get("kind") or "", sorted(kinds, reverse=True)))
    if not role.get("name"):
        found.append(errors.required("roleRef.name"))
    else:
        found += [errors.invalid("roleRef.name", role["name"], why) for why in path_segment_errors(role["name"])]
    for index, subject in enumerate(new.get("subjects") or ()):
        found += _subject(subject, f"subjects[{index}]", namespaced="Role" in kinds)
    if old is not None and role != (old.get("roleRef") or {}):
        shown = {"APIGroup": role.get("apiGroup"), "Kind": role.get("kind"), "Name": role.get("name")}
        found.append(errors.invalid("roleRef", shown, "cannot change roleRef"))
    return found


def _subject(subject: Object, path: str, *, namespaced: bool) -> list[FieldError]:
    found = [] if subject.get("name") else [errors.required(f"{path}.name")]
    kind, group = subject.get("kind"), subject.get("apiGroup") or ""
    if kind == "ServiceAccount":
        if group:
            found.append(errors.not_supported(f"{path}.apiGroup", group, [""]))
        if not namespaced and not subject.get("namespace"):
            found.append(errors.required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _RBAC:
            found.append(errors.not_supported(f"{path}.apiGroup", group, [_RBAC]))
    else:
        found.append(errors.not_supported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group")))
    return found


def token_request_errors(new: Object, old: Object | None) -> list[FieldError]:
    seconds = (new.get("spec") or {}).get("expirationSeconds")
    if seconds is not None and seconds < 600:
        why = "may not specify a duration less than 10 minutes"
        return [errors.invalid("spec.expirationSeconds", seconds, why)]
    if seconds is not None and seconds > 2**32:
        why = "may not specify a duration larger than 2^32 seconds"
        return [errors.invalid("spec.expirationSeconds", seconds, why)]
    return []


def scale_errors(new: Object, old: Object | None) -> list[FieldError]:
    replicas = (new.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        return [errors.invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
    return []


def storage_class_errors(new: Object, old: Object | None) -> list[FieldError]:
    provisioner = new.get("provisioner") or ""
    found = [] if provisioner else [errors.required("provisioner")]
    if provisioner:
        lowered = provisioner.lower()
        found += [errors.invalid("provisioner", lowered, why) for why in qualified_name_errors(lowered)]
    for key, allowed in (
        ("reclaimPolicy", ("Delete", "Retain")),
        ("volumeBindingMode", ("Immediate", "WaitForFirstConsumer")),
    ):
        if new.get(key) not in allowed:
            found.append(errors.not_supported(key, new.get(key), allowed))
    if old is not None:
        found += [
            errors.forbidden(key, f"updates to {key} are forbidden.")
            for key in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode")
            if new.get(key) != old.get(key)
        ]
    return found


_PREEMPTION = ("PreemptLowerPriority", "Never")
_HIGHEST_OF_USERS = 1_000_000_000
SYSTEM_PRIORITIES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


def priority_class_errors(new: Object, old: Object | None) -> list[FieldError]:
    if old is not None:
        return [
            errors.invalid(key, new.get(key), "field is immutable")
            for key in ("value", "preemptionPolicy")
            if new.get(key) != old.get(key)
        ]
    found: list[FieldError] = []
    name, value = new["metadata"].get("name") or "", new.get("value") or 0
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value:
            why = (
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            found.append(errors.forbidden("metadata.name", why))
    elif value > _HIGHEST_OF_USERS:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_OF_USERS}"
        found.append(errors.forbidden("value", why))
    if new.get("preemptionPolicy") not in _PREEMPTION:
        found.append(errors.not_supported("preemptionPolicy", new.get("preemptionPolicy"), _PREEMPTION))
    return found
