"""Quotas enforced: a write that would take a namespace over what it may have is refused.

What is used is counted from the objects there are; writes into a namespace with quotas wait for each other, so that two
of them cannot both take the last place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.quota.usage import (
    Usage,
    amount,
    collection_of,
    counts,
    is_over,
    unnamed,
    usage_of,
    written,
)
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import Object


class Quotas:
    """The quotas of one server."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._quotas = storage.collection("/resourcequotas")
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """One write at a time into a namespace that has quotas; nobody waits elsewhere."""
        if not namespace or not self._quotas.count or not self._quotas.scan(namespace):
            yield
            return
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            yield

    def used(self, quota: Object) -> Usage:
        """What the objects of its namespace count for in a quota."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        namespace = quota["metadata"]["namespace"]
        total: Counter[str] = Counter()
        for storage in {collection_of(resource) for resource in hard}:
            if storage is None:
                continue
            for stored in self._storage.collection(storage).scan(namespace):
                if counts(quota, storage, stored.object):
                    total.update(usage_of(storage, stored.object))
        return {resource: Fraction(total.get(resource, 0)) for resource in hard}

    def check(self, served: Served, namespace: str, name: str, new: Object, old: Object | None) -> None:
        """Raise the refusal, if this write takes more than is left."""
        if not namespace or not self._quotas.count or served.storage == "/events":
            return
        for stored in self._quotas.scan(namespace):
            self._check(stored.object, served, name, new, old)

    def _check(self, quota: Object, served: Served, name: str, new: Object, old: Object | None) -> None:
        hard = (quota.get("spec") or {}).get("hard") or {}
        if not counts(quota, served.storage, new):
            return
        title = quota["metadata"]["name"]
        if served.storage == "/pods" and old is None and not is_over(new):
            silent = unnamed(hard, new)
            if silent:
                words = "; ".join(f"{resource} for: {','.join(names)}" for resource, names in silent.items())
                raise failures.forbidden(served, name, f"failed quota: {title}: must specify {words}")
        before = usage_of(served.storage, old) if old is not None and counts(quota, served.storage, old) else {}
        after = usage_of(served.storage, new)
        asked = {
            resource: after[resource] - before.get(resource, Fraction(0))
            for resource in hard
            if after.get(resource, Fraction(0)) > before.get(resource, Fraction(0))
        }
        if not asked:
            return
        used = self.used(quota)
        over = sorted(one for one in asked if used[one] + asked[one] > amount(hard[one]))
        if over:
            parts = (
                ("requested", {one: written(asked[one], one) for one in over}),
                ("used", {one: written(used[one], one) for one in over}),
                ("limited", {one: str(hard[one]) for one in over}),
            )
            words = ", ".join(f"{part}: " + ",".join(f"{k}={v}" for k, v in sizes.items()) for part, sizes in parts)
            raise failures.forbidden(served, name, f"exceeded quota: {title}, {words}")
