"""What a node agent is told: its name, its folders, its networks, its images, and how it is reached."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from kaos_ext.cluster.node.images import ImageTable


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between restarts of a container: the first is immediate, then initial, doubled up to maximum."""

    initial: float = 1.0
    maximum: float = 30.0
    reset: float = 60.0
    """A container that ran this long starts from the beginning."""

    def delay(self, failures: int) -> float:
        return 0.0 if failures <= 1 else min(self.initial * 2.0 ** min(failures - 2, 32), self.maximum)


@dataclass(frozen=True, slots=True)
class KubeletServer:
    """How the node's HTTP API is served; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    name: str
    root: Path
    volumes: Path
    images: ImageTable
    pod_network: IPv4Network
    service_network: IPv4Network
    api_server: str = ""
    """URL that pods' kubeconfig names; empty: pods get none."""
    api_server_ca: Path | None = None
    dns_domain: str = "cluster.local"
    kubelet: KubeletServer = field(default_factory=KubeletServer)
    backoff: Backoff = field(default_factory=Backoff)
    token_seconds: int = 24 * 3600
    heartbeat_seconds: float = 10.0
    python: str = sys.executable

    @property
    def claim_host(self) -> str:
        """The address whose port a cluster holds to own its 127.x network."""
        first, second, _, _ = str(self.pod_network.network_address).split(".")
        return f"{first}.{second}.255.254"
