"""Discovery documents of what is served now, rendered once per change of the registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.negotiate import Wanted
from kaos_ext.cluster.apiserver.registry import Registry, Served
from kaos_ext.cluster.apiserver.storage import encode
from kaos_ext.cluster.apiserver.wire import discovery as documents

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    body: bytes
    content_type: str
    etag: str


class Discovery:
    """Documents by path; None where there is none."""

    def __init__(self, registry: Registry, address: str) -> None:
        self._registry = registry
        self._address = address
        self._serial = -1
        self._items: list[Item] = []
        self._rendered: dict[tuple[str, str], Document | None] = {}

    def document(self, path: str, wanted: Wanted) -> Document | None:
        """`path` is `api`, `apis`, `api/v1`, `apis/<group>` or `apis/<group>/<version>`."""
        if self._serial != self._registry.serial:
            self._serial = self._registry.serial
            self._rendered.clear()
            self._items = listing(self._registry)
        aggregated = wanted.version if path in ("api", "apis") else ""
        key = (path, aggregated)
        if key not in self._rendered:
            self._rendered[key] = self._render(path, aggregated)
        return self._rendered[key]

    def _render(self, path: str, aggregated: str) -> Document | None:
        body = self._body(path.split("/"), aggregated)
        if body is None:
            return None
        encoded = encode(body)
        media, hashed = "application/json", encoded
        if aggregated:
            media += f";g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList"
            hashed = encode({key: value for key, value in body.items() if key not in ("kind", "apiVersion")})
        return Document(encoded, media, f'"{hashlib.sha512(hashed).hexdigest().upper()}"')

    def _body(self, parts: list[str], aggregated: str) -> Item | None:
        core, groups = self._items[0], self._items[1:]
        if parts == ["api"]:
            return documents.aggregated([core], aggregated) if aggregated else documents.api_versions(self._address)
        if parts == ["apis"]:
            return documents.aggregated(groups, aggregated) if aggregated else documents.group_list(groups)
        group = "" if parts[0] == "api" else parts[1]
        item = next((one for one in self._items if one["metadata"]["name"] == group), None)
        if item is None:
            return None
        if parts[0] == "apis" and len(parts) == 2:
            return documents.group(item)
        entry = next((one for one in item["versions"] if one["version"] == parts[-1]), None)
        return documents.resource_list(group, entry) if entry is not None else None


def listing(registry: Registry) -> list[Item]:
    """Aggregated discovery items, the core group first."""
    items: dict[str, Item] = {}
    for group, version in registry.group_versions():
        item = items.setdefault(group, {"metadata": {"name": group}, "versions": []})
        resources = [_resource(one) for one in registry.resources(group, version)]
        item["versions"].append({"version": version, "resources": resources})
    return list(items.values())


def _resource(served: Served) -> Item:
    own = {"group": served.group, "version": served.version}
    item: Item = {
        "resource": served.plural,
        "responseKind": {**(own if served.custom else {"group": "", "version": ""}), "kind": served.kind},
        "scope": "Namespaced" if served.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(documents.CUSTOM_VERBS if served.custom else served.verbs),
    }
    if served.short_names:
        item["shortNames"] = list(served.short_names)
    if served.categories:
        item["categories"] = list(served.categories)
    if served.subresources:
        item["subresources"] = [
            {
                "subresource": one.name,
                "responseKind": {"group": one.group, "version": one.version, "kind": one.kind},
                "verbs": list(one.verbs),
            }
            for one in served.subresources
        ]
    return item
