"""Whose the other end of a loopback TCP connection is, as far as the kernel tells.

Linux answers for one connection in some 20 µs over netlink (`sock_diag`). Where that is not allowed, the table in
/proc is read, which takes as long as there are sockets. Elsewhere nobody knows: None.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path

Address = tuple[str, int]
_IP = ipaddress.IPv4Address | ipaddress.IPv6Address

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR = 4, 20, 1, 2
ANY_STATE = 0xFFFFFFFF
UID_OFFSET = 16 + 4 + 48 + 12
"""Header of netlink, four bytes of the answer, the connection's identity, three counters."""


def peer_uid(peer: Address, own: Address) -> int | None:
    """Uid that owns the socket at `peer`, connected to ours at `own`; None where the kernel does not tell."""
    theirs, ours = _ip(peer[0]), _ip(own[0])
    try:
        return _diagnosed((theirs, peer[1]), (ours, own[1]))
    except (OSError, AttributeError, struct.error):
        return _listed((theirs, peer[1]), (ours, own[1]))


def _diagnosed(peer: tuple[_IP, int], own: tuple[_IP, int]) -> int | None:
    """By netlink; raises OSError or AttributeError where there is none."""
    family = socket.AF_INET if peer[0].version == 4 else socket.AF_INET6
    ends = peer[0].packed.ljust(16, b"\0") + own[0].packed.ljust(16, b"\0")
    identity = struct.pack("!HH", peer[1], own[1]) + ends + struct.pack("=I8s", 0, b"\xff" * 8)
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, ANY_STATE) + identity
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + request)
        answer = kernel.recv(8192)
    kind = struct.unpack_from("=IH", answer)[1]
    if kind == NLMSG_ERROR:
        status = -struct.unpack_from("=i", answer, 16)[0]
        # "No such socket" is an answer: the peer is gone. Any other refusal means that netlink does not help here.
        if status == 2:
            return None
        raise OSError(status, "sock_diag")
    return int(struct.unpack_from("=I", answer, UID_OFFSET)[0])


def _listed(peer: tuple[_IP, int], own: tuple[_IP, int]) -> int | None:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/self/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        local, remote = _as_listed(peer, table), _as_listed(own, table)
        for line in lines:
            fields = line.split(maxsplit=8)
            if fields[1] == local and fields[2] == remote:
                return int(fields[7])
    return None


def _as_listed(address: tuple[_IP, int], table: str) -> str:
    """An address as /proc/net/tcp writes it: 32-bit words in the machine's byte order, hexadecimal."""
    ip = address[0]
    if table == "tcp6" and ip.version == 4:
        ip = ipaddress.ip_address(f"::ffff:{ip}")
    packed = ip.packed
    words = [int.from_bytes(packed[i : i + 4], "little") for i in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words) + f":{address[1]:04X}"


def _ip(text: str) -> _IP:
    """The address; an IPv4 one in IPv6's clothes is taken out of them, since that is what the peer's socket has."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
