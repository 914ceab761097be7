"""What must change in a store that has come to another place, and the gap that its clients must notice.

volumes     name folders of the state folder: its path is another now
Services    keep their addresses, unless that network belongs to another cluster of this machine by now
revision    goes on far above the saved one, and everything below counts as compacted: what happened after the
            backup is gone, so a client that saw it must be told 410 and list anew, never 'nothing has changed'
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kaos_ext.cluster.backup.manifest import Manifest
from kaos_ext.cluster.config import ClusterConfig

GAP = 1_000_000_000
"""More revisions than anybody writes between a backup and its restore."""
Object = dict[str, Any]


def relocate(store: Path, manifest: Manifest, config: ClusterConfig) -> None:
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as opened:
        opened.execute("BEGIN IMMEDIATE")
        if manifest.root != str(config.root):
            _each(opened, "/persistentvolumes/", lambda volume: _move_volume(volume, manifest.root, str(config.root)))
        if manifest.octet != config.octet:
            _each(opened, "/services/", lambda service: _move_service(service, manifest.octet, config.octet))
        (last,) = opened.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'log'").fetchone()
        opened.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'log'", (last + GAP,))
        opened.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (str(last + GAP),))
        opened.execute("COMMIT")


def _each(opened: sqlite3.Connection, prefix: str, change: Callable[[Object], bool]) -> None:
    """Change the objects whose keys begin so; those that stay as they are are not written."""
    for id, value in opened.execute("SELECT id, value FROM log WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)):
        object = json.loads(value)
        if change(object):
            encoded = json.dumps(object, separators=(",", ":"), ensure_ascii=False).encode()
            opened.execute("UPDATE log SET value = ? WHERE id = ?", (encoded, id))


def _move_volume(volume: Object, old: str, new: str) -> bool:
    changed = False
    for source in ("hostPath", "local"):
        path = ((volume.get("spec") or {}).get(source) or {}).get("path", "")
        if path.startswith(f"{old}/"):
            volume["spec"][source]["path"] = new + path.removeprefix(old)
            changed = True
    return changed


def _move_service(service: Object, old: int, new: int) -> bool:
    spec = service.get("spec") or {}
    before = (spec.get("clusterIP"), spec.get("clusterIPs"))
    if spec.get("clusterIP"):
        spec["clusterIP"] = _moved(spec["clusterIP"], old, new)
    if spec.get("clusterIPs"):
        spec["clusterIPs"] = [_moved(address, old, new) for address in spec["clusterIPs"]]
    return before != (spec.get("clusterIP"), spec.get("clusterIPs"))


def _moved(address: str, old: int, new: int) -> str:
    prefix = f"127.{old}."
    return f"127.{new}.{address.removeprefix(prefix)}" if address.startswith(prefix) else address
