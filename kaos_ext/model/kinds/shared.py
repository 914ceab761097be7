"""Parts that several kinds have: container overrides, pod specs, references, telemetry, conditions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from kaos_ext.model.kinds.base import Part

_NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY = {
    "x-kubernetes-int-or-string": True,
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": rf"^(\+|-)?{_NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{_NUMBER}))?$",
}
Quantity = Annotated[int | str, WithJsonSchema(QUANTITY)]
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]

PodSpec = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "description": "A PodSpec, merged over the generated one by the rules of a strategic merge patch.",
        }
    ),
]


class Phase(StrEnum):
    PENDING = "Pending"
    READY = "Ready"
    FAILED = "Failed"
    WAITING = "Waiting"


class KeyRef(Part):
    """One key of a Secret or ConfigMap in the same namespace."""

    name: str = Field(min_length=1)
    key: str = Field(min_length=1)
    optional: bool | None = None


class FieldRef(Part):
    """A field of the pod."""

    api_version: str | None = None
    field_path: str


class ResourceFieldRef(Part):
    """A resource request or limit of a container."""

    container_name: str | None = None
    resource: str
    divisor: Quantity | None = None


class EnvVarSource(Part):
    """Where the value of an environment variable comes from; exactly one."""

    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None


class EnvVar(Part):
    """An environment variable of the container."""

    name: str = Field(min_length=1)
    value: str | None = None
    value_from: EnvVarSource | None = None


class ResourceClaim(Part):
    """A claim of the pod that the container uses."""

    name: str
    request: str | None = None


class Resources(Part):
    """Compute resources of the container."""

    limits: dict[str, Quantity] | None = None
    requests: dict[str, Quantity] | None = None
    claims: list[ResourceClaim] | None = None


class ContainerOverride(Part):
    """Replaces parts of the generated container; env entries win over generated ones of the same name."""

    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    resources: Resources | None = None
    env: list[EnvVar] | None = None


class GatewayRoute(Part):
    """How the resource is reached through a Gateway."""

    timeout: str | None = Field(
        None, pattern="^([0-9]+(h|m|s|ms)){1,4}$", description='Request timeout as a duration; "0s" turns it off.'
    )


class Telemetry(Part):
    """OpenTelemetry export; overrides the operator's default field by field."""

    enabled: bool = False
    endpoint: str | None = Field(None, description="OTLP over gRPC, as a URL.")


class Condition(Part):
    """One aspect of the state, with the reason and the time of its last change."""

    type: str = Field(max_length=316)
    status: str = Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})
    reason: str = Field(max_length=1024)
    message: str = Field(max_length=32768)
    last_transition_time: Time
    observed_generation: int | None = Field(None, ge=0, json_schema_extra={"format": "int64"})


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class DeploymentCondition(Part):
    """A condition of the Deployment, as it has it."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_update_time: Time | None = None
    last_transition_time: Time | None = None


class DeploymentStatus(Part):
    """Copied from the Deployment of the resource."""

    replicas: Int32 | None = None
    ready_replicas: Int32 | None = None
    available_replicas: Int32 | None = None
    updated_replicas: Int32 | None = None
    conditions: list[DeploymentCondition] | None = None


class Status(Part):
    """What the operator saw."""

    phase: Phase | None = None
    ready: bool | None = None
    endpoint: str | None = Field(None, description="Base URL inside the cluster.")
    message: str | None = Field(None, description="One sentence on the state, for people.")
    observed_generation: int | None = Field(None, json_schema_extra={"format": "int64"})
    conditions: Conditions | None = None
    deployment: DeploymentStatus | None = None
