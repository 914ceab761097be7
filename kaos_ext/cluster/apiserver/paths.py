"""Request paths: which resource, namespace, object and subresource a URL names."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.registry import Registry, Served


class PageNotFound(Exception):
    """A path that nothing serves: the plain-text 404."""


@dataclass(frozen=True, slots=True)
class Target:
    """`namespace` is None where a namespaced resource is asked for in all namespaces."""

    served: Served
    namespace: str | None
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource, as it was written (paths through a proxy)."""


def target_of(registry: Registry, raw_path: str) -> Target | None:
    """The target of a path below `/api/<v>/` or `/apis/<g>/<v>/`; None for shorter paths (discovery)."""
    parts = raw_path.strip("/").split("/")
    core = parts[0] == "api"
    head = 2 if core else 3
    if parts[0] not in ("api", "apis") or len(parts) <= head:
        return None
    group, version = ("", parts[1]) if core else (parts[1], parts[2])
    if not registry.has_version(group, version):
        if core:
            raise failures.no_such_resource()
        raise PageNotFound
    return _below(registry, group, version, parts[head:], raw_path)


def watched(raw_path: str) -> tuple[str, str] | None:
    """The collection and the name that a path of the old form, `/api/v1/watch/...`, is a watch of."""
    parts = raw_path.strip("/").split("/")
    head = 2 if parts[0] == "api" else 3
    if parts[0] not in ("api", "apis") or len(parts) < head + 2 or parts[head] != "watch":
        return None
    rest = parts[head + 1 :]
    namespaced = rest[0] == "namespaces" and len(rest) > 2
    at = 4 if namespaced else 2
    name = rest[at - 1] if len(rest) >= at else ""
    return "/" + "/".join([*parts[:head], *(rest[: at - 1] if name else rest)]), unquote(name)


def _below(registry: Registry, group: str, version: str, parts: list[str], raw_path: str) -> Target:
    names = [unquote(part) for part in parts]
    namespace: str | None = None
    if parts[0] == "namespaces" and len(parts) > 2 and not (group == "" and names[2] in ("status", "finalize")):
        namespace, names, parts = names[1], names[2:], parts[2:]
    served = registry.find(group, version, names[0])
    if served is None or (namespace is not None and not served.namespaced) or "" in names[:1]:
        if any(one.custom for one in registry.resources(group, version)):
            raise PageNotFound
        raise failures.no_such_resource()
    name = names[1] if len(names) > 1 else ""
    subresource = names[2] if len(names) > 2 else ""
    if "/" in name or "%" in name:
        raise failures.no_such_resource()
    rest = ""
    if len(parts) > 3:
        if subresource != "proxy":
            raise failures.no_such_resource()
        marker = f"/{parts[1]}/proxy/"
        rest = raw_path[raw_path.index(marker) + len(marker) :]
    elif subresource == "proxy" and raw_path.endswith("/"):
        rest = ""
    if subresource and not served.has(subresource):
        raise failures.not_found(served, name) if served.custom else failures.no_such_resource()
    if served.namespaced and namespace is None and name:
        raise failures.no_such_resource()
    return Target(served, namespace, name, subresource, rest)
