"""Counts of requests and objects, as Prometheus reads them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from kaos_ext.cluster.apiserver.storage import Storage

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One server's numbers; `requests` is counted up by whoever answers them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._since = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        """By method and status code."""
        self.seconds = 0.0
        """Spent on requests that were no watches."""
        self.watches = 0
        """Open now."""

    def text(self) -> str:
        return "".join(self._families())

    def _families(self) -> Iterator[str]:
        requests = [
            ((("method", method), ("code", str(code))), count)
            for (method, code), count in sorted(self.requests.items())
        ]
        yield family("apiserver_request_total", "counter", "Requests answered.", requests)
        spent = [((), self.seconds)]
        yield family("apiserver_request_seconds_total", "counter", "Time spent on requests but watches.", spent)
        yield family("apiserver_registered_watchers", "gauge", "Watches open.", [((), self.watches)])
        objects = [
            ((("resource", _resource(collection.id)),), collection.count)
            for collection in sorted(self._storage.collections(), key=lambda one: one.id)
            if collection.count
        ]
        yield family("apiserver_storage_objects", "gauge", "Objects stored.", objects)
        revision = [((), self._storage.revision)]
        yield family("apiserver_storage_revision", "counter", "The newest revision.", revision)
        yield family("process_start_time_seconds", "gauge", "When the server started.", [((), self._since)])


def family(name: str, kind: str, words: str, values: Iterable[tuple[Labels, float]]) -> str:
    """One metric with all its values in the text format."""
    lines = [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
    for labels, value in values:
        shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        lines.append(f"{name}{{{shown}}} {value:g}" if shown else f"{name} {value:.17g}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resource(id: str) -> str:
    group, _, plural = id.rpartition("/")
    return f"{plural}.{group}" if group else plural
