"""The objects that make a cluster a KAOS cluster, in the order they are applied: pure data."""

from __future__ import annotations

from kaos_ext.kube.objects import Object
from kaos_ext.model import images, names
from kaos_operator.crds import read_crds
from kaos_operator.registry import default_registry
from kaos_operator.settings import Settings

LABELS = {"app.kubernetes.io/name": names.OPERATOR, "app.kubernetes.io/part-of": "kaos"}
HEALTH_PORT = 8081

RULES: list[Object] = [
    {"apiGroups": [names.GROUP], "resources": ["agents", "mcpservers", "modelapis"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": [names.GROUP],
        "resources": ["agents/status", "mcpservers/status", "modelapis/status"],
        "verbs": ["get", "patch", "update"],
    },
    {
        # owner references with blockOwnerDeletion need it where that is enforced
        "apiGroups": [names.GROUP],
        "resources": ["agents/finalizers", "mcpservers/finalizers", "modelapis/finalizers"],
        "verbs": ["update"],
    },
    {
        "apiGroups": ["apps"],
        "resources": ["deployments"],
        "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
    },
    {
        "apiGroups": [""],
        "resources": ["services", "configmaps", "persistentvolumeclaims", "serviceaccounts"],
        "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
    },
    {
        # an agent's right to its own status; only rights the operator has itself can be given away
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles", "rolebindings"],
        "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
    },
    # contents are only hashed, so that pods see new values
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": ["apiextensions.k8s.io"],
        "resources": ["customresourcedefinitions"],
        "verbs": ["get", "list", "watch"],
    },
]


def install_objects(namespace: str = names.SYSTEM_NAMESPACE, *, settings: Settings | None = None) -> list[Object]:
    """CRDs, namespace, rights, configuration and the operator's Deployment."""
    settings = settings or Settings(system_namespace=namespace)
    return [*read_crds(), api_service(), *operator_objects(namespace, settings)]


def api_service() -> Object:
    """The rank of our group in discovery: other groups have a kind `Agent` too, and `kubectl get agents` is ours.

    A server ranks the groups of CRDs alike (1000) and then by name, by an APIService that it makes itself and keeps so;
    the label takes this one out of its care, whichever of the two was first.
    """
    metadata = {
        "name": f"{names.VERSION}.{names.GROUP}",
        "labels": {**LABELS, "kube-aggregator.kubernetes.io/automanaged": "false"},
    }
    spec = {"group": names.GROUP, "version": names.VERSION, "groupPriorityMinimum": 1100, "versionPriority": 100}
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}


def operator_objects(namespace: str, settings: Settings) -> list[Object]:
    """Everything but the CRDs and their rank."""
    metadata = {"name": names.OPERATOR, "labels": LABELS}
    inside = {**metadata, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": names.OPERATOR, "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.OPERATOR}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": LABELS}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": inside},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": RULES},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": role,
            "subjects": [subject],
        },
        _config_map(names.OPERATOR_CONFIG, namespace, settings.to_environ()),
        _config_map(names.MCP_RUNTIMES, namespace, default_registry()),
        _deployment(namespace),
    ]


def _config_map(name: str, namespace: str, data: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _deployment(namespace: str) -> Object:
    selector = {"app.kubernetes.io/name": names.OPERATOR}
    health: Object = {"httpGet": {"path": "/healthz", "port": "health", "scheme": "HTTP"}}
    container: Object = {
        "name": "operator",
        "image": images.OPERATOR,
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "envFrom": [{"configMapRef": {"name": names.OPERATOR_CONFIG}}],
        "env": [{"name": "HEALTH_PORT", "value": str(HEALTH_PORT)}],
        "startupProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 120},
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 2},
        "livenessProbe": {**health, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: Object = {"serviceAccountName": names.OPERATOR, "containers": [container], "terminationGracePeriodSeconds": 10}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": names.OPERATOR, "namespace": namespace, "labels": LABELS},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            # two operators at once would be harmless, but each would answer every change
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": {**LABELS}}, "spec": pod},
        },
    }
