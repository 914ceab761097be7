"""An API server in memory, faithful where controllers depend on it.

Graceful deletion of pods that run; finalizers and propagation; namespaces hold what ends; every call is noted, and may
be refused.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import Any

from kaos_ext.kube.objects import NAMESPACES, PODS, ApiError, Object, PatchType, Propagation, Resource, WatchType
from tests import fake_client
from tests.fake_client import now, refusal


class FakeClient(fake_client.FakeClient):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str, Resource, Object], ApiError | None] = lambda verb, resource, object: None

    def count(self, verb: str, plural: str) -> int:
        return sum(call[:2] == (verb, plural) for call in self.calls)

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
        if subresource != "binding":
            return await super().create(resource, object, namespace)
        await asyncio.sleep(0)
        if error := self.refuse("create", resource, object):
            raise error
        assert name is not None
        pod = copy.deepcopy(self.find(resource, name, namespace))
        if pod["spec"].get("nodeName"):
            raise refusal(409, "Conflict", "pod is already assigned")
        pod["spec"]["nodeName"] = object["target"]["name"]
        self.store(WatchType.MODIFIED, resource, pod)
        return {"kind": "Status", "status": "Success"}

    def admit(self, resource: Resource, object: Object) -> None:
        if error := self.refuse("create", resource, object):
            raise error
        space = self.objects.get((NAMESPACES, "", object["metadata"].get("namespace") or ""))
        if space is not None and space["metadata"].get("deletionTimestamp"):
            raise refusal(403, "Forbidden", "namespace is being terminated", "NamespaceTerminating")
        object.pop("status", None)
        if resource == PODS:
            object["status"] = {"phase": "Pending"}

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
        self.calls.append(("patch", subresource or resource.plural, name))
        self.find(resource, name, namespace)
        assert isinstance(patch, dict)
        if error := self.refuse("patch", resource, patch):
            raise error
        return await super().patch(resource, name, patch, namespace, type=type, subresource=subresource)

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
        object = copy.deepcopy(self.find(resource, name, namespace))
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
            self.remove(resource, object)
            return {"kind": "Status", "status": "Success", "details": {"uid": metadata["uid"]}}
        if metadata.get("deletionTimestamp") and not wanted:
            return object
        metadata.setdefault("deletionTimestamp", now())
        self.store(WatchType.MODIFIED, resource, object)
        return copy.deepcopy(object)

    def may_go(self, object: Object) -> bool:
        metadata = object["metadata"]
        return bool(
            metadata.get("deletionTimestamp")
            and not metadata.get("finalizers")
            and not (object["kind"] == "Pod" and object["spec"].get("nodeName"))
            and not (object["kind"] == "Namespace" and object["spec"].get("finalizers"))
        )
