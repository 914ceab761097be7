"""An API server in memory behind the transport's seam: enough of one for what clients of it decide."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.kubeconfig import Endpoint
from kaos_ext.kube.objects import Object
from kaos_ext.kube.transport import Request

ENDPOINT = Endpoint(server="https://127.0.0.1:6443", context="kaos-default", namespace="here")
KINDS = {
    "v1": [("namespaces", "Namespace", False), ("pods", "Pod", True), ("configmaps", "ConfigMap", True),
           ("serviceaccounts", "ServiceAccount", True), ("events", "Event", True), ("secrets", "Secret", True)],
    "apps/v1": [("deployments", "Deployment", True)],
    "rbac.authorization.k8s.io/v1": [("roles", "Role", True), ("rolebindings", "RoleBinding", True),
                                     ("clusterroles", "ClusterRole", False),
                                     ("clusterrolebindings", "ClusterRoleBinding", False)],
    "apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition", False)],
    "apiregistration.k8s.io/v1": [("apiservices", "APIService", False)],
    "kaos.tools/v1alpha1": [("agents", "Agent", True), ("modelapis", "ModelAPI", True),
                            ("mcpservers", "MCPServer", True)],
}  # fmt: skip


class FakeResponse:
    def __init__(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"Content-Type": content_type}
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body

    def close(self) -> None:
        """Nothing is open."""


class StreamResponse(FakeResponse):
    """Pieces as a generator gives them."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], content_type: str = "application/json") -> None:
        super().__init__(200, b"", content_type)
        self._pieces = pieces

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._pieces:
            yield piece


def status(code: int, reason: str, message: str, **details: Any) -> FakeResponse:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": message, "details": details}  # fmt: skip
    return FakeResponse(code, json.dumps(body).encode())


Service = Callable[[Request, str], Awaitable[FakeResponse]]


@dataclass
class FakeCluster:
    """`objects` by path; `services` answer behind the proxy; `requests` is everything that was asked."""

    installed: bool = True
    objects: dict[str, Object] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refuse: Callable[[Request], FakeResponse | None] = lambda request: None
    on_write: Callable[[str, Object], None] = lambda path, item: None
    closed: bool = False
    version: int = 100
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _log: list[tuple[int, str, str, Object]] = field(default_factory=list)

    def client(self, **changes: Any) -> KubeClient:
        from dataclasses import replace

        return KubeClient(replace(ENDPOINT, **changes), self)

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.method not in ("GET", "HEAD")]

    def put(self, path: str, item: Object, kind: str = "MODIFIED") -> Object:
        """Store an object as the server's own controllers would, and tell the watches."""
        self.version += 1
        known = path in self.objects
        stored = json.loads(json.dumps(item))
        metadata = stored.setdefault("metadata", {})
        metadata.setdefault("uid", f"uid-{path}")
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("creationTimestamp", "2026-11-21T12:00:00Z")
        self.objects[path] = stored
        self._tell(kind if known else "ADDED", path, stored)
        return stored

    def remove(self, path: str) -> Object:
        item = self.objects.pop(path)
        self.version += 1
        self._tell("DELETED", path, {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}})
        return item

    def _tell(self, kind: str, path: str, item: Object) -> None:
        self._log.append((self.version, kind, path, item))
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        self.closed = True

    async def send(self, request: Request) -> FakeResponse:
        self.requests.append(request)
        refused = self.refuse(request)
        if refused is not None:
            return refused
        path = unquote(request.path)
        if "/proxy" in path:
            return await self._proxy(request, path)
        if path == "/version":
            return FakeResponse(200, b'{"gitVersion": "v1.36.0"}')
        group = path.removeprefix("/apis/").removeprefix("/api/")
        if group in KINDS:
            return self._discovery(group)
        if path.startswith("/apis/kaos.tools") and not self.installed:
            return status(404, "NotFound", "the server could not find the requested resource")
        return await self._object(request, path)

    def _discovery(self, group: str) -> FakeResponse:
        if group.startswith("kaos.tools") and not self.installed:
            return status(404, "NotFound", "the server could not find the requested resource")
        found = [{"name": name, "kind": kind, "namespaced": spaced} for name, kind, spaced in KINDS[group]]
        body = {"kind": "APIResourceList", "groupVersion": group, "resources": found}
        return FakeResponse(200, json.dumps(body).encode())

    async def _proxy(self, request: Request, path: str) -> FakeResponse:
        head, _, rest = path.partition("/proxy")
        name = head.rpartition("/")[2].partition(":")[0]
        if name not in self.services:
            return status(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
        return await self.services[name](request, rest)

    async def _object(self, request: Request, path: str) -> FakeResponse:
        known = self.objects.get(path)
        if request.method == "PATCH":
            return self._patch(request, path, known)
        if request.method == "DELETE":
            if known is None:
                return self._missing(path)
            return _ok(self.remove(path))
        if request.method == "POST":
            item = json.loads(request.body or b"{}")
            return _ok(self.put(f"{path}/{item['metadata']['name']}", item))
        if path.rpartition("/")[2] in {name for kinds in KINDS.values() for name, _, _ in kinds}:
            if request.params.get("watch"):
                return StreamResponse(self._watch(request, path))
            items = [item for _, item in self._matching(request, path)]
            body = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": str(self.version)}}
            return _ok({**body, "items": items})
        return _ok(known) if known is not None else self._missing(path)

    def _matching(self, request: Request, path: str) -> list[tuple[str, Object]]:
        return [(key, item) for key, item in self.objects.items() if _inside(key, path) and _selected(request, item)]

    async def _watch(self, request: Request, path: str) -> AsyncGenerator[bytes, None]:
        after = int(request.params.get("resourceVersion") or 0)
        while True:
            changed = self._changed
            for version, kind, key, item in list(self._log):
                if version > after and _inside(key, path) and _selected(request, item):
                    yield json.dumps({"type": kind, "object": item}).encode() + b"\n"
            after = max([after, *(version for version, *_ in self._log)])
            await changed.wait()

    def _patch(self, request: Request, path: str, known: Object | None) -> FakeResponse:
        patch = json.loads(request.body or b"{}")
        apply = request.headers.get("Content-Type") == "application/apply-patch+yaml"
        if known is None and not apply:
            return self._missing(path)
        item = _merged(known or {}, patch)
        if request.params.get("dryRun"):
            return _ok(item)
        item["metadata"]["generation"] = item["metadata"].get("generation", 0) + 1
        stored = self.put(path, item)
        self.on_write(path, stored)
        return _ok(stored)

    def _missing(self, path: str) -> FakeResponse:
        kind, _, name = path.rpartition("/")
        plural = kind.rpartition("/")[2]
        return status(404, "NotFound", f'{plural} "{name}" not found', name=name, kind=plural)


def _ok(item: Object) -> FakeResponse:
    return FakeResponse(200, json.dumps(item).encode())


def _inside(key: str, path: str) -> bool:
    """Is the object of `key` in the collection `path` (of one namespace, or of all)?"""
    head, plural = path.rsplit("/", 1)
    folder = key.rpartition("/")[0]
    return folder == path or (folder.startswith(f"{head}/namespaces/") and folder.endswith(f"/{plural}"))


def _selected(request: Request, item: Object) -> bool:
    fields = request.params.get("fieldSelector", "")
    if fields.startswith("metadata.name=") and item["metadata"]["name"] != fields.partition("=")[2]:
        return False
    labels = item["metadata"].get("labels") or {}
    wanted = [pair.split("=") for pair in request.params.get("labelSelector", "").split(",") if pair]
    return all(labels.get(key) == value for key, value in wanted)


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    return {**old, **{key: _merged(old.get(key), value) for key, value in patch.items()}}
