"""MCPServer: tools for agents, served over streamable HTTP by a runtime of the registry or by a container."""

from __future__ import annotations

from pydantic import Field

from kaos_ext.model.kinds.base import Part
from kaos_ext.model.kinds.shared import ContainerOverride, GatewayRoute, PodSpec, Status, Telemetry


class MCPServerSpec(Part):
    """What is wanted."""

    runtime: str = Field(min_length=1, description="Key in the ConfigMap kaos-mcp-runtimes, or `custom`.")
    params: str | None = Field(None, description="Configuration of the runtime, as the runtime defines it.")
    service_account_name: str | None = None
    telemetry: Telemetry | None = None
    gateway_route: GatewayRoute | None = None
    container: ContainerOverride | None = None
    pod_spec: PodSpec | None = None


class MCPServerStatus(Status):
    """What the operator saw."""

    available_tools: list[str] | None = Field(None, description="Names of the tools the server answered with.")


class MCPServer(Part):
    """A tool server that speaks the Model Context Protocol."""

    spec: MCPServerSpec
    status: MCPServerStatus | None = None


RULES: dict[str, list[tuple[str, str]]] = {
    "spec": [
        (
            "self.runtime != 'custom' || (has(self.container) && has(self.container.image))",
            "container.image is required when runtime is custom",
        ),
    ],
}
