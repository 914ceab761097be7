"""Services and EndpointSlices as one table of forwards and names."""

from __future__ import annotations

from typing import Any

import pytest

from kaos_ext.cluster.node import services
from kaos_ext.cluster.node.services import service_table
from kaos_ext.kube.objects import Object


def service(name: str, address: str, *, namespace: str = "default", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": 8000}]
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address, "ports": ports, **spec}}


def slice_of(name: str, *addresses: str, ready: bool = True, port: str = "http", **endpoint: Any) -> Object:
    endpoints = [{"addresses": [each], "conditions": {"ready": ready}, **endpoint} for each in addresses]
    metadata = {"name": name + "-x", "namespace": "default", "labels": {"kubernetes.io/service-name": name}}
    return {"metadata": metadata, "ports": [{"name": port, "port": 8000}], "endpoints": endpoints}


def test_an_address_is_forwarded_to_ready_endpoints_by_the_ports_name() -> None:
    table = service_table(
        [service("web", "127.9.0.10")],
        [
            slice_of("web", "127.9.128.2", "127.9.128.1"),
            slice_of("web", "127.9.128.3", ready=False),
            slice_of("web", "127.9.128.4", port="other"),
        ],
        "cluster.local",
    )
    assert table.forward == {"127.9.0.10:80": ("127.9.128.1:8000", "127.9.128.2:8000")}
    assert table.names == {"web.default.svc.cluster.local": ("127.9.0.10",)}


def test_nothing_listens_for_a_service_without_ready_endpoints_but_its_name_resolves() -> None:
    table = service_table([service("web", "127.9.0.10")], [slice_of("web", "127.9.128.3", ready=False)], "c")
    assert table.forward == {}
    assert table.hosts() == "127.9.0.10 web.default.svc.c\n"


def test_endpoints_that_are_not_ready_serve_where_the_service_says_so() -> None:
    table = service_table(
        [service("web", "127.9.0.10", publishNotReadyAddresses=True)], [slice_of("web", "1.1.1.1", ready=False)], "c"
    )
    assert table.forward == {"127.9.0.10:80": ("1.1.1.1:8000",)}


def test_a_headless_service_resolves_to_its_pods_and_to_each_by_its_name() -> None:
    table = service_table(
        [service("db", "None")], [slice_of("db", "1.1.1.1", hostname="db-0"), slice_of("db", "1.1.1.2")], "c"
    )
    assert table.forward == {}
    assert table.names == {"db.default.svc.c": ("1.1.1.1", "1.1.1.2"), "db-0.db.default.svc.c": ("1.1.1.1",)}


def test_other_namespaces_services_have_endpoints_of_their_own() -> None:
    table = service_table([service("web", "127.9.0.11", namespace="b")], [slice_of("web", "1.1.1.1")], "c")
    assert table.forward == {}


def test_a_port_that_only_root_may_serve_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_first_free_port", lambda: 1024)
    monkeypatch.setattr(services.os, "geteuid", lambda: 1000)
    assert services.refused_ports(service("web", "127.9.0.10")) == [80]
    assert services.refused_ports(service("kubernetes", "127.9.0.1")) == []
    assert services.refused_ports(service("headless", "None")) == []
    monkeypatch.setattr(services.os, "geteuid", lambda: 0)
    assert services.refused_ports(service("web", "127.9.0.10")) == []
