"""Which collections a server has, learned from its discovery documents. Pure; the client fetches them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from kaos_ext.kube.objects import Object, Resource
from kaos_ext.model.errors import NotFoundError


class KindUnknown(NotFoundError):
    """The server has no such kind."""

    def __init__(self, api_version: str, kind: str, *, hint: str = "") -> None:
        super().__init__(f"this cluster has no kind {kind} in {api_version}", hint=hint)
        self.api_version = api_version
        self.kind = kind


def resources_of(listing: Object) -> list[Resource]:
    """The collections of one APIResourceList; subresources are left out."""
    group, _, version = str(listing.get("groupVersion", "")).rpartition("/")
    return [
        Resource(group, version, str(item["name"]), str(item["kind"]), bool(item.get("namespaced")))
        for item in listing.get("resources") or []
        if "/" not in str(item["name"])
    ]


@dataclass(slots=True)
class Kinds:
    """What was learned so far, by group version."""

    _known: dict[str, dict[str, Resource]] = field(default_factory=dict)

    def learn(self, api_version: str, resources: list[Resource]) -> None:
        self._known[api_version] = {resource.kind: resource for resource in resources}

    def find(self, api_version: str, kind: str) -> Resource | None:
        return self._known.get(api_version, {}).get(kind)

    def unknown(self, api_version: str, kind: str) -> KindUnknown:
        kinds = self._known.get(api_version, {})
        folded = {name.lower(): name for name in kinds}
        meant = difflib.get_close_matches(kind.lower(), folded, n=1)
        return KindUnknown(api_version, kind, hint=f"did you mean {folded[meant[0]]}?" if meant else "")
