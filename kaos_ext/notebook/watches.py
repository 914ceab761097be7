"""The live views of this notebook: asking twice for the same one gives the one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaos_ext.notebook.watch import Watch

Key = tuple[str, str]


class Watches:
    def __init__(self) -> None:
        self._known: dict[Key, Watch] = {}

    def get(self, key: Key) -> Watch | None:
        watch = self._known.get(key)
        return watch if watch is not None and watch.following else None

    def add(self, key: Key, watch: Watch) -> None:
        self._known[key] = watch

    def flush(self) -> None:
        for watch in list(self._known.values()):
            watch.flush()

    def close(self) -> None:
        for watch in list(self._known.values()):
            watch.stop()
        self._known.clear()
