"""Services as a table: which address is forwarded where, and which names mean which address.

A port is listened on only while an endpoint is ready: without one a caller is refused at once, as by kube-proxy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kaos_ext.kube.objects import Object

_SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class ServiceTable:
    """`forward`: "clusterIP:port" → ready "podIP:port"s; `names`: full names → addresses."""

    forward: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"forward": {address: list(targets) for address, targets in self.forward.items()}}

    def hosts(self) -> str:
        """The table of names as a hosts file."""
        lines = [f"{address} {name}" for name, addresses in self.names.items() for address in addresses]
        return "".join(f"{line}\n" for line in lines)


def service_table(services: Iterable[Object], slices: Iterable[Object], domain: str) -> ServiceTable:
    by_service: dict[tuple[str, str], list[Object]] = {}
    for each in slices:
        metadata = each["metadata"]
        if name := (metadata.get("labels") or {}).get(_SERVICE_LABEL):
            by_service.setdefault((metadata["namespace"], name), []).append(each)
    forward: dict[str, tuple[str, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for service in sorted(services, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"])):
        metadata, spec = service["metadata"], service.get("spec") or {}
        own = by_service.get((metadata["namespace"], metadata["name"]), [])
        full = f"{metadata['name']}.{metadata['namespace']}.svc.{domain}"
        address = spec.get("clusterIP") or ""
        if spec.get("type") == "ExternalName" or not address:
            continue
        everyone = bool(spec.get("publishNotReadyAddresses"))
        if address == "None":
            names |= _headless(full, own, everyone)
            continue
        names[full] = (address,)
        for port in spec.get("ports") or []:
            if port.get("protocol", "TCP") == "TCP":
                targets = _targets(own, port.get("name") or "", everyone)
                if targets:
                    forward[f"{address}:{port['port']}"] = targets
    return ServiceTable(forward, names)


def refused_ports(service: Object) -> list[int]:
    """Ports of a Service that this process's user may not listen on (never told of the API server's own)."""
    metadata, spec = service["metadata"], service.get("spec") or {}
    if (metadata.get("namespace"), metadata["name"]) == ("default", "kubernetes") or os.geteuid() == 0:
        return []
    if spec.get("clusterIP") in (None, "", "None"):
        return []
    return [port["port"] for port in spec.get("ports") or [] if port["port"] < _first_free_port()]


@cache
def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _ready(endpoint: Mapping[str, Any], everyone: bool) -> bool:
    return everyone or (endpoint.get("conditions") or {}).get("ready") is not False


def _targets(slices: Iterable[Object], port_name: str, everyone: bool) -> tuple[str, ...]:
    found = {
        f"{address}:{port['port']}"
        for each in slices
        for port in each.get("ports") or []
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in each.get("endpoints") or []
        if _ready(endpoint, everyone)
        for address in endpoint.get("addresses") or []
    }
    return tuple(sorted(found))


def _headless(full: str, slices: Iterable[Object], everyone: bool) -> dict[str, tuple[str, ...]]:
    names: dict[str, set[str]] = {}
    for each in slices:
        for endpoint in each.get("endpoints") or []:
            if _ready(endpoint, everyone):
                for name in (full, *([f"{endpoint['hostname']}.{full}"] if endpoint.get("hostname") else [])):
                    names.setdefault(name, set()).update(endpoint.get("addresses") or [])
    return {name: tuple(sorted(addresses)) for name, addresses in names.items()}
