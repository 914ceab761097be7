"""An API server in memory, faithful where controllers depend on it.

One growing resourceVersion; optimistic concurrency by `metadata.resourceVersion` and `metadata.uid` in a merge patch; a
write that changes nothing keeps the version and tells nobody; main and status parts apart; generation rises with the
spec; graceful deletion of pods that run; finalizers and propagation; namespaces hold what ends; watches tell all
changes after a version, in order, one loop turn later (so that the copies of controllers do lag behind).
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from kaos_ext.kube.objects import (
    NAMESPACES,
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

Key = tuple[Resource, str, str]


def refusal(code: int, reason: str, message: str = "", *causes: str) -> ApiError:
    status: Object = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return ApiError({**status, "details": {"causes": [{"reason": cause} for cause in causes]}})


class FakeClient:
    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.log: list[tuple[int, WatchType, Resource, Object]] = []
        self.calls: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, Resource, Object], ApiError | None] = lambda verb, resource, object: None
        self._revision = 0
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
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", _now())
        metadata["generation"] = 1
        self._store(WatchType.ADDED, resource, object)
        return copy.deepcopy(object)

    def count(self, verb: str, plural: str) -> int:
        return sum(call[:2] == (verb, plural) for call in self.calls)

    # the Client protocol

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        await asyncio.sleep(0)
        return copy.deepcopy(self._find(resource, name, namespace))

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> ObjectList:
        assert not labels and not fields
        await asyncio.sleep(0)
        return ObjectList(self.all(resource, namespace), str(self._revision))

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncIterator[WatchEvent]:
        after = int(resource_version)
        position = 0
        while True:
            while position < len(self.log):
                revision, type, one, object = self.log[position]
                position += 1
                if revision > after and one == resource:
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
        self.calls.append(("create", subresource or resource.plural, name or object["metadata"].get("name", "")))
        await asyncio.sleep(0)
        if error := self.refuse("create", resource, object):
            raise error
        if subresource == "binding":
            assert name is not None
            pod = copy.deepcopy(self._find(resource, name, namespace))
            if pod["spec"].get("nodeName"):
                raise refusal(409, "Conflict", "pod is already assigned")
            pod["spec"]["nodeName"] = object["target"]["name"]
            self._store(WatchType.MODIFIED, resource, pod)
            return {"kind": "Status", "status": "Success"}
        object = copy.deepcopy(object)
        metadata = object["metadata"]
        if resource.namespaced:
            metadata["namespace"] = namespace
            space = self.objects.get((NAMESPACES, "", namespace or ""))
            if space is not None and space["metadata"].get("deletionTimestamp"):
                raise refusal(403, "Forbidden", "namespace is being terminated", "NamespaceTerminating")
        if (resource, namespace or "", metadata.get("name", "")) in self.objects:
            raise refusal(409, "AlreadyExists", f"{metadata['name']} already exists")
        object.pop("status", None)
        if resource == PODS:
            object["status"] = {"phase": "Pending"}
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
        self.calls.append(("patch", subresource or resource.plural, name))
        await asyncio.sleep(0)
        old = self._find(resource, name, namespace)
        if error := self.refuse("patch", resource, patch):
            raise error
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
        if self._may_go(new):
            return self._remove(resource, new)
        self._store(WatchType.MODIFIED, resource, new)
        return copy.deepcopy(new)

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
        self.calls.append(("delete", resource.plural, name))
        await asyncio.sleep(0)
        object = copy.deepcopy(self._find(resource, name, namespace))
        metadata = object["metadata"]
        if uid is not None and uid != metadata["uid"]:
            raise refusal(409, "Conflict", "uid does not match")
        finalizers = metadata.setdefault("finalizers", [])
        wanted = {Propagation.FOREGROUND: "foregroundDeletion", Propagation.ORPHAN: "orphan"}.get(
            propagation or Propagation.BACKGROUND
        )
        if wanted and wanted not in finalizers:
            finalizers.append(wanted)
        running = resource == PODS and bool(object["spec"].get("nodeName")) and grace_seconds != 0
        held = running or finalizers or resource == NAMESPACES
        if not held:
            self._remove(resource, object)
            return {"kind": "Status", "status": "Success", "details": {"uid": metadata["uid"]}}
        if metadata.get("deletionTimestamp") and not wanted:
            return object
        metadata.setdefault("deletionTimestamp", _now())
        self._store(WatchType.MODIFIED, resource, object)
        return copy.deepcopy(object)

    # inside

    def _find(self, resource: Resource, name: str, namespace: str | None) -> Object:
        found = self.objects.get((resource, namespace or "", name))
        if found is None:
            raise refusal(404, "NotFound", f'{resource.plural} "{name}" not found')
        return found

    def _may_go(self, object: Object) -> bool:
        metadata = object["metadata"]
        return bool(
            metadata.get("deletionTimestamp")
            and not metadata.get("finalizers")
            and not (object["kind"] == "Pod" and object["spec"].get("nodeName"))
            and not (object["kind"] == "Namespace" and object["spec"].get("finalizers"))
        )

    def _remove(self, resource: Resource, object: Object) -> Object:
        metadata = object["metadata"]
        del self.objects[resource, metadata.get("namespace") or "", metadata["name"]]
        self._tell(WatchType.DELETED, resource, object)
        return copy.deepcopy(object)

    def _store(self, type: WatchType, resource: Resource, object: Object) -> None:
        metadata = object["metadata"]
        self._tell(type, resource, object)
        self.objects[resource, metadata.get("namespace") or "", metadata["name"]] = object

    def _tell(self, type: WatchType, resource: Resource, object: Object) -> None:
        self._revision += 1
        object["metadata"]["resourceVersion"] = str(self._revision)
        self.log.append((self._revision, type, resource, copy.deepcopy(object)))
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


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
