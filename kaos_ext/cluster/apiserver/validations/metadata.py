"""Metadata of every object: names, labels, annotations, finalizers, owners, and what an update may not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import (
    dns_label_errors,
    dns_subdomain_errors,
    label_value_errors,
    max_length,
    path_segment_errors,
    qualified_name_errors,
)

Object = dict[str, Any]

_MAX_ANNOTATIONS = 256 * 1024
_RBAC = "rbac.authorization.k8s.io"
_LABEL_NAMED = frozenset({("", "Namespace"), ("", "Service")})
_PATH_NAMED = frozenset((_RBAC, kind) for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"))
_MAX_CRON_JOB = 52
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_NO_FINALIZER = "name is neither a standard finalizer name nor is it fully qualified"


def name_rule(group: str, kind: str) -> Callable[[str], list[str]]:
    """What names of a kind must look like."""
    if (group, kind) in _LABEL_NAMED:
        return dns_label_errors
    return path_segment_errors if (group, kind) in _PATH_NAMED else dns_subdomain_errors


def metadata_errors(group: str, kind: str, new: Object, old: Object | None) -> list[FieldError]:
    metadata = new.get("metadata") or {}
    found: list[FieldError] = []
    if old is None:
        name = metadata.get("name") or ""
        if not name:
            found.append(errors.required("metadata.name", "name or generateName is required"))
        elif (group, kind) != ("", "Event"):  # whose names nobody looks at
            prefix = metadata.get("generateName") or ""
            if prefix:
                stem = prefix[:-1] + "a" if prefix.endswith("-") else prefix  # what follows may be anything
                found += [errors.invalid("metadata.generateName", prefix, why) for why in name_rule(group, kind)(stem)]
            found += [errors.invalid("metadata.name", name, why) for why in name_rule(group, kind)(name)]
            if (group, kind) == ("batch", "CronJob") and len(name) > _MAX_CRON_JOB:
                found.append(errors.invalid("metadata.name", name, max_length(_MAX_CRON_JOB)))
    else:
        found += changed_metadata_errors(new, old)
    found += label_errors(metadata.get("labels"), "metadata.labels")
    found += annotation_errors(metadata.get("annotations"), "metadata.annotations")
    found += [
        errors.invalid("metadata.finalizers", finalizer, why)
        for finalizer in metadata.get("finalizers") or ()
        for why in qualified_name_errors(finalizer)
    ]
    if group == "":
        found += [
            errors.invalid(f"metadata.finalizers[{index}]", finalizer, _NO_FINALIZER)
            for index, finalizer in enumerate(metadata.get("finalizers") or ())
            if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS
        ]
    found += _owners(metadata.get("ownerReferences") or ())
    return found


def label_errors(labels: Mapping[str, str] | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, value in (labels or {}).items():
        found += [errors.invalid(path, key, why) for why in qualified_name_errors(key)]
        found += [errors.invalid(path, value, why) for why in label_value_errors(value)]
    return found


def annotation_errors(annotations: Mapping[str, str] | None, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    size = 0
    for key, value in (annotations or {}).items():
        found += [errors.invalid(path, key, why) for why in qualified_name_errors(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > _MAX_ANNOTATIONS:
        found.append(errors.too_long(path, _MAX_ANNOTATIONS))
    return found


def _owners(owners: Any) -> list[FieldError]:
    found: list[FieldError] = []
    controllers = [f"{owner.get('kind', '')}/{owner.get('name', '')}" for owner in owners if owner.get("controller")]
    for owner in owners:
        version = str(owner.get("apiVersion") or "").rpartition("/")[2]
        path = "metadata.ownerReferences"
        if not version:
            shown = owner.get("apiVersion") or ""
            found.append(errors.invalid(f"{path}.apiVersion", shown, "version must not be empty"))
        found += [
            errors.invalid(f"{path}.{key}", "", "must not be empty")
            for key in ("kind", "name", "uid")
            if not owner.get(key)
        ]
        if owner.get("apiVersion") == "v1" and owner.get("kind") == "Event":
            found.append(errors.invalid(path, dict(owner), "/v1, Kind=Event is disallowed from being an owner"))
    if len(controllers) > 1:
        why = (
            f'Only one reference can have Controller set to true. Found "true" in references for {controllers[0]} and '
            f"{controllers[1]}"
        )
        found.append(errors.invalid("metadata.ownerReferences", list(owners), why))
    return found


def changed_metadata_errors(new: Object, old: Object) -> list[FieldError]:
    """What an update may not change."""
    metadata, was = new.get("metadata") or {}, old.get("metadata") or {}
    found: list[FieldError] = []
    if was.get("deletionTimestamp"):
        added = [one for one in metadata.get("finalizers") or () if one not in (was.get("finalizers") or ())]
        if added:
            shown = ", ".join(f'"{one}"' for one in sorted(added))
            why = (
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{"
                f"{shown}}}"
            )
            found.append(errors.forbidden("metadata.finalizers", why))
    found += [
        errors.invalid(f"metadata.{key}", metadata.get(key), "field is immutable")
        for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")
        if metadata.get(key) and (was.get(key) or key == "deletionTimestamp") and metadata[key] != was.get(key)
    ]
    return found * 2  # both the generic and the kind's own validation say it
