"""Who may talk to a runtime: the checks of the service shell, independent of any web framework.

    Host      must be an address, `localhost`, a bare service name or a name inside a cluster: a page in a browser that
              rebinds its own name to our address comes with its own name                               → 421
    Origin    a browser's cross-site request is refused                                                 → 403
    caller    on a loopback address: the peer's socket belongs to our own uid (or root), where the kernel can tell,
              or a bearer token; on another address: the token, if one is set                           → 403, 401
              (health and readiness need no token: a kubelet has none)

`KAOS_SERVICE_TOKEN`, `KAOS_ALLOWED_HOSTS` and `KAOS_ALLOWED_ORIGINS` (comma lists, `*` for all) widen or set this.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

SERVICE_TOKEN = "KAOS_SERVICE_TOKEN"
ALLOWED_HOSTS = "KAOS_ALLOWED_HOSTS"
ALLOWED_ORIGINS = "KAOS_ALLOWED_ORIGINS"
OPEN_PATHS = frozenset({"/health", "/ready", "/health/liveliness", "/health/readiness"})


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of one request: its path, the three headers that matter, and both ends of its connection."""

    path: str
    host: str = ""
    origin: str = ""
    authorization: str = ""
    peer: str = ""
    """Address of the other end."""
    uid: Callable[[], int | None] = lambda: None
    """Owner of the other end's socket, asked for only when the peer is on this machine."""


@dataclass(frozen=True, slots=True)
class Guard:
    token: str = ""
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Guard:
        return cls(
            token=env.get(SERVICE_TOKEN, ""),
            hosts=_listed(env.get(ALLOWED_HOSTS, "")),
            origins=_listed(env.get(ALLOWED_ORIGINS, "")),
            uids=frozenset({0, os.getuid()}),
        )

    def refuse(self, caller: Caller) -> Refusal | None:
        """Why this request is not served; None when it is."""
        if not self._host_known(caller.host):
            return Refusal(421, f"this service does not answer for the host {caller.host!r}")
        if caller.origin and not self._origin_known(caller):
            return Refusal(403, f"the origin {caller.origin!r} may not call this service")
        if caller.path in OPEN_PATHS:
            return None
        return self._caller_refused(caller)

    def _host_known(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        if not name or "*" in self.hosts or name in self.hosts:
            return True
        if _address(name) is not None or "." not in name:
            return True
        return name.endswith((".svc", ".cluster.local", ".localhost"))

    def _origin_known(self, caller: Caller) -> bool:
        if "*" in self.origins or caller.origin in self.origins:
            return True
        scheme, _, rest = caller.origin.partition("://")
        return scheme in {"http", "https"} and rest.lower() == caller.host.lower()

    def _caller_refused(self, caller: Caller) -> Refusal | None:
        if self.token and self._token_given(caller.authorization):
            return None
        address = _address(caller.peer)
        if address is None or not address.is_loopback:
            return Refusal(401, "a bearer token is needed") if self.token else None
        uid = caller.uid()
        if uid is not None and uid not in self.uids:
            return Refusal(403, "only processes of the cluster's own user are served here")
        return None

    def _token_given(self, authorization: str) -> bool:
        kind, _, value = authorization.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(value.strip().encode(), self.token.encode())


def _listed(text: str) -> frozenset[str]:
    return frozenset(item.strip().lower() for item in text.split(",") if item.strip())


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


@lru_cache(256)
def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None
