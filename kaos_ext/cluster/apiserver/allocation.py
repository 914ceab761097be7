"""Addresses and node ports of Services: taken when a Service is decided on, given back when it is gone.

Nothing is stored here; what is in use is read off the Services at start and followed through their changes.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Network, ip_address

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.storage import Change, Collection
from kaos_ext.kube.objects import Object

FIRST = 10
"""Hosts below are kept: the first one is the `kubernetes` Service."""
NODE_PORTS = range(30000, 32768)


class ServiceAddresses:
    """Which cluster addresses and node ports are taken, and by which Service (namespace, name)."""

    def __init__(self, network: IPv4Network, services: Collection) -> None:
        self.network = network
        self._addresses: dict[str, tuple[str, str]] = {}
        self._ports: dict[int, tuple[str, str]] = {}
        for stored in services.scan():
            self._take((stored.namespace, stored.name), stored.object)
        services.listeners.append(self._follow)

    def _follow(self, change: Change) -> None:
        owner = (change.stored.namespace, change.stored.name)
        if change.previous is not None:
            for address in _addresses(change.previous.object):
                self._addresses.pop(address, None)
            for port in _node_ports(change.previous.object):
                self._ports.pop(port, None)
        if change.kind != "DELETED":
            self._take(owner, change.stored.object)

    def _take(self, owner: tuple[str, str], service: Object) -> None:
        self._addresses.update(dict.fromkeys(_addresses(service), owner))
        self._ports.update(dict.fromkeys(_node_ports(service), owner))

    def assign(self, service: Object, owner: tuple[str, str], *, keep: bool) -> list[FieldError]:
        """Fill in what the Service needs and has not asked for; complaints about what it asked for and cannot have.

        With `keep` (a dry run) nothing stays reserved.
        """
        spec = service["spec"]
        complaints: list[FieldError] = []
        kind = spec.get("type", "ClusterIP")
        addresses: list[str] = []
        if kind == "ExternalName":
            for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(key, None)
        elif spec.get("clusterIP") != "None":
            address = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
            if address:
                complaints += self._complaints(address, owner)
            else:
                address = self._free_address()
            spec["clusterIP"], spec["clusterIPs"] = address, [address]
            addresses = [address]
        else:
            spec["clusterIPs"] = ["None"]
        if kind != "ExternalName":
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
            spec.setdefault("internalTrafficPolicy", "Cluster")
        ports = self._assign_ports(spec, kind, owner, complaints)
        if not complaints and not keep:
            self._addresses.update(dict.fromkeys(addresses, owner))
            self._ports.update(dict.fromkeys(ports, owner))
        return complaints

    def _complaints(self, address: str, owner: tuple[str, str]) -> list[FieldError]:
        try:
            inside = ip_address(address) in self.network
        except ValueError:
            return []  # validation has words for it
        if not inside:
            why = f"failed to allocate IP {address}: the provided network does not match the current range"
        elif self._addresses.get(address, owner) != owner:
            why = f"failed to allocate IP {address}: provided IP is already allocated"
        else:
            return []
        return [FieldError("spec.clusterIPs", "FieldValueInvalid", f'Invalid value: ["{address}"]: {why}')]

    def _free_address(self) -> str:
        size = self.network.num_addresses
        offset = random.randrange(size)  # noqa: S311 (spreads addresses, hides nothing)
        for step in range(size):
            host = (offset + step) % size
            if FIRST <= host < size - 1:
                address = str(self.network[host])
                if address not in self._addresses:
                    return address
        raise RuntimeError(f"every address of {self.network} is taken")

    def _assign_ports(self, spec: Object, kind: str, owner: tuple[str, str], complaints: list[FieldError]) -> list[int]:
        wanted = kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))
        taken: list[int] = []
        for index, port in enumerate(spec.get("ports") or ()):
            if kind not in ("NodePort", "LoadBalancer"):
                port.pop("nodePort", None)
                continue
            asked = port.get("nodePort")
            if asked:
                if asked not in NODE_PORTS:
                    ports = f"{NODE_PORTS[0]}-{NODE_PORTS[-1]}"
                    why = f"provided port is not in the valid range. The range of valid ports is {ports}"
                elif self._ports.get(asked, owner) != owner:
                    why = "provided port is already allocated"
                else:
                    taken.append(asked)
                    continue
                complaints.append(
                    FieldError(f"spec.ports[{index}].nodePort", "FieldValueInvalid", f"Invalid value: {asked}: {why}")
                )
            elif wanted:
                free = [one for one in NODE_PORTS if one not in self._ports and one not in taken]
                port["nodePort"] = random.choice(free)  # noqa: S311
                taken.append(port["nodePort"])
        return taken

    def release(self, service: Object, owner: tuple[str, str], live: Object | None) -> None:
        """A write that took addresses failed: give back what the live Service does not have."""
        kept = set(_addresses(live)) if live else set()
        for address in _addresses(service):
            if address not in kept and self._addresses.get(address) == owner:
                del self._addresses[address]
        ports = set(_node_ports(live)) if live else set()
        for port in _node_ports(service):
            if port not in ports and self._ports.get(port) == owner:
                del self._ports[port]


def _addresses(service: Object) -> list[str]:
    spec = service.get("spec") or {}
    return [one for one in spec.get("clusterIPs") or () if one and one != "None"]


def _node_ports(service: Object) -> list[int]:
    return [port["nodePort"] for port in (service.get("spec") or {}).get("ports") or () if port.get("nodePort")]


def moved(new: Object, old: Object) -> list[FieldError]:
    """The complaint about a Service that would change the address it has."""
    spec, was = new.get("spec") or {}, old.get("spec") or {}
    if "ExternalName" in (spec.get("type"), was.get("type")) or not was.get("clusterIPs"):
        return []
    if spec.get("clusterIPs") == was["clusterIPs"]:
        return []
    return [errors.invalid("spec.clusterIPs[0]", spec.get("clusterIPs"), "may not change once set")]
