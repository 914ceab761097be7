"""What Prometheus reads at `/metrics`: the names and labels of the real server's where we count the same thing.

    requests   by verb and resource: how many, with which code, how long; how many are under way
    storage    objects, bytes, disk space, and commits: how many rows at once, how long, how many failed
    health     each check, at `/metrics/slis`

Bounded: resources are those that are served; what names none of them is counted together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from kaos_ext.cluster.apiserver.options import TRUE
from kaos_ext.cluster.apiserver.paths import Target
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.store import is_full

Labels = tuple[tuple[str, str], ...]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# fmt: off
SECONDS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
           20.0, 30.0, 45.0, 60.0)
# fmt: on
COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096)
COMMIT_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_READING = frozenset({"GET", "HEAD"})
_PAGES = frozenset({"healthz", "livez", "readyz", "metrics", "version", "openapi", "openid", ".well-known"})


class Measured(NamedTuple):
    """Which requests are counted together."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""
    component: str = ""
    dry_run: str = ""

    def labels(self) -> Labels:
        return (
            ("component", self.component),
            ("dry_run", self.dry_run),
            ("group", self.group),
            ("resource", self.resource),
            ("scope", self.scope),
            ("subresource", self.subresource),
            ("verb", self.verb),
            ("version", self.version),
        )


def of_page(method: str, path: str) -> Measured:
    """A request for a path that is no resource."""
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first in ("api", "apis"):
        return Measured(method, subresource=first, component="apiserver")
    return Measured(method, subresource=f"/{first}" if first in _PAGES else "")


def of_target(method: str, target: Target, query: Mapping[str, str], content_type: str) -> Measured:
    """A request for a resource."""
    served, verb = target.served, method
    if method in _READING and not target.name:
        verb = "WATCH" if query.get("watch", "") in TRUE else "LIST"
    elif target.subresource in ("proxy", "exec", "attach", "portforward"):
        verb = "CONNECT"
    elif method == "DELETE" and not target.name:
        verb = "DELETECOLLECTION"
    elif method == "PATCH" and content_type.startswith("application/apply-patch"):
        verb = "APPLY"
    listed = "cluster" if target.namespace is None else "namespace"
    scope = "resource" if target.name or method == "POST" else listed
    dry_run = "All" if query.get("dryRun") == "All" else ""
    return Measured(verb, served.group, served.version, served.plural, target.subresource, scope, "apiserver", dry_run)


class Histogram:
    """Counts of observations up to each bound."""

    __slots__ = ("bounds", "count", "sum", "within")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.within = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.count = 0

    def observe(self, value: float) -> None:
        self.within[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self.count += 1

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        total = 0
        for bound, count in zip((*map(str, map(_number, self.bounds)), "+Inf"), self.within, strict=True):
            total += count
            yield _line(f"{name}_bucket", (*labels, ("le", bound)), total)
        yield _line(f"{name}_sum", labels, self.sum)
        yield _line(f"{name}_count", labels, self.count)


class Metrics:
    """One server's numbers, counted up by whoever answers requests."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._answered: Counter[tuple[Measured, int]] = Counter()
        self._took: defaultdict[Measured, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self._open = {"mutating": 0, "readOnly": 0}
        self._long: Counter[Measured] = Counter()
        self._commit_rows = Histogram(COMMIT_ROWS)
        self._commit_seconds = Histogram(COMMIT_SECONDS)
        self._commit_failures = {"no_space": 0, "other": 0}
        storage.group.observer = self._committed
        storage.group.failures = self._not_committed

    def _committed(self, rows: int, seconds: float) -> None:
        self._commit_rows.observe(rows)
        self._commit_seconds.observe(seconds)

    def _not_committed(self, error: Exception) -> None:
        self._commit_failures["no_space" if is_full(error) else "other"] += 1

    def under_way(self, method: str, more: int) -> None:
        """So many more requests of this method than before."""
        self._open["readOnly" if method in _READING else "mutating"] += more

    @contextmanager
    def long_running(self, method: str, what: Measured) -> Iterator[None]:
        """A watch or a stream, for as long as it is open; it is no request under way meanwhile."""
        self.under_way(method, -1)
        self._long[what] += 1
        try:
            yield
        finally:
            self.under_way(method, 1)
            self._long[what] -= 1

    def answered(self, what: Measured, code: int, seconds: float) -> None:
        self._answered[what, code] += 1
        self._took[what].observe(seconds)

    def text(self) -> str:
        return "".join([*self._requests(), *self._stored(), *_process()])

    def _requests(self) -> Iterator[str]:
        yield family(
            "apiserver_request_total",
            "counter",
            "Requests answered, by verb, resource, scope and code.",
            [((("code", str(code)), *what.labels()), count) for (what, code), count in sorted(self._answered.items())],
        )
        took = [line for what, one in sorted(self._took.items()) for line in one.lines(_TOOK, what.labels())]
        yield _head(_TOOK, "histogram", "Time until the answer was given.") + "".join(took)
        yield family(
            "apiserver_current_inflight_requests",
            "gauge",
            "Requests under way that are neither watches nor streams.",
            [((("request_kind", kind),), count) for kind, count in sorted(self._open.items())],
        )
        yield family(
            "apiserver_longrunning_requests",
            "gauge",
            "Watches and streams that are open.",
            [(_without_dry_run(what), count) for what, count in sorted(self._long.items())],
        )
        watchers: Counter[Labels] = Counter()
        for what, count in self._long.items():
            if what.verb == "WATCH":
                watchers[("group", what.group), ("resource", what.resource), ("version", what.version)] += count
        yield family("apiserver_registered_watchers", "gauge", "Watches that are open.", sorted(watchers.items()))

    def _stored(self) -> Iterator[str]:
        storage = self._storage
        collections = sorted((one for one in storage.collections() if one.count), key=lambda one: one.id)
        split = [(one.id.rpartition("/"), one.count) for one in collections]
        objects = [((("group", group), ("resource", plural)), count) for (group, _, plural), count in split]
        yield family("apiserver_resource_objects", "gauge", "Objects stored.", objects)
        named = [
            ((("resource", f"{plural}.{group}" if group else plural),), count) for (group, _, plural), count in split
        ]
        yield family("apiserver_storage_objects", "gauge", "Objects stored (the older name).", named)
        size = [((("storage_cluster_id", "etcd-0"),), storage.size())]
        yield family("apiserver_storage_size_bytes", "gauge", "Size of the database and its write-ahead file.", size)
        numbers = (
            ("embedded_store_revision", "counter", "The newest revision.", storage.revision),
            ("embedded_store_compacted_revision", "counter", "Superseded ones up to here are gone.", storage.compacted),
            ("embedded_store_superseded_revisions", "gauge", "Kept for those who resume.", storage.superseded),
            ("embedded_store_disk_free_bytes", "gauge", "Space left on its disk.", storage.space.free()),
        )
        for name, kind, words, value in numbers:
            yield family(name, kind, words, [((), value)])
        failures = [((("reason", reason),), count) for reason, count in sorted(self._commit_failures.items())]
        yield family("embedded_store_commit_failures_total", "counter", "Commits that failed.", failures)
        for name, words, histogram in (
            ("embedded_store_commit_rows", "Writes that went into one commit.", self._commit_rows),
            ("embedded_store_commit_duration_seconds", "Time of one commit, sync included.", self._commit_seconds),
        ):
            yield _head(name, "histogram", words) + "".join(histogram.lines(name, ()))


_TOOK = "apiserver_request_duration_seconds"


def slis(results: Mapping[str, Mapping[str, str]]) -> str:
    """The health checks as numbers: by endpoint and check, what is wrong."""
    values = [
        ((("name", name), ("type", endpoint)), int(not wrong))
        for endpoint, checks in results.items()
        for name, wrong in checks.items()
    ]
    return family("kubernetes_healthcheck", "gauge", "Whether a health check passes.", sorted(values))


def family(name: str, kind: str, words: str, values: Iterable[tuple[Labels, float]]) -> str:
    """One metric with all its values in the text format."""
    return _head(name, kind, words) + "".join(_line(name, labels, value) for labels, value in values)


def _head(name: str, kind: str, words: str) -> str:
    return f"# HELP {name} {words}\n# TYPE {name} {kind}\n"


def _line(name: str, labels: Labels, value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{shown}}} {_number(value)}\n" if shown else f"{name} {_number(value)}\n"


def _number(value: float) -> float:
    return int(value) if value == int(value) else value


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _without_dry_run(what: Measured) -> Labels:
    return tuple(pair for pair in what.labels() if pair[0] != "dry_run")


def _process() -> Iterator[str]:
    import resource

    import psutil

    process = psutil.Process()
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        values = (
            ("process_cpu_seconds_total", "counter", "Processor time.", times.user + times.system),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", memory.rss),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory.", memory.vms),
            ("process_open_fds", "gauge", "Open file descriptors.", process.num_fds()),
            ("process_max_fds", "gauge", "Most it may open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            ("process_start_time_seconds", "gauge", "When it started, since the epoch.", process.create_time()),
        )
    for name, kind, words, value in values:
        yield family(name, kind, words, [((), value)])
