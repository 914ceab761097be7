"""OpenTelemetry, when the environment asks for it: the SDK, its exporters and nothing else of the product's.

On only when `OTEL_SERVICE_NAME` and `OTEL_EXPORTER_OTLP_ENDPOINT` are set and `OTEL_SDK_DISABLED` is not. OTLP goes
over gRPC, or over HTTP when `OTEL_EXPORTER_OTLP_PROTOCOL` says `http/protobuf` or the endpoint's port is 4318. The
packages are the extra `otel`, imported here and only then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from kaos_ext import __version__

EXPORT_SECONDS = 5.0
FLUSH_SECONDS = 3.0
log = logging.getLogger(__name__)


class Protocol(StrEnum):
    GRPC = "grpc"
    HTTP = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Export:
    """Where telemetry goes."""

    service: str
    endpoint: str
    protocol: Protocol

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Export | None:
        """None when telemetry is off."""
        service = env.get("OTEL_SERVICE_NAME", "").strip()
        endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip().rstrip("/")
        if not service or not endpoint or env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        if "://" not in endpoint:
            endpoint = f"http://{endpoint}"
        named = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip().lower()
        http = named.startswith("http") or (not named and _port(endpoint) == 4318)
        return cls(service, endpoint, Protocol.HTTP if http else Protocol.GRPC)


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint).port
    except ValueError:
        return None


class Telemetry:
    """The two providers; `close()` sends what is left, within a few seconds, whether or not anybody listens."""

    def __init__(self, tracer: Any, meter: Any, providers: tuple[Any, ...]) -> None:
        self.tracer, self.meter = tracer, meter
        self._providers = providers

    def close(self) -> None:
        for provider in self._providers:
            try:
                provider.force_flush(int(FLUSH_SECONDS * 1000))
                provider.shutdown()
            except Exception as error:
                log.warning("the last telemetry was not sent: %s", error)


def start(export: Export) -> Telemetry | None:
    """Set up the SDK; None, with a warning, when the extra is not installed. Takes a tenth of a second."""
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        spans, metrics = _exporters(export)
    except ImportError as error:
        log.warning("telemetry is asked for but cannot be sent (%s): pip install 'kaos-ext[otel]'", error)
        return None
    resource = Resource.create({"service.name": export.service, "service.version": __version__})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=1000))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=EXPORT_SECONDS * 1000)
    meters = MeterProvider(metric_readers=[reader], resource=resource)
    name = "kaos_ext"
    return Telemetry(traces.get_tracer(name, __version__), meters.get_meter(name, __version__), (traces, meters))


def _exporters(export: Export) -> tuple[Any, Any]:
    if export.protocol is Protocol.HTTP:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        return (
            HttpSpans(endpoint=f"{export.endpoint}/v1/traces", timeout=FLUSH_SECONDS),
            HttpMetrics(endpoint=f"{export.endpoint}/v1/metrics", timeout=FLUSH_SECONDS),
        )
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

    insecure = not export.endpoint.startswith("https://")
    return (
        GrpcSpans(endpoint=export.endpoint, insecure=insecure, timeout=FLUSH_SECONDS),
        GrpcMetrics(endpoint=export.endpoint, insecure=insecure, timeout=FLUSH_SECONDS),
    )
