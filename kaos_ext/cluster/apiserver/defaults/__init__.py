"""Defaults of built-in kinds, as a real API server fills them in. Custom kinds have theirs in their schema.

`prepare(gvk, object)` is the whole way of a body of a built-in kind: read as Go reads it, then defaulted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaos_ext.cluster.apiserver.defaults import others, pods, workloads
from kaos_ext.cluster.apiserver.defaults.workloads import select_own_pods
from kaos_ext.cluster.apiserver.schema.decoding import decode

__all__ = ["default", "prepare", "select_own_pods"]

Object = dict[str, Any]
Kind = tuple[str, str, str]


def prepare(gvk: Kind, obj: Object) -> Object:
    """A new object, decoded and defaulted; `schema.decoding.DecodeError` when it is none of its kind."""
    return default(gvk, decode(gvk, obj))


def default(gvk: Kind, obj: Object) -> Object:
    """Fill in what is missing, in place; objects of kinds without defaults stay as they are."""
    fill = _KINDS.get((gvk[0], gvk[2]))
    if fill is not None:
        fill(obj)
    return obj


_KINDS: dict[tuple[str, str], Callable[[Object], None]] = {
    ("", "Pod"): pods.pod,
    ("", "PodTemplate"): pods.template,
    ("", "ReplicationController"): workloads.replication_controller,
    ("", "Service"): others.service,
    ("", "Secret"): others.secret,
    ("", "PersistentVolumeClaim"): others.claim,
    ("", "PersistentVolume"): others.volume_object,
    ("", "Namespace"): others.namespace,
    ("", "Endpoints"): others.endpoints,
    ("", "LimitRange"): others.limit_range,
    ("", "Node"): others.node,
    ("storage.k8s.io", "CSIDriver"): others.csi_driver,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): others.admission_policy,
    ("apiregistration.k8s.io", "APIService"): others.api_service,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): others.flow_schema,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "ReplicaSet"): workloads.replicas,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("batch", "Job"): workloads.job,
    ("batch", "CronJob"): workloads.cron_job,
    ("discovery.k8s.io", "EndpointSlice"): others.endpoint_slice,
    ("storage.k8s.io", "StorageClass"): others.storage_class,
    ("rbac.authorization.k8s.io", "RoleBinding"): others.roles_of,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): others.roles_of,
    ("networking.k8s.io", "NetworkPolicy"): others.network_policy,
    ("autoscaling", "HorizontalPodAutoscaler"): others.autoscaler,
    ("scheduling.k8s.io", "PriorityClass"): others.priority_class,
    ("authentication.k8s.io", "TokenRequest"): others.token_request,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): others.crd,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): others.webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): others.webhooks,
}
