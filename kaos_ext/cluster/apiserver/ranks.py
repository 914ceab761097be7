"""Which groups come first in discovery: those whose APIService has a higher `groupPriorityMinimum`.

A real server registers every CRD's version with the usual priority, unless there is an APIService for it already. So
whoever wants a group to come first makes that APIService; here as there.
"""

from __future__ import annotations

from kaos_ext.cluster.apiserver.registry import USUAL_PRIORITY, Registry
from kaos_ext.cluster.apiserver.storage import Change, Storage


class Ranks:
    """Follows the APIServices that serve nothing themselves."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._registry = registry
        self._collection = storage.collection("apiregistration.k8s.io/apiservices")
        self._collection.listeners.append(self._follow)
        self._rank()

    def _follow(self, change: Change) -> None:
        self._rank()

    def _rank(self) -> None:
        found: dict[str, int] = {}
        for stored in self._collection.scan():
            spec = stored.object.get("spec") or {}
            group, minimum = spec.get("group") or "", spec.get("groupPriorityMinimum") or USUAL_PRIORITY
            if group and not spec.get("service"):
                found[group] = max(found.get(group, 0), minimum)
        self._registry.rank(found)
