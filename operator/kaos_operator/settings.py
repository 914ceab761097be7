"""What the operator is told by its environment (ConfigMap `kaos-operator-config`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaos_ext.model import images, names


@dataclass(frozen=True, slots=True)
class Settings:
    """Defaults of a whole installation."""

    system_namespace: str = names.SYSTEM_NAMESPACE
    agent_image: str = images.AGENT
    modelapi_image: str = images.MODELAPI
    ollama_image: str = images.OLLAMA
    telemetry_enabled: bool = False
    telemetry_endpoint: str = ""
    log_level: str = "INFO"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables; one that is absent or empty leaves the default."""
        default = cls()
        return cls(
            system_namespace=environ.get("SYSTEM_NAMESPACE") or default.system_namespace,
            agent_image=environ.get("DEFAULT_AGENT_IMAGE") or default.agent_image,
            modelapi_image=environ.get("DEFAULT_LITELLM_IMAGE") or default.modelapi_image,
            ollama_image=environ.get("DEFAULT_OLLAMA_IMAGE") or default.ollama_image,
            telemetry_enabled=environ.get("DEFAULT_TELEMETRY_ENABLED", "").lower() == "true",
            telemetry_endpoint=environ.get("DEFAULT_TELEMETRY_ENDPOINT", ""),
            log_level=environ.get("DEFAULT_LOG_LEVEL") or default.log_level,
        )

    def to_environ(self) -> dict[str, str]:
        """The ConfigMap's data."""
        return {
            "SYSTEM_NAMESPACE": self.system_namespace,
            "DEFAULT_AGENT_IMAGE": self.agent_image,
            "DEFAULT_LITELLM_IMAGE": self.modelapi_image,
            "DEFAULT_OLLAMA_IMAGE": self.ollama_image,
            "DEFAULT_TELEMETRY_ENABLED": "true" if self.telemetry_enabled else "false",
            "DEFAULT_TELEMETRY_ENDPOINT": self.telemetry_endpoint,
            "DEFAULT_LOG_LEVEL": self.log_level,
        }
