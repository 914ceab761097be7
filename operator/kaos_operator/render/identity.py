"""Who an agent is to the API server: an account that may write the status of its own Agent, and nothing else."""

from __future__ import annotations

from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_operator.render import pods

RBAC = "rbac.authorization.k8s.io"


def identity(resource: Object) -> list[Object]:
    """ServiceAccount, Role and RoleBinding."""
    own = resource["metadata"]["name"]
    name = names.agent_account(own)
    rule = {
        "apiGroups": [names.GROUP],
        "resources": ["agents/status"],
        "resourceNames": [own],
        "verbs": ["get", "patch"],
    }
    subject = {"kind": "ServiceAccount", "name": name, "namespace": resource["metadata"]["namespace"]}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": pods.metadata(resource, name)},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "Role",
            "metadata": pods.metadata(resource, name),
            "rules": [rule],
        },
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": pods.metadata(resource, name),
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [subject],
        },
    ]
