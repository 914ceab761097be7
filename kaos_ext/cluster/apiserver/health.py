"""`/healthz`, `/livez` and `/readyz`: named checks, the same names as the real server's where we have the same thing.

    /readyz              ok, or 500 and what every check says
    /readyz?verbose      what every check says; `?exclude=NAME` (repeated) leaves one out
    /readyz/NAME         one check alone

Why a check fails is in the server's log and at its own path, not in the list: as in the real one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

log = logging.getLogger(__name__)
_START = (
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/bootstrap-controller",
)
LIVE = ("ping", "log", "etcd", *_START)
READY = ("ping", "log", "etcd", "etcd-readiness", "informer-sync", *_START, "shutdown")
CHECKS: Mapping[str, Sequence[str]] = {"healthz": LIVE, "livez": LIVE, "readyz": READY}

Probe = Callable[[], Awaitable[str]]
"""What is wrong; nothing when all is well."""


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    text: str


class Health:
    """The checks of one server. Without a probe of its own a check is about starting: done or not yet."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes
        self._done: set[str] = {"ping", "log"}

    def done(self, *names: str) -> None:
        """These parts of the start are over."""
        self._done.update(names)

    def undone(self, name: str) -> None:
        self._done.discard(name)

    async def results(self, endpoint: str) -> dict[str, str]:
        """Of every check of the endpoint what is wrong with it."""
        return {name: await self._wrong(name) for name in CHECKS[endpoint]}

    async def _wrong(self, name: str) -> str:
        probe = self._probes.get(name)
        if probe is not None:
            return await probe()
        return "" if name in self._done else "not finished"

    async def answer(self, path: str, query: str) -> Said | None:
        """The answer at a path such as `/readyz/etcd`; None where the real server says that there is no such page."""
        endpoint, _, name = path.removeprefix("/").partition("/")
        if name or path.endswith("/"):
            if name not in CHECKS[endpoint]:
                return None
            wrong = await self._wrong(name)
            return Said(500, f"internal server error: {wrong}\n") if wrong else Said(200, "ok")
        asked = parse_qs(query, keep_blank_values=True)
        excluded = dict.fromkeys(asked.get("exclude", ()))
        lines, failed = [], []
        for check, wrong in (await self.results(endpoint)).items():
            if check in excluded:
                del excluded[check]
                lines.append(f"[+]{check} excluded: ok")
            elif wrong:
                failed.append(f"{check}: {wrong}")
                lines.append(f"[-]{check} failed: reason withheld")
            else:
                lines.append(f"[+]{check} ok")
        if excluded:
            quoted = ", ".join(json.dumps(one) for one in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        if failed:
            log.warning("%s check failed: %s", endpoint, "; ".join(failed))
            return Said(500, "\n".join([*lines, f"{endpoint} check failed", ""]))
        return Said(200, "\n".join([*lines, f"{endpoint} check passed", ""]) if "verbose" in asked else "ok")
