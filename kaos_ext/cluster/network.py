"""Which loopback addresses and which port belong to a cluster.

Each cluster owns one 127.<x>.0.0/16 with x in 64..191: Services in its lower half, pods in its upper half. Ownership
is a UDP socket bound to 127.<x>.255.254:7443, held by the node's supervisor as long as pods may run; the kernel frees
it however that process dies, and it works across users of one machine. Here a range is only *chosen*: the first, from a
start that depends on the state folder, that nobody holds and no other cluster of this user remembers.
"""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Callable, Collection
from pathlib import Path

from kaos_ext.model.errors import KaosError

FIRST_OCTET, LAST_OCTET = 64, 191
CLAIM_PORT = 7443
# Below the ports that kernels hand out to outgoing connections, so that a stopped cluster finds its port free again.
PORTS = range(18000, 30000)


def claim_address(octet: int) -> tuple[str, int]:
    """Where the owner of 127.<octet>.0.0/16 keeps its UDP socket bound."""
    return f"127.{octet}.255.254", CLAIM_PORT


def is_claimed(octet: int) -> bool:
    """Whether a living process owns the range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(claim_address(octet))
        except OSError:
            return True
    return False


def choose_octet(root: Path, remembered: Collection[int] = (), claimed: Callable[[int], bool] = is_claimed) -> int:
    """A range for the cluster at `root` that no process holds and that no other known cluster will come back to."""
    count = LAST_OCTET - FIRST_OCTET + 1
    start = int.from_bytes(hashlib.sha256(str(root).encode()).digest()[:4], "big") % count
    free = [octet for offset in range(count) if not claimed(octet := FIRST_OCTET + (start + offset) % count)]
    if not free:
        raise KaosError(
            "every loopback range from 127.64.0.0/16 to 127.191.0.0/16 is in use",
            hint="stop a cluster: `kaos status --all` lists yours",
        )
    return next((octet for octet in free if octet not in remembered), free[0])


def choose_port(taken: Collection[int] = ()) -> int:
    """A free TCP port of 127.0.0.1 that no other known cluster remembers."""
    candidates = [port for port in random.sample(PORTS, 200) if port not in taken]
    for port in candidates:
        if port_is_free(port):
            return port
    raise KaosError("no free port for the API server on 127.0.0.1", hint="close programs that listen on many ports")


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
