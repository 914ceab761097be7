"""Following a collection without gap and without double, decided without a socket.

    ask() ── LIST ───▶ listed(listing)  → the changes since what was known (deletions too)
      ▲                                   │
      │      WATCH(rv) ◀──────────────────┘
      │        │ received(event)  → the event to pass on, or nothing (a bookmark moves on quietly)
      │        │ ended()          → watch again from where it stands
      └────────┴ expired()        → list again; what vanished meanwhile is reported as deleted

`backoff` grows with failures in a row and is forgotten with the first thing that comes through.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kaos_ext.kube.objects import Object, ObjectList, WatchEvent, WatchType

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0


@dataclass(slots=True)
class Following:
    """Where one follower stands; `resource_version` None means: list first."""

    resource_version: str | None = None
    known: dict[str, Object] = field(default_factory=dict)
    failures: int = 0

    def listed(self, listing: ObjectList) -> list[WatchEvent]:
        self.failures = 0
        self.resource_version = listing.resource_version
        now = {_key(item): item for item in listing.items}
        gone = [WatchEvent(WatchType.DELETED, item) for key, item in self.known.items() if key not in now]
        changed = []
        for key, item in now.items():
            before = self.known.get(key)
            if before is None:
                changed.append(WatchEvent(WatchType.ADDED, item))
            elif _version(before) != _version(item):
                changed.append(WatchEvent(WatchType.MODIFIED, item))
        self.known = now
        return gone + changed

    def received(self, event: WatchEvent) -> WatchEvent | None:
        self.failures = 0
        self.resource_version = _version(event.object) or self.resource_version
        if event.type is WatchType.BOOKMARK:
            return None
        if event.type is WatchType.DELETED:
            self.known.pop(_key(event.object), None)
        else:
            self.known[_key(event.object)] = event.object
        return event

    def expired(self) -> None:
        self.resource_version = None

    def failed(self) -> float:
        """Seconds to wait before asking again."""
        self.failures += 1
        return float(min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (self.failures - 1)))


def _key(item: Object) -> str:
    metadata = item.get("metadata") or {}
    return str(metadata.get("uid") or f"{metadata.get('namespace', '')}/{metadata.get('name', '')}")


def _version(item: Object) -> str:
    return str((item.get("metadata") or {}).get("resourceVersion") or "")
