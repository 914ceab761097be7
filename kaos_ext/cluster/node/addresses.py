"""Pod addresses: each pod has one of the pod network, and gets none that was just given back."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from kaos_ext.model.errors import KaosError


class PodAddresses:
    def __init__(self, network: IPv4Network) -> None:
        self._network = network
        self._first = int(network.network_address) + 1
        self._size = network.num_addresses - 256  # the last addresses of the network hold the cluster's claim
        self._next = 0
        self._owners: dict[str, str] = {}

    def take(self, owner: str) -> str:
        for step in range(self._size):
            address = str(IPv4Address(self._first + (self._next + step) % self._size))
            if address not in self._owners:
                self._owners[address] = owner
                self._next = (self._next + step + 1) % self._size
                return address
        raise KaosError(f"no pod address is left in {self._network}", hint="delete pods")

    def keep(self, address: str, owner: str) -> bool:
        """Give a pod the address it already has; False when it is another's or not of this network."""
        try:
            inside = IPv4Address(address) in self._network
        except ValueError:
            return False
        if not inside or self._owners.get(address, owner) != owner:
            return False
        self._owners[address] = owner
        self._next = max(self._next, (int(IPv4Address(address)) - self._first + 1) % self._size)
        return True

    def release(self, address: str, owner: str) -> None:
        if self._owners.get(address) == owner:
            del self._owners[address]
