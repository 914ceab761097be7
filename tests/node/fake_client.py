"""A small API server in memory that keeps the Client protocol: resourceVersions, watches with history, conditional
patches, graceful pod deletion. It knows no defaults, no validation and no controllers: those are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kaos_ext.kube.objects import (
    PODS,
    ApiError,
    Object,
    ObjectList,
    PatchType,
    Propagation,
    Resource,
    WatchEvent,
    WatchType,
)


def refusal(code: int, reason: str, message: str) -> ApiError:
    return ApiError({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message})


def not_found(resource: Resource, name: str) -> ApiError:
    return refusal(404, "NotFound", f'{resource.plural} "{name}" not found')


def merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _field(object: Object, path: str) -> str:
    value: Any = object
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else str(value)


def matches(object: Object, fields: str, labels: str) -> bool:
    own = object["metadata"].get("labels") or {}
    return all(
        _field(object, path) == value for path, _, value in (term.partition("=") for term in fields.split(",") if term)
    ) and all(own.get(key) == value for key, _, value in (term.partition("=") for term in labels.split(",") if term))


class FakeClient:
    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self._history: list[tuple[int, str, WatchType, Object]] = []
        self._versions = itertools.count(1)
        self._version = 0
        self.news = asyncio.Condition()
        self.refuse_tokens = False
        self.tokens = 0
        self.status_patches: list[Object] = []

    # -- what tests do directly ----------------------------------------------------------------------------------

    async def wait(
        self, resource: Resource, name: str, namespace: str | None, until: Any, seconds: float = 10
    ) -> Object:
        """The object, once `until(object or None)` is true."""
        key = (resource.plural, namespace or "", name)
        async with asyncio.timeout(seconds), self.news:
            await self.news.wait_for(lambda: until(self.objects.get(key)))
        return copy.deepcopy(self.objects.get(key) or {})

    def events(self, reason: str = "") -> list[Object]:
        found = [value for key, value in self.objects.items() if key[0] == "events"]
        return [event for event in found if not reason or event["reason"] == reason]

    async def _record(self, resource: Resource, type_: WatchType, object: Object) -> Object:
        self._version = next(self._versions)
        object["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, resource.plural, type_, copy.deepcopy(object)))
        async with self.news:
            self.news.notify_all()
        return copy.deepcopy(object)

    # -- the protocol --------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        found = self.objects.get((resource.plural, namespace or "", name))
        if found is None:
            raise not_found(resource, name)
        return copy.deepcopy(found)

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> ObjectList:
        items = [
            copy.deepcopy(value)
            for (plural, where, _), value in self.objects.items()
            if plural == resource.plural and namespace in (None, where) and matches(value, fields, labels)
        ]
        return ObjectList(items, str(self._version))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        at = int(resource_version or 0)
        while True:
            for version, plural, type_, object in list(self._history):
                if version <= at or plural != resource.plural:
                    continue
                if namespace in (None, object["metadata"].get("namespace", "")) and matches(object, fields, labels):
                    yield WatchEvent(type_, copy.deepcopy(object))
            at = max(at, self._history[-1][0] if self._history else 0)
            async with self.news:
                await self.news.wait_for(lambda at=at: self._version > at)

    async def create(
        self,
        resource: Resource,
        object: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        if subresource == "token":
            if self.refuse_tokens:
                raise not_found(resource, name or "")
            self.tokens += 1
            expires = datetime.now(UTC) + timedelta(seconds=object["spec"]["expirationSeconds"])
            status = {"token": f"token-{self.tokens}", "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
            return {**object, "status": status}
        object = copy.deepcopy(object)
        metadata = object["metadata"]
        if namespace:
            metadata["namespace"] = namespace
        key = (resource.plural, namespace or "", metadata["name"])
        if key in self.objects:
            raise refusal(409, "AlreadyExists", f'{resource.plural} "{metadata["name"]}" already exists')
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.objects[key] = object
        return await self._record(resource, WatchType.ADDED, object)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Object | Sequence[dict[str, Any]],
        namespace: str | None = None,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        key = (resource.plural, namespace or "", name)
        before = self.objects.get(key)
        if before is None:
            raise not_found(resource, name)
        assert isinstance(patch, dict)
        patch = copy.deepcopy(patch)
        for precondition in ("uid", "resourceVersion"):
            wanted = patch.get("metadata", {}).pop(precondition, None)
            if wanted is not None and wanted != before["metadata"][precondition]:
                raise refusal(409, "Conflict", f"precondition failed: {precondition}")
        if subresource == "status":
            self.status_patches.append(patch)
            after = {**before, "status": merge(before.get("status") or {}, patch["status"])}
        else:
            after = merge(before, {**patch, "status": before.get("status")})
        if after == before:
            return copy.deepcopy(before)
        after["metadata"] = dict(after["metadata"])
        self.objects[key] = after
        return await self._record(resource, WatchType.MODIFIED, after)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        key = (resource.plural, namespace or "", name)
        object = self.objects.get(key)
        if object is None or (uid and object["metadata"]["uid"] != uid):
            raise not_found(resource, name)
        grace = (
            object.get("spec", {}).get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
        )
        if resource == PODS and grace:
            gone_at = (datetime.now(UTC) + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
            object = copy.deepcopy(object)
            object["metadata"] |= {"deletionTimestamp": gone_at, "deletionGracePeriodSeconds": grace}
            self.objects[key] = object
            return await self._record(resource, WatchType.MODIFIED, object)
        del self.objects[key]
        return await self._record(resource, WatchType.DELETED, copy.deepcopy(object))
