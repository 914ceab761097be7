"""Spans and metrics as a collector really receives them, and what goes on the wire to tools."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from kaos_ext.runtime.agent import conventions
from kaos_ext.runtime.telemetry import SCHEMA_URL, Export, Protocol
from tests.runtime.processes import Processes, agent_env, eventually, mocks, tool_call

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANSWERS = mocks(tool_call("echo", message="hi"), "done")


@dataclass
class Collector:
    """What arrived, whichever way."""

    url: str = ""
    traces: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    tool_requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    @property
    def spans(self) -> list[Any]:
        return [span for r in self.traces for rs in r.resource_spans for ss in rs.scope_spans for span in ss.spans]

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    @property
    def lines(self) -> list[Any]:
        return [line for r in self.logs for rl in r.resource_logs for sl in rl.scope_logs for line in sl.log_records]

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
        if self.path == "/v1/logs":
            self.collector.logs.append(logs_service_pb2.ExportLogsServiceRequest.FromString(body))
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

    class Logs(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.logs.append(request)
            return logs_service_pb2.ExportLogsServiceResponse()

    with futures.ThreadPoolExecutor(2) as workers:
        server = grpc.server(workers)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
        collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(0).wait()


class Handshake(BaseHTTPRequestHandler):
    """An MCP server that knows only the era of `initialize`; it keeps what calls bring in `_meta`."""

    metas: list[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result: dict[str, Any] = {"content": [{"type": "text", "text": "ok"}]}
        if asked["method"] == "initialize":
            about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
            result = {"protocolVersion": "2025-06-18", **about}
        elif self.headers.get("Mcp-Session-Id") != "abc":
            return self._reply(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "no session"}})
        elif asked["method"] == "tools/list":
            result = {"tools": [{"name": "old", "inputSchema": {"type": "object"}}]}
        elif asked["method"] == "tools/call":
            self.metas.append(asked["params"].get("_meta") or {})
        return self._reply(200 if "id" in asked else 202, {"jsonrpc": "2.0", "id": asked.get("id"), "result": result})

    def do_GET(self) -> None:
        self._reply(405, {})

    do_DELETE = do_GET

    def _reply(self, status: int, value: Any) -> None:
        body = b"" if status == 202 else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Mcp-Session-Id", "abc")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def handshake_server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    metas: list[dict[str, Any]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handshake,), {"metas": metas}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", metas
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


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
def test_a_task_is_one_trace_from_its_caller_to_the_tool(processes: Processes) -> None:
    with http_collector() as collector:
        env = agent_env(mcp={"echo": collector.url}, DEBUG_MOCK_RESPONSES=ANSWERS, MODEL_NAME="m",
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"))  # fmt: skip
        agent = processes.start("agent", env)
        agent.post("/", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"text": "go"}}},
                   traceparent=TRACEPARENT, tracestate="vendor=7")  # fmt: skip
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
        scope = collector.traces[0].resource_spans[0].scope_spans[0]
        assert scope.schema_url == SCHEMA_URL and scope.scope.name == "kaos_ext"
        assert {"gen_ai.provider.name", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"} <= said.keys()
        assert attributes(tool)["gen_ai.tool.name"] == "echo"
        assert attributes(invoked)["gen_ai.agent.name"] == attributes(invoked)["agent.name"] == "auto-agent"
        [(headers, meta)] = collector.tool_requests
        expected = f"00-{tool.trace_id.hex()}-{tool.span_id.hex()}-01"
        assert headers["traceparent"] == meta["traceparent"] == expected
        assert headers["tracestate"] == meta["tracestate"] == "vendor=7"
        assert resource_of(collector)["kaos.resource.name"] == "auto-agent"
        assert agent.terminate() == 0
        points = collector.points
        assert points["kaos.iterations"][-1]["outcome"] == "Completed"
        assert set(points) >= {"gen_ai.client.operation.duration", "gen_ai.invoke_agent.duration", "kaos.tasks"}
        kinds = {labels["gen_ai.token.type"] for labels in points["gen_ai.client.token.usage"]}
        assert kinds == {"input", "output"}
        names = {key for labels in points.values() for each in labels for key in each}
        assert not names & {"task.id", "session.id", "gen_ai.conversation.id", "gen_ai.tool.call.id", "kaos.run"}


@pytest.mark.process
def test_each_iteration_of_the_loop_is_a_trace_of_its_own_over_grpc_by_default(processes: Processes) -> None:
    with grpc_collector() as collector:
        wrong = mocks(tool_call("nobody-has-this"), "done")
        env = agent_env(DEBUG_MOCK_RESPONSES=wrong, AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="1",
                        **otel(collector))  # fmt: skip
        agent = processes.start("agent", env)
        eventually(lambda: len(collector.named("invoke_agent auto-agent")) >= 2, "two iterations' spans")
        traces = {span.trace_id for span in collector.named("kaos.autonomous.iteration")}
        assert len(traces) == len(collector.named("kaos.autonomous.iteration")) >= 2
        failed = collector.named("execute_tool nobody-has-this")[0]
        assert attributes(failed)["error.type"] == "tool_error" and failed.status.code == 2
        assert agent.terminate() == 0
        labels = collector.points["gen_ai.execute_tool.duration"]
        assert {each["gen_ai.tool.name"] for each in labels} == {"unknown"}, "names models invent are no labels"


@contextmanager
def black_hole() -> Iterator[Collector]:
    """A collector that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Collector(url=f"http://127.0.0.1:{listener.getsockname()[1]}")


@contextmanager
def nobody() -> Iterator[Collector]:
    yield Collector(url="http://127.0.0.1:9")


@pytest.mark.process
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("collector_of", [black_hole, nobody])
def test_a_collector_that_is_dead_delays_nothing_and_holds_nothing_up(
    processes: Processes, protocol: str, collector_of: Callable[[], AbstractContextManager[Collector]]
) -> None:
    with collector_of() as collector:
        env = agent_env(DEBUG_MOCK_RESPONSES=mocks("done"), AUTONOMOUS_GOAL="go",
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL=protocol))  # fmt: skip
        agent = processes.start("agent", env)
        eventually(lambda: agent.get("/loop").json["iteration"] > 300, "it works on", 20)
        assert agent.rpc("SendMessage", message={"text": "go"})["result"]["status"]["state"] == "completed"
        spans = agent.get("/memory/events?type=iteration_finished&order=desc&limit=200").json["events"]
        durations = sorted(event["content"]["duration_seconds"] for event in spans)
        assert durations[len(durations) // 2] < 0.1
        began = time.monotonic()
        assert agent.terminate() == 0
        assert time.monotonic() - began < 10


@pytest.mark.process
@pytest.mark.parametrize("collector_of", [http_collector, grpc_collector])
def test_what_happened_just_before_the_end_is_sent_before_the_end(
    processes: Processes, collector_of: Callable[[], AbstractContextManager[Collector]]
) -> None:
    with collector_of() as collector:
        protocol = "http/protobuf" if collector_of is http_collector else "grpc"
        env = agent_env(DEBUG_MOCK_RESPONSES=mocks("done"),
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL=protocol))  # fmt: skip
        agent = processes.start("agent", env)
        agent.rpc("SendMessage", message={"text": "go"})
        assert agent.terminate() == 0
        assert collector.named("invoke_agent auto-agent"), "traces"
        assert collector.points["kaos.tasks"][-1] == {"state": "completed"}
        assert any("iteration 1: Completed" in line.body.string_value for line in collector.lines), "logs"


@pytest.mark.process
def test_log_lines_are_records_in_the_trace_of_what_was_done_and_know_no_secret(processes: Processes) -> None:
    with grpc_collector() as collector:
        wrong = mocks(tool_call("say-canary-4711"), "it is canary-4711")
        env = agent_env(DEBUG_MOCK_RESPONSES=wrong, AUTONOMOUS_GOAL="say canary-4711", MY_TOKEN="canary-4711",
                        AUTONOMOUS_INTERVAL_SECONDS="60", MODEL_API_URL="", **otel(collector))  # fmt: skip
        agent = processes.start("agent", env)
        eventually(lambda: agent.get("/loop").json["totals"]["iterations"] == 1, "an iteration")
        assert agent.terminate() == 0
        [line] = [line for line in collector.lines if "iteration 1: " in line.body.string_value]
        [iteration] = collector.named("kaos.autonomous.iteration")
        assert line.trace_id == iteration.trace_id and line.severity_text == "INFO"
        assert attributes(line) == {"logger.name": "kaos_ext.runtime.agent.runner"}
        sent = [each.SerializeToString() for each in (*collector.traces, *collector.metrics, *collector.logs)]
        assert not [each for each in sent if b"canary-4711" in each]
        assert collector.named("execute_tool say-[redacted]")


@pytest.mark.process
def test_a_tool_server_of_the_handshake_era_learns_of_the_trace_as_well(processes: Processes) -> None:
    with http_collector() as collector, handshake_server() as (url, metas):
        env = agent_env(mcp={"old": url}, DEBUG_MOCK_RESPONSES=mocks(tool_call("old"), "done"),
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"))  # fmt: skip
        agent = processes.start("agent", env)
        agent.rpc("SendMessage", message={"text": "go"})
        assert agent.terminate() == 0
        [tool] = collector.named("execute_tool old")
        [meta] = metas
        assert meta["traceparent"].rpartition("-")[0] == f"00-{tool.trace_id.hex()}-{tool.span_id.hex()}"


@pytest.mark.process
@pytest.mark.parametrize("given", ["", "nonsense", "00-0-0-01", TRACEPARENT.replace("b7ad6b7169203331", "0" * 16)])
def test_a_trace_context_that_is_none_begins_a_trace(processes: Processes, given: str) -> None:
    with grpc_collector() as collector:
        agent = processes.start("agent", agent_env(DEBUG_MOCK_RESPONSES=mocks("done"), **otel(collector)))
        question = {"messages": [{"role": "user", "content": "go"}]}
        assert agent.post("/v1/chat/completions", question, traceparent=given).status == 200
        assert agent.terminate() == 0
        [invoked] = collector.named("invoke_agent auto-agent")
        assert not invoked.parent_span_id


@pytest.mark.process
def test_a_caller_that_does_not_sample_is_followed(processes: Processes) -> None:
    with http_collector() as collector:
        env = agent_env(mcp={"echo": collector.url}, DEBUG_MOCK_RESPONSES=ANSWERS,
                        **otel(collector, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"))  # fmt: skip
        agent = processes.start("agent", env)
        agent.post("/", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": {"text": "go"}}},
                   traceparent=TRACEPARENT[:-2] + "00")  # fmt: skip
        assert agent.terminate() == 0
        assert not collector.spans and collector.points["kaos.tasks"]
        [(headers, _)] = collector.tool_requests
        assert headers["traceparent"].startswith(TRACEPARENT[:36]) and headers["traceparent"].endswith("-00")


@pytest.mark.process
def test_a_model_call_that_fails_is_a_span_and_a_point_with_its_error(processes: Processes) -> None:
    with grpc_collector() as collector:
        env = agent_env(MODEL_API_URL="http://127.0.0.1:9", MODEL_NAME="m", AUTONOMOUS_GOAL="go", **otel(collector))
        agent = processes.start("agent", env)
        eventually(lambda: agent.get("/loop").json["last_outcome"] == "Failed", "it fails")
        assert agent.terminate() == 0
        chat = collector.named("chat m")[0]
        assert attributes(chat)["error.type"] == "Failed" and chat.status.code == 2
        assert collector.points["gen_ai.client.operation.duration"][0]["error.type"] == "Failed"
        assert collector.points["gen_ai.invoke_agent.duration"][0]["error.type"] == "Failed"


def test_the_names_are_those_of_the_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
    from opentelemetry.semconv.schemas import Schemas

    known = {str(value) for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    known |= {str(value) for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")}
    # These the registry has at the commit that is pinned, and the Python package does not have yet.
    known |= {conventions.AGENT_DURATION, conventions.TOOL_DURATION}
    used = {value for value in vars(conventions).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert used <= known and len(used) > 10
    assert len(conventions.GENAI_COMMIT) == 40 and SCHEMA_URL in {schema.value for schema in Schemas}


@pytest.mark.process
def test_off_means_that_nothing_of_it_is_imported() -> None:
    code = (
        "import os, signal, sys, threading\n"
        "from kaos_ext.runtime.agent.app import serve\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "assert serve(os.environ) == 0\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'opentelemetry', 'grpc', 'prometheus_client'}))"
    )
    env = agent_env(DEBUG_MOCK_RESPONSES=ANSWERS, AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="1")
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=30)
    assert ran.stdout.strip() == "[]", ran


@pytest.mark.process
def test_what_prometheus_reads_is_well_formed_and_named_by_convention(processes: Processes) -> None:
    env = agent_env(DEBUG_MOCK_RESPONSES=mocks(tool_call('odd "na\\me'), "done"), AUTONOMOUS_GOAL="go",
                    AUTONOMOUS_INTERVAL_SECONDS="60", AGENT_BUDGET=json.dumps({"perDay": {"tokens": 10}}))  # fmt: skip
    agent = processes.start("agent", env)
    eventually(lambda: agent.get("/loop").json["totals"]["iterations"] == 1, "one iteration")
    agent.rpc("SendMessage", message={"text": "go"})
    reply = agent.get("/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(reply.text)}
    assert len(families) >= 10
    for family in families.values():
        assert family.documentation and family.type in ("counter", "gauge") and family.name.startswith("kaos_")
        for sample in family.samples:
            assert sample.name == f"{family.name}_total" or family.type == "gauge"
            assert sample.labels["agent"] == "auto-agent"
            assert set(sample.labels) <= {"agent", "of", "outcome", "state", "type"}
            assert not any("task_" in value or "session_" in value for value in sample.labels.values())
    assert {sample.labels["of"] for sample in families["kaos_iterations"].samples} == {"loop", "task"}


@pytest.mark.process
def test_prometheus_reads_what_the_loop_does_and_off_means_that_nothing_is_imported(processes: Processes) -> None:
    env = agent_env(DEBUG_MOCK_RESPONSES=ANSWERS, AUTONOMOUS_GOAL="go", AUTONOMOUS_INTERVAL_SECONDS="60")
    agent = processes.start("agent", env)
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
