"""An Agent whose spec asks for telemetry, on a cluster: spans, metrics and logs reach a real receiver."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import deploy_agent
from tests.e2e.machine import Machine, eventually
from tests.runtime.test_telemetry import Collector, attributes, grpc_collector

pytestmark = pytest.mark.process


def test_what_the_spec_asks_for_is_sent_and_nothing_says_otherwise(machine: Machine) -> None:
    with grpc_collector() as collector:
        deploy_agent(machine)
        telemetry = f'{{"spec":{{"config":{{"telemetry":{{"enabled":true,"endpoint":"{collector.url}"}}}}}}}}'
        machine.kubectl("patch", "agents.kaos.tools", "auto-agent", "--type=merge", "-p", telemetry)
        eventually("traces", lambda: collector.named("kaos.autonomous.iteration"), 60)
        eventually("metrics", lambda: "kaos.iterations" in collector.points, 30)
        eventually("logs", lambda: any("Completed" in line.body.string_value for line in collector.lines))
        assert _whole(collector)
        resource = attributes(collector.traces[0].resource_spans[0].resource)
        assert resource["service.name"] == resource["kaos.resource.name"] == "auto-agent"
        told = machine.kaos("agent", "get", "auto-agent").out
        assert "no effect" not in told and "config.telemetry" not in told


def _whole(collector: Collector) -> bool:
    """Every span but the first one of a trace that has ended has its parent in it."""
    ended = {span.trace_id for span in collector.named("invoke_agent auto-agent")}
    spans = [span for span in collector.spans if span.trace_id in ended]
    known = {span.span_id for span in spans}
    return bool(spans) and all(not span.parent_span_id or span.parent_span_id in known for span in spans)
