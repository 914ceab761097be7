"""Defaults of everything that makes no Pods."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.defaults.pods import spec_of

Object = dict[str, Any]


def service(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        config.setdefault("timeoutSeconds", 10800)
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port", 0)
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["type"] in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.setdefault("internalTrafficPolicy", "Cluster")


def secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")


def claim(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("volumeMode", "Filesystem")
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = {"apiGroup": None, **source}
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {"apiGroup": None, **reference}
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def volume_object(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if spec.get("hostPath") is not None:
        spec["hostPath"].setdefault("type", "")
    obj.setdefault("status", {}).setdefault("phase", "Pending")


def namespace(obj: Object) -> None:
    obj.setdefault("status", {}).setdefault("phase", "Active")


def endpoints(obj: Object) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            port.setdefault("protocol", "TCP")


def endpoint_slice(obj: Object) -> None:
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def storage_class(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def roles_of(obj: Object) -> None:
    reference = obj.get("roleRef")
    if reference is not None:
        reference["apiGroup"] = reference.get("apiGroup") or "rbac.authorization.k8s.io"
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = "rbac.authorization.k8s.io"


def network_policy(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def autoscaler(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("minReplicas", 1)
    if obj.get("apiVersion") == "autoscaling/v1":
        return
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        _scaling_rules(behavior, "scaleUp", [("Pods", 4), ("Percent", 100)], window=0)
        _scaling_rules(behavior, "scaleDown", [("Percent", 100)])


def _scaling_rules(behavior: Object, key: str, usual: list[tuple[str, int]], window: int | None = None) -> None:
    rules = behavior.setdefault(key, {})
    if rules.get("stabilizationWindowSeconds") is None and window is not None:
        rules["stabilizationWindowSeconds"] = window
    if rules.get("selectPolicy") is None:
        rules["selectPolicy"] = "Max"
    if rules.get("policies") is None:
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in usual]


def priority_class(obj: Object) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def limit_range(obj: Object) -> None:
    for limit in spec_of(obj).get("limits") or ():
        if limit.get("type") == "Container":
            limit["default"] = {**(limit.get("max") or {}), **(limit.get("default") or {})}
            requests = {**(limit.get("min") or {}), **limit["default"], **(limit.get("defaultRequest") or {})}
            limit["defaultRequest"] = requests
            for key in ("default", "defaultRequest"):
                if not limit[key]:
                    del limit[key]


def token_request(obj: Object) -> None:
    spec = spec_of(obj)
    if spec.get("expirationSeconds") is None:  # Go writes the member as null
        spec["expirationSeconds"] = 3600


def csi_driver(obj: Object) -> None:
    spec = spec_of(obj)
    for key, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("volumeLifecycleModes", ["Persistent"]),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        if spec.get(key) is None:
            spec[key] = value


def node(obj: Object) -> None:
    spec = spec_of(obj)
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]


def admission_policy(obj: Object) -> None:
    spec = spec_of(obj)
    spec.setdefault("failurePolicy", "Fail")
    matching = spec.get("matchConstraints")
    if matching is not None:
        matching.setdefault("matchPolicy", "Equivalent")
        for selector in ("namespaceSelector", "objectSelector"):
            if matching.get(selector) is None:
                matching[selector] = {}
        for rule in matching.get("resourceRules") or ():
            rule.setdefault("scope", "*")


def api_service(obj: Object) -> None:
    service = spec_of(obj).get("service")
    if service is not None:
        service.setdefault("port", 443)


def flow_schema(obj: Object) -> None:
    spec = spec_of(obj)
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def webhooks(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("timeoutSeconds", 10)
        for selector in ("namespaceSelector", "objectSelector"):
            if webhook.get(selector) is None:
                webhook[selector] = {}
        if obj["kind"].startswith("Mutating"):
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def crd(obj: Object) -> None:
    from kaos_ext.cluster.apiserver.schema.crd import default_crd

    default_crd(obj)
