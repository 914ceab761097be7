"""The registry of MCP runtimes: ConfigMap `kaos-mcp-runtimes`, key `runtimes.yaml`, top key `runtimes`.

It is read on every reconcile, so an edit acts at once. The field names are the published ones, plus `readinessPath`
(ours): without it a server is ready when its port is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kaos_ext.model import images, podenv
from kaos_operator.documents import dump, load

KEY = "runtimes.yaml"
CUSTOM = "custom"


class RegistryError(Exception):
    """The ConfigMap is not a registry; the text says why."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """One entry."""

    image: str = ""
    command: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    type: str = ""
    description: str = ""
    params_env: str = ""
    required_env: list[str] = field(default_factory=list)
    readiness_path: str = ""


BUILT_IN: dict[str, dict[str, Any]] = {
    "python-string": {
        "type": "python",
        "image": images.MCP_PYTHON_STRING,
        "description": "Tools from Python source: every top-level function of spec.params is a tool.",
        "paramsEnvVar": podenv.MCP_TOOLS_STRING,
        "transport": "http",
        "readinessPath": "/ready",
    },
    "kubernetes": {
        "type": "go",
        "image": images.KUBERNETES_MCP,
        "args": ["--port", "8000"],
        "description": "Tools on the Kubernetes API, with the rights of spec.serviceAccountName.",
        "transport": "http",
    },
    "slack": {
        "type": "nodejs",
        "image": images.SLACK_MCP,
        "args": ["--transport", "http", "--port", "8000"],
        "description": "Tools on a Slack workspace.",
        "transport": "http",
        "requiredEnv": ["SLACK_BOT_TOKEN", "SLACK_TEAM_ID"],
    },
}


def default_registry() -> dict[str, str]:
    """The ConfigMap's data as installed."""
    return {KEY: dump({"runtimes": BUILT_IN})}


def parse_registry(data: Mapping[str, str] | None) -> dict[str, Runtime]:
    """Entries by name; an absent ConfigMap is the registry as installed."""
    if data is None:
        runtimes: Any = BUILT_IN
    else:
        try:
            document = load(data.get(KEY, "")) or {}
        except yaml.YAMLError as error:
            raise RegistryError(f"{KEY} is not YAML: {' '.join(str(error).split())}") from None
        runtimes = document.get("runtimes") if isinstance(document, dict) else None
        if not isinstance(runtimes, dict):
            raise RegistryError(f"{KEY} has no mapping `runtimes`")
    return {str(name): _runtime(str(name), entry) for name, entry in runtimes.items()}


def _runtime(name: str, entry: Any) -> Runtime:
    if not isinstance(entry, dict):
        raise RegistryError(f"runtime {name!r} is not a mapping")
    lists: dict[str, list[str]] = {}
    for key in ("command", "args", "requiredEnv"):
        value = entry.get(key) or []
        if not isinstance(value, list):
            raise RegistryError(f"runtime {name!r}: {key} is not a list")
        lists[key] = [str(item) for item in value]
    return Runtime(
        image=str(entry.get("image") or ""),
        command=lists["command"],
        args=lists["args"],
        type=str(entry.get("type") or ""),
        description=str(entry.get("description") or ""),
        params_env=str(entry.get("paramsEnvVar") or ""),
        required_env=lists["requiredEnv"],
        readiness_path=str(entry.get("readinessPath") or ""),
    )
