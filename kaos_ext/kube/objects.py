"""The values that travel between Kubernetes clients and servers: resources, objects, events, refusals.

An object is a plain JSON dict, as the wire has it. A `Resource` names a collection of the API (`pods`, `apps/v1
deployments`) and knows its paths. A refusal is an `ApiError` that carries the server's whole `Status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kaos_ext.model.errors import KaosError

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection of the API: its group (empty for core), version, plural, kind and scope."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of one object, or of an object's subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PERSISTENTVOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
PERSISTENTVOLUMECLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
STORAGECLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTERROLEBINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CUSTOMRESOURCEDEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)


class PatchType(StrEnum):
    """Media types of a patch; APPLY is server-side apply."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


class Propagation(StrEnum):
    """What a delete does to the objects that are owned."""

    BACKGROUND = "Background"
    FOREGROUND = "Foreground"
    ORPHAN = "Orphan"


class WatchType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    type: WatchType
    object: Object


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A list and the resourceVersion from which a watch goes on without gap or double."""

    items: list[Object] = field(default_factory=list)
    resource_version: str = ""


class ApiError(KaosError):
    """An API server refused; `status` is its whole `Status` object."""

    def __init__(self, status: Mapping[str, Any], *, hint: str = "") -> None:
        super().__init__(str(status.get("message") or status.get("reason") or "the API server refused"), hint=hint)
        self.status = dict(status)

    @property
    def code(self) -> int:
        return int(self.status.get("code") or 500)

    @property
    def reason(self) -> str:
        return str(self.status.get("reason") or "")

    @property
    def causes(self) -> list[dict[str, str]]:
        return list((self.status.get("details") or {}).get("causes") or [])


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code == 404


def is_conflict(error: BaseException) -> bool:
    """An optimistic-concurrency or apply conflict (reason Conflict, not AlreadyExists)."""
    return isinstance(error, ApiError) and error.code == 409 and error.reason == "Conflict"


def is_expired(error: BaseException) -> bool:
    """The asked resourceVersion is too old: list again."""
    return isinstance(error, ApiError) and error.code == 410
