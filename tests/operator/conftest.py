"""Resources as a user would write them, and a small world around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kaos_operator.registry import parse_registry
from kaos_operator.render import Context

from kaos_ext.kube.objects import Object

Make = Callable[..., Object]


def _resource(kind: str, name: str, spec: Object, status: Object | None = None) -> Object:
    resource: Object = {
        "apiVersion": "kaos.tools/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "demo", "uid": f"uid-{kind}-{name}", "generation": 1},
        "spec": spec,
    }
    if status is not None:
        resource["status"] = status
    return resource


@pytest.fixture
def modelapi() -> Make:
    def make(name: str = "auto-api", *, ready: bool = True, status: Object | None = None, **proxy: Any) -> Object:
        spec = {"mode": "Proxy", "proxyConfig": {"models": ["*"], **proxy}}
        endpoint = f"http://modelapi-{name}.demo.svc.cluster.local:8000"
        return _resource("ModelAPI", name, spec, status or {"ready": ready, "phase": "Ready", "endpoint": endpoint})

    return make


@pytest.fixture
def mcpserver() -> Make:
    def make(name: str = "auto-echo", *, ready: bool = True, status: Object | None = None, **spec: Any) -> Object:
        spec = {"runtime": "python-string", "params": "def echo(message: str) -> str:\n return message\n", **spec}
        endpoint = f"http://mcpserver-{name}.demo.svc.cluster.local:8000"
        return _resource("MCPServer", name, spec, status or {"ready": ready, "phase": "Ready", "endpoint": endpoint})

    return make


@pytest.fixture
def agent() -> Make:
    def make(name: str = "auto-agent", **spec: Any) -> Object:
        return _resource("Agent", name, {"modelAPI": "auto-api", "model": "gpt-4o", **spec})

    return make


@pytest.fixture
def hosted() -> Object:
    return _resource("ModelAPI", "local", {"mode": "Hosted", "hostedConfig": {"model": "smollm2:135m"}})


@pytest.fixture
def world(modelapi: Make, mcpserver: Make) -> Callable[..., Context]:
    """A context that knows the given resources; a ready ModelAPI and MCPServer when none are given."""

    def make(*resources: Object, **more: Any) -> Context:
        present = {(r["kind"], r["metadata"]["name"]): r for r in resources or (modelapi(), mcpserver())}
        return Context(
            modelapi=lambda name: present.get(("ModelAPI", name)),
            mcpserver=lambda name: present.get(("MCPServer", name)),
            agent=lambda name: present.get(("Agent", name)),
            runtimes=parse_registry(None),
            **more,
        )

    return make


def find(children: list[Object] | None, kind: str) -> Object:
    """The only child of a kind."""
    (found,) = [child for child in children or [] if child["kind"] == kind]
    return found


def pod(children: list[Object] | None) -> Object:
    spec: Object = find(children, "Deployment")["spec"]["template"]["spec"]
    return spec


def environment(children: list[Object] | None) -> dict[str, Any]:
    """Environment of the main container: plain values, or the reference."""
    entries = pod(children)["containers"][0].get("env", [])
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}


@pytest.fixture
def of() -> type:
    """Ways into rendered children."""

    class Of:
        find = staticmethod(find)
        pod = staticmethod(pod)
        environment = staticmethod(environment)

    return Of
