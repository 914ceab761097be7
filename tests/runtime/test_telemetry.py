"""Spans and metrics as a collector really receives them, and what goes on the wire to tools."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kaos_ext.runtime.telemetry import Export, Protocol
from tests.runtime.processes import Processes, agent_env, eventually, mocks, tool_call

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANSWERS = mocks(tool_call("echo", message="hi"), "done")


@dataclass
class Collector:
    """What arrived, whichever way."""

    url: str = ""
    traces: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    tool_requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    @property
    def spans(self) -> list[Any]:
        return [span for r in self.traces for rs in r.resource_spans for ss in rs.scope_spans for span in ss.spans]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    @property
    def points(self) -> dict[str, list[dict[str, str]]]:
        """Labels of every point, by metric."""
        found: dict[str, list[dict[str, str]]] = {}
        for request in self.metrics:
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        data = metric.histogram if metric.HasField("histogram") else metric.sum
                        labels = [attributes(point) for point in data.data_points]
                        found.setdefault(metric.name, []).extend(labels)
        return found


def attributes(thing: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in thing.attributes}


class Handler(BaseHTTPRequestHandler):
    """OTLP over HTTP, and an MCP server of one tool that keeps what it was sent."""

    collector: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            self.collector.traces.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            return self._reply(b"", "application/x-protobuf")
        if self.path == "/v1/metrics":
            self.collector.metrics.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
            return self._reply(b"", "application/x-protobuf")
        asked = json.loads(body)
        result: dict[str, Any] = {"tools": [{"name": "echo"}]}
        if asked["method"] == "tools/call":
            self.collector.tool_requests.append((dict(self.headers), asked["params"]["_meta"]))
            result = {"content": [{"type": "text", "text": "Echo: hi"}]}
        reply = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
        return self._reply(json.dumps(reply).encode(), "application/json")

    def _reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def http_collector() -> Iterator[Collector]:
    collector = Collector()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"collector": collector}))
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    collector = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.traces.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.metrics.append(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    with futures.ThreadPoolExecutor(2) as workers:
        server = grpc.server(workers)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
        collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(0).wait()


@pytest.fixture
def machine() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


def otel(collector: Collector, **more: str) -> dict[str, str]:
    resource = "service.namespace=here,kaos.resource.name=auto-agent"
    return {
        "OTEL_SERVICE_NAME": "auto-agent",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_RESOURCE_ATTRIBUTES": resource,
        "OTEL_SDK_DISABLED": "false",
        **more,
    }


def resource_of(collector: Collector) -> dict[str, Any]:
    return attributes(collector.traces[0].resource_spans[0].resource)


@pytest.mark.process
def test_a_task_is_one_trace_from_its_caller_to_the_tool(machine: Processes) -> None:
    with http_collector() as collector:
        env = agent_env(mcp={"echo": collector.url}, DEBUG_MOCK_RESPONSES=ANSWERS, MODEL_NAME="m",
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"))  # fmt: skip
        agent = machine.start("agent", env)
        agent.post("/", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"text": "go"}}},
                   traceparent=TRACEPARENT)  # fmt: skip
        eventually(lambda: collector.named("invoke_agent auto-agent"), "the agent's span")
        [invoked], [iteration] = (
            collector.named("invoke_agent auto-agent"),
            collector.named("kaos.autonomous.iteration"),
        )
        chats, [tool] = collector.named("chat m"), collector.named("execute_tool echo")
        assert {span.trace_id.hex() for span in collector.spans} == {TRACEPARENT.split("-")[1]}
        assert invoked.parent_span_id.hex() == TRACEPARENT.split("-")[2]
        assert iteration.parent_span_id == invoked.span_id
        assert [span.parent_span_id for span in (*chats, tool)] == [iteration.span_id] * 3
        assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in collector.spans)
        said = attributes(chats[0])
        assert (said["gen_ai.operation.name"], said["gen_ai.request.model"]) == ("chat", "m")
        assert {"gen_ai.provider.name", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} <= said.keys()
        assert attributes(tool)["gen_ai.tool.name"] == "echo"
        assert attributes(invoked)["gen_ai.agent.name"] == attributes(invoked)["agent.name"] == "auto-agent"
        [(headers, meta)] = collector.tool_requests
        expected = f"00-{tool.trace_id.hex()}-{tool.span_id.hex()}-01"
        assert headers["traceparent"] == meta["traceparent"] == expected
        assert resource_of(collector)["kaos.resource.name"] == "auto-agent"
        assert agent.terminate() == 0
        points = collector.points
        assert points["kaos.iterations"][-1]["outcome"] == "Completed"
        kinds = {labels["gen_ai.token.type"] for labels in points["gen_ai.client.token.usage"]}
        assert kinds == {"input", "output"}
        names = {key for labels in points.values() for each in labels for key in each}
        assert not names & {"task.id", "session.id", "gen_ai.conversation.id", "gen_ai.tool.call.id", "kaos.run"}


@pytest.mark.process
def test_each_iteration_of_the_loop_is_a_trace_of_its_own_over_grpc_by_default(machine: Processes) -> None:
    with grpc_collector() as collector:
        wrong = mocks(tool_call("nobody-has-this"), "done")
        env = agent_env(DEBUG_MOCK_RESPONSES=wrong, AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="1",
                        **otel(collector))  # fmt: skip
        agent = machine.start("agent", env)
        eventually(lambda: len(collector.named("invoke_agent auto-agent")) >= 2, "two iterations' spans")
        traces = {span.trace_id for span in collector.named("kaos.autonomous.iteration")}
        assert len(traces) == len(collector.named("kaos.autonomous.iteration")) >= 2
        failed = collector.named("execute_tool nobody-has-this")[0]
        assert attributes(failed)["error.type"] == "tool_error" and failed.status.code == 2
        assert agent.terminate() == 0
        labels = collector.points["gen_ai.execute_tool.duration"]
        assert {each["gen_ai.tool.name"] for each in labels} == {"unknown"}, "names models invent are no labels"


@pytest.mark.process
def test_a_collector_that_is_not_there_holds_nothing_up(machine: Processes) -> None:
    collector = Collector(url="http://127.0.0.1:9")
    agent = machine.start("agent", agent_env(DEBUG_MOCK_RESPONSES=mocks("done"), **otel(collector)))
    assert agent.rpc("SendMessage", message={"text": "go"})["result"]["status"]["state"] == "completed"
    assert agent.terminate() == 0


@pytest.mark.process
def test_prometheus_reads_what_the_loop_does_and_off_means_that_nothing_is_imported(machine: Processes) -> None:
    env = agent_env(DEBUG_MOCK_RESPONSES=ANSWERS, AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="60")
    agent = machine.start("agent", env)
    eventually(lambda: agent.get("/loop").json["totals"]["iterations"] == 1, "one iteration")
    text = agent.get("/metrics").text
    assert 'kaos_iterations_total{agent="auto-agent",of="loop",outcome="Completed"} 1.0' in text
    assert 'kaos_model_calls_total{agent="auto-agent"} 2.0' in text
    assert 'kaos_tool_calls_total{agent="auto-agent",outcome="error"} 1.0' in text
    assert 'kaos_loop_state{agent="auto-agent",state="waiting"} 1.0' in text
    assert 'kaos_loop_iteration{agent="auto-agent"} 1.0' in text
    assert "grpc" not in Path(f"/proc/{agent.process.pid}/maps").read_text()


@pytest.mark.parametrize(
    ("env", "protocol"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "a"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, None),
        (
            {"OTEL_SERVICE_NAME": "a", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"},
            None,
        ),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, Protocol.GRPC),
        ({"OTEL_SERVICE_NAME": "a", "OTEL_EXPORTER_OTLP_ENDPOINT": "c:4318"}, Protocol.HTTP),
        (
            {
                "OTEL_SERVICE_NAME": "a",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            Protocol.GRPC,
        ),
    ],
)
def test_the_environment_says_whether_and_how(env: dict[str, str], protocol: Protocol | None) -> None:
    export = Export.from_env(env)
    assert (export.protocol if export else None) == protocol
