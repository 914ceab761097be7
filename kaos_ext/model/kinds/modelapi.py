"""ModelAPI: a place where agents reach models, a proxy to providers or an engine in the cluster."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from kaos_ext.model.kinds.base import Part
from kaos_ext.model.kinds.shared import ContainerOverride, GatewayRoute, KeyRef, PodSpec, Status, Telemetry


class Mode(StrEnum):
    PROXY = "Proxy"
    HOSTED = "Hosted"


class ApiKeySource(Part):
    """Exactly one of the references."""

    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


class ApiKey(Part):
    """The provider's key: a literal (seen by everyone who may read the resource) or, better, a reference."""

    value: str | None = None
    value_from: ApiKeySource | None = None


class ConfigYaml(Part):
    """A whole proxy configuration; its model names must be covered by `models`."""

    from_string: str | None = None
    from_secret_key_ref: KeyRef | None = None


class CassetteMode(StrEnum):
    REPLAY = "replay"
    RECORD = "record"
    AUTO = "auto"


class Cassette(Part):
    """Recorded model answers, so that runs repeat without a key."""

    config_map_name: str = Field(min_length=1, description="ConfigMap with the recording.")
    mode: CassetteMode = CassetteMode.REPLAY


class ProxyConfig(Part):
    """Mode Proxy: which models are offered, and from where."""

    models: list[str] = Field(min_length=1, description="Names agents may ask for; `*` and `provider/*` match many.")
    provider: str | None = Field(None, description="Provider prefix of every model.")
    api_base: str | None = Field(None, description="Base URL of the provider.")
    api_key: ApiKey | None = None
    config_yaml: ConfigYaml | None = None
    cassette: Cassette | None = None


class HostedConfig(Part):
    """Mode Hosted: the model an engine in the cluster serves."""

    model: str = Field(min_length=1)


class ModelAPISpec(Part):
    """What is wanted."""

    mode: Mode
    proxy_config: ProxyConfig | None = None
    hosted_config: HostedConfig | None = None
    gateway_route: GatewayRoute | None = None
    telemetry: Telemetry | None = None
    container: ContainerOverride | None = None
    pod_spec: PodSpec | None = None


class ModelAPIStatus(Status):
    """What the operator saw."""


class ModelAPI(Part):
    """Models behind one OpenAI-compatible address."""

    spec: ModelAPISpec
    status: ModelAPIStatus | None = None


RULES = {
    "spec": [
        ("self.mode != 'Proxy' || has(self.proxyConfig)", "proxyConfig is required when mode is Proxy"),
        ("self.mode != 'Hosted' || has(self.hostedConfig)", "hostedConfig is required when mode is Hosted"),
    ],
    "spec.proxyConfig.apiKey": [
        ("has(self.value) != has(self.valueFrom)", "exactly one of value and valueFrom is required"),
    ],
}
"""CEL rules of the schema by path: the rule, and what is said when it does not hold."""
