"""What the operator calls things: the API group, child names, labels, ports, endpoints.

Clients find an agent by these names (`deployment/agent-<n>`, `service/agent-<n>:8000`), so they are part of the wire.
"""

from __future__ import annotations

from enum import StrEnum

GROUP = "kaos.tools"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

SYSTEM_NAMESPACE = "kaos-system"
OPERATOR = "kaos-operator"
OPERATOR_CONFIG = "kaos-operator-config"
MCP_RUNTIMES = "kaos-mcp-runtimes"
"""ConfigMap with the registry of MCP runtimes, key `runtimes.yaml`."""

HTTP_PORT = 8000
OLLAMA_PORT = 11434
CLUSTER_DOMAIN = "cluster.local"

MANAGED_BY = "app.kubernetes.io/managed-by"
POD_SPEC_HASH = f"{GROUP}/pod-spec-hash"
CONFIG_HASH = f"{GROUP}/config-hash"
"""Digest of the ConfigMaps and Secrets a pod reads at its start: new content, new pods."""
APPLIED_HASH = f"{GROUP}/applied-hash"
"""Digest of a child as the operator last wrote it."""

SUSPEND_AFTER = f"{GROUP}/suspend-after"
"""Annotation of an Agent: with `iteration`, a suspension waits for the end of the open iteration."""
RUN_NOW = f"{GROUP}/run-now"
"""Annotation of an Agent: each new value is one iteration at once."""

STATE_PATH = "/var/lib/kaos"
CONTROL_PATH = "/etc/kaos/control"
CONTROL_KEY = "control.json"
MODEL_CONFIG_PATH = "/etc/litellm"
MODEL_CONFIG_KEY = "config.yaml"


class Kind(StrEnum):
    """The kinds of the group that have pods."""

    MODELAPI = "ModelAPI"
    MCPSERVER = "MCPServer"
    AGENT = "Agent"

    @property
    def plural(self) -> str:
        return f"{self.value.lower()}s"

    @property
    def app(self) -> str:
        """Prefix of child names, value of the label `app` and name of the label that carries the resource's name."""
        return self.value.lower()

    @property
    def container(self) -> str:
        return {"ModelAPI": "model-api", "MCPServer": "mcp-server", "Agent": "agent"}[self.value]


def child(kind: Kind, name: str) -> str:
    """Name of the Deployment and of the Service of a resource."""
    return f"{kind.app}-{name}"


def labels(kind: Kind, name: str) -> dict[str, str]:
    """Selector of the pods of a resource."""
    return {"app": kind.app, kind.app: name}


def endpoint(kind: Kind, name: str, namespace: str, port: int = HTTP_PORT) -> str:
    """Base URL of a resource's Service inside the cluster."""
    return f"http://{child(kind, name)}.{namespace}.svc.{CLUSTER_DOMAIN}:{port}"


def model_config(name: str) -> str:
    """ConfigMap with the proxy configuration of a ModelAPI."""
    return f"litellm-config-{name}"


def agent_state(name: str) -> str:
    """PersistentVolumeClaim that holds the event log of an agent that loops."""
    return f"agent-{name}-state"


def agent_control(name: str) -> str:
    """ConfigMap that a running loop follows."""
    return f"agent-{name}-control"


def agent_account(name: str) -> str:
    """ServiceAccount, Role and RoleBinding of an agent that reports its own status."""
    return f"agent-{name}"


def model_store(name: str) -> str:
    """PersistentVolumeClaim that keeps the weights of a hosted model."""
    return f"modelapi-{name}-models"
