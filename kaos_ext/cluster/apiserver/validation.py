"""Validation of objects, as a real API server words it.

    complaints(gvk, new, old, subresource)    metadata of any kind and all fields of the built-in ones

Objects come decoded and defaulted (`defaults.prepare`). Fields of custom kinds are checked by their schema. A write to
`/status` may only be wrong in its metadata.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaos_ext.cluster.apiserver.schema.crd import crd_errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.validations import (
    certificates,
    limits,
    networking,
    others,
    placement,
    pods,
    scaling,
    services,
    webhooks,
    workloads,
)
from kaos_ext.cluster.apiserver.validations.metadata import metadata_errors

Object = dict[str, Any]
Rule = Callable[[Object, Object | None], list[FieldError]]

_RBAC = "rbac.authorization.k8s.io"
_REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})


def complaints(
    gvk: tuple[str, str, str], new: Object, old: Object | None = None, subresource: str = ""
) -> list[FieldError]:
    """What is wrong with a new object, or with a change of an old one; nothing when all is well."""
    group, _, kind = gvk
    rule = _RULES.get((group, kind))
    if group in _REVIEWS or kind in ("Scale", "Binding", "Eviction"):
        return rule(new, old) if rule is not None else []
    if rule is crd_errors:  # says of its name what it has to say itself
        return crd_errors(new, old) if not subresource else []
    found = metadata_errors(group, kind, new, old)
    if rule is not None and not subresource:
        found += rule(new, old)
    if old is not None and kind == "CertificateSigningRequest":
        found += certificates.decision_errors(new, old)
    return found


_RULES: dict[tuple[str, str], Rule] = {
    ("", "Pod"): pods.pod_errors,
    ("", "Service"): services.service_errors,
    ("", "Endpoints"): services.endpoints_errors,
    ("", "ConfigMap"): others.config_map_errors,
    ("", "Secret"): others.secret_errors,
    ("", "PersistentVolumeClaim"): others.claim_errors,
    ("", "PersistentVolume"): others.volume_errors,
    ("", "Event"): others.event_errors,
    ("events.k8s.io", "Event"): others.new_event_errors,
    ("", "ReplicationController"): workloads.replication_controller_errors,
    ("apps", "Deployment"): workloads.deployment_errors,
    ("apps", "ReplicaSet"): workloads.replica_set_errors,
    ("apps", "StatefulSet"): workloads.stateful_set_errors,
    ("apps", "DaemonSet"): workloads.daemon_set_errors,
    ("batch", "Job"): workloads.job_errors,
    ("batch", "CronJob"): workloads.cron_job_errors,
    ("discovery.k8s.io", "EndpointSlice"): services.endpoint_slice_errors,
    ("coordination.k8s.io", "Lease"): others.lease_errors,
    ("storage.k8s.io", "StorageClass"): others.storage_class_errors,
    ("scheduling.k8s.io", "PriorityClass"): others.priority_class_errors,
    ("autoscaling", "HorizontalPodAutoscaler"): scaling.autoscaler_errors,
    ("policy", "PodDisruptionBudget"): scaling.budget_errors,
    ("networking.k8s.io", "Ingress"): networking.ingress_errors,
    ("networking.k8s.io", "IngressClass"): networking.ingress_class_errors,
    ("networking.k8s.io", "NetworkPolicy"): networking.network_policy_errors,
    ("node.k8s.io", "RuntimeClass"): networking.runtime_class_errors,
    ("certificates.k8s.io", "CertificateSigningRequest"): certificates.request_errors,
    ("", "Node"): placement.node_errors,
    ("", "ResourceQuota"): limits.quota_errors,
    ("", "LimitRange"): limits.range_errors,
    ("autoscaling", "Scale"): others.scale_errors,
    ("authentication.k8s.io", "TokenRequest"): others.token_request_errors,
    (_RBAC, "Role"): others.role_errors,
    (_RBAC, "ClusterRole"): others.cluster_role_errors,
    (_RBAC, "RoleBinding"): others.role_binding_errors,
    (_RBAC, "ClusterRoleBinding"): others.cluster_role_binding_errors,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): crd_errors,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): webhooks.configuration_errors,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): webhooks.configuration_errors,
}
