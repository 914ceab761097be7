"""What every pod of a node shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.node.addresses import PodAddresses
from kaos_ext.cluster.node.config import NodeConfig
from kaos_ext.cluster.node.recorder import Recorder
from kaos_ext.cluster.node.references import ReferencedObjects
from kaos_ext.cluster.node.supervisor_client import SupervisorClient
from kaos_ext.kube.objects import Object


@dataclass(frozen=True, slots=True)
class NodeContext:
    client: Client
    config: NodeConfig
    supervisor: SupervisorClient
    addresses: PodAddresses
    references: ReferencedObjects
    recorder: Recorder
    services: Callable[[], Iterable[Object]]
    capacity: dict[str, str]

    @property
    def host_ip(self) -> str:
        return self.config.kubelet.host

    @property
    def hosts(self) -> Path:
        return self.config.root / "hosts"

    def pod_folder(self, uid: str) -> Path:
        return self.config.root / "pods" / uid

    def log_folder(self, pod: Object) -> Path:
        metadata = pod["metadata"]
        return self.config.root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
