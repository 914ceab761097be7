"""The Node object and its heartbeat: a Lease renewed often, the status rarely."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
import time

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.node.config import NodeConfig
from kaos_ext.cluster.node.protocol import rfc3339
from kaos_ext.cluster.node.recorder import timestamp
from kaos_ext.kube.objects import LEASES, NODES, Object, is_not_found
from kaos_ext.model.errors import KaosError

_log = logging.getLogger(__name__)
_STATUS_SECONDS = 300.0
_LEASE_NAMESPACE = "kube-node-lease"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def machine_capacity() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": "250"}


def node_status(config: NodeConfig, capacity: dict[str, str], port: int, since: str) -> Object:
    conditions = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    now = timestamp()
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            {
                "type": type_,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
            }
            for type_, status, reason, message in conditions
        ],
        "addresses": [
            {"type": "InternalIP", "address": config.kubelet.host},
            {"type": "Hostname", "address": config.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": platform.release(),
            "osImage": platform.platform(terse=True),
            "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "",
            "operatingSystem": sys.platform,
            "architecture": _architecture(),
        },
    }


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


class Registration:
    def __init__(self, client: Client, config: NodeConfig, capacity: dict[str, str]) -> None:
        self._client = client
        self._config = config
        self._capacity = capacity
        self._since = timestamp()
        self.registered = asyncio.Event()

    async def run(self, port: int) -> None:
        written = -_STATUS_SECONDS
        while True:
            pause = self._config.heartbeat_seconds
            try:
                if time.monotonic() - written >= _STATUS_SECONDS:
                    await self._register(port)
                    written = time.monotonic()
                    self.registered.set()
                await self._renew()
            except (KaosError, OSError, TimeoutError) as error:
                _log.warning("heartbeat of node %s: %s", self._config.name, error)
                pause = min(1.0, pause)
            await asyncio.sleep(pause)

    async def _register(self, port: int) -> None:
        name = self._config.name
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": sys.platform,
            "kubernetes.io/arch": _architecture(),
        }
        status = node_status(self._config, self._capacity, port, self._since)
        try:
            await self._client.patch(NODES, name, {"metadata": {"labels": labels}})
        except KaosError as error:
            if not is_not_found(error):
                raise
            node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            await self._client.create(NODES, {**node, "spec": {}, "status": status})
        await self._client.patch(NODES, name, {"status": status}, subresource="status")

    async def _renew(self) -> None:
        name = self._config.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": int(self._config.heartbeat_seconds * 4),
            "renewTime": rfc3339(),
        }
        try:
            await self._client.patch(LEASES, name, {"spec": spec}, _LEASE_NAMESPACE)
        except KaosError as error:
            if not is_not_found(error):
                raise
            lease: Object = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": _LEASE_NAMESPACE},
                "spec": spec,
            }
            await self._client.create(LEASES, lease, _LEASE_NAMESPACE)
