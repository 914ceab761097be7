"""An API server in memory, faithful where a node depends on it: tokens of service accounts, graceful deletion of pods.

It knows no defaults, no validation and no controllers: those are tested elsewhere.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kaos_ext.kube.objects import PODS, Object, PatchType, Propagation, Resource, WatchType
from tests import fake_client
from tests.fake_client import refusal


class FakeClient(fake_client.FakeClient):
    def __init__(self) -> None:
        super().__init__()
        self.refuse_tokens = False
        self.tokens = 0
        self.status_patches: list[Object] = []

    def new_uid(self) -> str:
        return str(uuid.uuid4())

    async def wait(
        self, resource: Resource, name: str, namespace: str | None, until: Any, seconds: float = 10
    ) -> Object:
        """The object, once `until(object or None)` is true."""
        key = (resource, namespace or "", name)
        async with asyncio.timeout(seconds):
            while not until(self.objects.get(key)):
                await self.changed()
        return copy.deepcopy(self.objects.get(key) or {})

    def events(self, reason: str = "") -> list[Object]:
        found = [value for (resource, _, _), value in self.objects.items() if resource.plural == "events"]
        return [event for event in found if not reason or event["reason"] == reason]

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
                raise refusal(404, "NotFound", f'{resource.plural} "{name}" not found')
            self.tokens += 1
            expires = datetime.now(UTC) + timedelta(seconds=object["spec"]["expirationSeconds"])
            status = {"token": f"token-{self.tokens}", "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
            return {**object, "status": status}
        return await super().create(resource, object, namespace)

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
        if subresource == "status":
            assert isinstance(patch, dict)
            self.status_patches.append(copy.deepcopy(patch))
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
        object = copy.deepcopy(self.find(resource, name, namespace))
        if uid and object["metadata"]["uid"] != uid:
            raise refusal(404, "NotFound", f'{resource.plural} "{name}" not found')
        grace = (
            object.get("spec", {}).get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
        )
        if resource != PODS or not grace:
            return self.remove(resource, object)
        gone_at = (datetime.now(UTC) + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
        object["metadata"] |= {"deletionTimestamp": gone_at, "deletionGracePeriodSeconds": grace}
        self.store(WatchType.MODIFIED, resource, object)
        return copy.deepcopy(object)
