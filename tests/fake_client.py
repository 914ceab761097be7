"""What API servers in memory have in common, for tests of those who only know the Client protocol.

One growing resourceVersion; optimistic concurrency by `metadata.resourceVersion` and `metadata.uid` in a merge patch; a
write that changes nothing keeps the version and tells nobody; main and status parts apart; generation rises with the
spec; watches tell all changes after a version, in order, one loop turn later (so that the copies of those who watch do
lag behind). How things are admitted and how they end differs with who is tested: that is the subclasses'.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from kaos_ext.kube.objects import ApiError, Object, ObjectList, PatchType, Resource, WatchEvent, WatchType

Key = tuple[Resource, str, str]


def refusal(code: int, reason: str, message: str = "", *causes: str) -> ApiError:
    status: Object = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return ApiError({**status, "details": {"causes": [{"reason": cause} for cause in causes]}})


class FakeClient:
    """Everything of the Client protocol but `delete`."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.log: list[tuple[int, WatchType, Resource, Object]] = []
        self.revision = 0
        self._names = itertools.count(1)
        self._uids = itertools.count(1)
        self._news = asyncio.Event()

    # what tests use directly

    def all(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        return [
            copy.deepcopy(item)
            for (one, space, _), item in self.objects.items()
            if one == resource and namespace in (None, space)
        ]

    def put(self, resource: Resource, object: Object) -> Object:
        """Create without admission, status included."""
        object = copy.deepcopy(object)
        metadata = object["metadata"]
        if "generateName" in metadata and "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._names):05d}"
        object.setdefault("apiVersion", resource.api_version)
        object.setdefault("kind", resource.kind)
        metadata.setdefault("uid", self.new_uid())
        metadata.setdefault("creationTimestamp", now())
        metadata["generation"] = 1
        self.store(WatchType.ADDED, resource, object)
        return copy.deepcopy(object)

    def changed(self) -> Coroutine[Any, Any, bool]:
        """To be awaited: the next change of anything after this call."""
        return self._news.wait()

    # the Client protocol

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        await asyncio.sleep(0)
        return copy.deepcopy(self.find(resource, name, namespace))

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> ObjectList:
        await asyncio.sleep(0)
        items = [item for item in self.all(resource, namespace) if matches(item, fields, labels)]
        return ObjectList(items, str(self.revision))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        after = int(resource_version or 0)
        position = 0
        while True:
            while position < len(self.log):
                revision, type, one, object = self.log[position]
                position += 1
                if revision <= after or one != resource:
                    continue
                if namespace in (None, object["metadata"].get("namespace", "")) and matches(object, fields, labels):
                    await asyncio.sleep(0)
                    yield WatchEvent(type, copy.deepcopy(object))
            news = self._news
            await news.wait()

    async def create(
        self,
        resource: Resource,
        object: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        await asyncio.sleep(0)
        object = copy.deepcopy(object)
        metadata = object["metadata"]
        if resource.namespaced:
            metadata["namespace"] = namespace
        self.admit(resource, object)
        if (resource, namespace or "", metadata.get("name", "")) in self.objects:
            raise refusal(409, "AlreadyExists", f'{resource.plural} "{metadata["name"]}" already exists')
        return self.put(resource, object)

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
        assert type is PatchType.MERGE and isinstance(patch, dict)
        await asyncio.sleep(0)
        old = self.find(resource, name, namespace)
        wanted = patch.get("metadata") or {}
        for field in ("uid", "resourceVersion"):
            if wanted.get(field) not in (None, old["metadata"].get(field)):
                raise refusal(409, "Conflict", f"{field} does not match")
        new = _merge(copy.deepcopy(old), patch)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if subresource == "status":
            kept = copy.deepcopy(old)
            if annotations := new["metadata"].get("annotations"):
                kept["metadata"]["annotations"] = annotations
            new = {**kept, "status": new.get("status")}
        elif "status" in old:
            new["status"] = copy.deepcopy(old["status"])
        if new == old:
            return copy.deepcopy(old)
        if new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] += 1
        if self.may_go(new):
            return self.remove(resource, new)
        self.store(WatchType.MODIFIED, resource, new)
        return copy.deepcopy(new)

    # what subclasses see to

    def admit(self, resource: Resource, object: Object) -> None:
        """Refuse or prepare an object that is to be created."""

    def new_uid(self) -> str:
        return f"uid-{next(self._uids)}"

    def may_go(self, object: Object) -> bool:
        """Does a patched object end with the patch?"""
        return False

    # inside

    def find(self, resource: Resource, name: str, namespace: str | None) -> Object:
        found = self.objects.get((resource, namespace or "", name))
        if found is None:
            raise refusal(404, "NotFound", f'{resource.plural} "{name}" not found')
        return found

    def remove(self, resource: Resource, object: Object) -> Object:
        metadata = object["metadata"]
        del self.objects[resource, metadata.get("namespace") or "", metadata["name"]]
        self._tell(WatchType.DELETED, resource, object)
        return copy.deepcopy(object)

    def store(self, type: WatchType, resource: Resource, object: Object) -> None:
        metadata = object["metadata"]
        self._tell(type, resource, object)
        self.objects[resource, metadata.get("namespace") or "", metadata["name"]] = object

    def _tell(self, type: WatchType, resource: Resource, object: Object) -> None:
        self.revision += 1
        object["metadata"]["resourceVersion"] = str(self.revision)
        self.log.append((self.revision, type, resource, copy.deepcopy(object)))
        news, self._news = self._news, asyncio.Event()
        news.set()


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
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


def now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
