"""OpenTelemetry, when the environment asks for it: traces, metrics and logs, by the SDK and its exporters.

On only when `OTEL_SERVICE_NAME` and `OTEL_EXPORTER_OTLP_ENDPOINT` are set and `OTEL_SDK_DISABLED` is not. OTLP goes
over gRPC, or over HTTP when `OTEL_EXPORTER_OTLP_PROTOCOL` says `http/protobuf` or the endpoint's port is 4318. The
packages are the extra `otel`, imported here and only then. Exporting has threads of its own: a collector that is slow
or gone costs what it would have been told, and holds nothing up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from kaos_ext import __version__
from kaos_ext.runtime import trace
from kaos_ext.runtime.secrets import RedactingFormatter

NAME = "kaos_ext"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
EXPORT_SECONDS = 5.0
FLUSH_SECONDS = 3.0
CLOSE_SECONDS = 5.0
"""For everything that is left, on the way down."""
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
    """The providers; `close()` sends what is left, within a few seconds, whether or not anybody listens."""

    def __init__(self, tracer: Any, meter: Any, providers: tuple[Any, ...], handler: LogExport) -> None:
        self.tracer, self.meter = tracer, meter
        self._providers, self.handler = providers, handler
        logging.getLogger().addHandler(handler)

    def close(self) -> None:
        logging.getLogger().removeHandler(self.handler)
        # Beside each other, and in threads that do not keep the process alive: one that hangs costs only itself.
        ends = [threading.Thread(target=_end, args=(provider,), daemon=True) for provider in self._providers]
        until = time.monotonic() + CLOSE_SECONDS
        for end in ends:
            end.start()
        for end in ends:
            end.join(max(0.0, until - time.monotonic()))
        if any(end.is_alive() for end in ends):
            log.warning("the last telemetry was not sent: the collector does not answer")


def _end(provider: Any) -> None:
    try:
        provider.force_flush(int(FLUSH_SECONDS * 1000))
        provider.shutdown()
    except Exception as error:
        log.warning("the last telemetry was not sent: %s", error)


class LogExport(logging.Handler):
    """Log lines as OpenTelemetry's records, in the trace of what was being done, without values from Secrets."""

    def __init__(self, logger: Any, secrets: Iterable[str]) -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        super().__init__()
        self._logger, self._record, self._severity = logger, LogRecord, SeverityNumber
        self._extract = TraceContextTextMapPropagator().extract
        self.where = trace.headers
        """Trace context of what is being done."""
        self.setFormatter(RedactingFormatter(secrets, "%(message)s"))
        # What exporting says of itself would be exported, and so on.
        self.addFilter(lambda record: not record.name.startswith(("opentelemetry", "grpc", "urllib3")))

    def emit(self, record: logging.LogRecord) -> None:
        levels = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}
        self._logger.emit(
            self._record(
                timestamp=int(record.created * 1e9),
                context=self._extract(self.where()),
                severity_text=record.levelname,
                severity_number=self._severity(levels.get(record.levelname, 9)),
                body=self.format(record),
                attributes={"logger.name": record.name},
            )
        )


def start(export: Export, secrets: Iterable[str] = ()) -> Telemetry | None:
    """Set up the SDK; None, with a warning, when the extra is not installed. Takes a tenth of a second."""
    try:
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        spans, metrics, lines = _exporters(export)
    except ImportError as error:
        log.warning("telemetry is asked for but cannot be sent (%s): pip install 'kaos-ext[otel]'", error)
        return None
    resource = Resource.create({"service.name": export.service, "service.version": __version__})
    # They are shut down here, in time; at the exit of the process nobody waits.
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=1000))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=EXPORT_SECONDS * 1000)
    meters = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logs.add_log_record_processor(BatchLogRecordProcessor(lines, schedule_delay_millis=1000))
    named: dict[str, Any] = {"schema_url": SCHEMA_URL}
    return Telemetry(
        traces.get_tracer(NAME, __version__, **named),
        meters.get_meter(NAME, __version__, **named),
        (traces, meters, logs),
        LogExport(logs.get_logger(NAME, __version__, **named), secrets),
    )


def _exporters(export: Export) -> tuple[Any, Any, Any]:
    if export.protocol is Protocol.HTTP:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans

        return (
            HttpSpans(endpoint=f"{export.endpoint}/v1/traces", timeout=FLUSH_SECONDS),
            HttpMetrics(endpoint=f"{export.endpoint}/v1/metrics", timeout=FLUSH_SECONDS),
            HttpLogs(endpoint=f"{export.endpoint}/v1/logs", timeout=FLUSH_SECONDS),
        )
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans

    insecure = not export.endpoint.startswith("https://")
    return (
        GrpcSpans(endpoint=export.endpoint, insecure=insecure, timeout=FLUSH_SECONDS),
        GrpcMetrics(endpoint=export.endpoint, insecure=insecure, timeout=FLUSH_SECONDS),
        GrpcLogs(endpoint=export.endpoint, insecure=insecure, timeout=FLUSH_SECONDS),
    )
