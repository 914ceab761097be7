"""OpenTelemetry and log-level environment."""

from __future__ import annotations

from kaos_ext.kube.objects import Object
from kaos_ext.model import podenv
from kaos_operator.settings import Settings


def exporter(settings: Settings, telemetry: Object | None) -> str:
    """The OTLP endpoint that holds for a component, empty when it exports nothing; fields override one by one."""
    telemetry = telemetry or {}
    enabled = telemetry.get("enabled", settings.telemetry_enabled)
    return str(telemetry.get("endpoint") or settings.telemetry_endpoint) if enabled else ""


def telemetry_env(resource: Object, settings: Settings, telemetry: Object | None) -> dict[str, str | None]:
    """What agents and MCP servers get."""
    values: dict[str, str | None] = {}
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    if endpoint := exporter(settings, telemetry):
        values |= {
            "OTEL_SDK_DISABLED": "false",
            "OTEL_SERVICE_NAME": name,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.namespace={namespace},kaos.resource.name={name}",
            "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS": "/health,/ready",
        }
    values[podenv.LOG_LEVEL] = settings.log_level
    return values
