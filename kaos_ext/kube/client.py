"""A client of any Kubernetes API server: exact objects in, exact objects out, refusals as `ApiError`.

    kube = await KubeClient.connect()            the current context, like kubectl
    await kube.apply(object)                     server-side apply
    async for event in kube.follow(PODS, "ns")   list, then changes, resumed by itself
    await kube.service_request("GET", "agent-x", 8000, "/health")

It conforms to `kaos_ext.cluster.client.Client`. Objects stay plain JSON: no models that know fewer fields than the
server. A namespace left out means the default one of the context for one object, and all of them for a list or a watch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from kaos_ext.kube.connection import JSON_TYPE, Connection, Read, status_of
from kaos_ext.kube.discovery import Kinds, resources_of
from kaos_ext.kube.following import Following
from kaos_ext.kube.kubeconfig import Endpoint, endpoint
from kaos_ext.kube.objects import (
    ApiError,
    Object,
    ObjectList,
    PatchType,
    Propagation,
    Resource,
    WatchEvent,
    WatchType,
    is_expired,
)
from kaos_ext.kube.transport import AioTransport, Request, Response, Transport, Unanswered
from kaos_ext.model.errors import NotReadyError, UnreachableError

MANAGER = "kaos"
WATCH_SECONDS = 290


class KubeClient(Connection):
    """One endpoint, one connection pool; `namespace` is the default of every call that names none."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        super().__init__(endpoint, transport)
        self._kinds = Kinds()

    @classmethod
    async def connect(
        cls, context: str | None = None, kubeconfig: str | None = None, namespace: str | None = None
    ) -> KubeClient:
        """A client of a context. Nothing is sent yet."""
        found = endpoint(context, kubeconfig)
        if found.plugin:
            from kaos_ext.kube.plugins import resolve

            found = await resolve(found)
        return cls(replace(found, namespace=namespace or found.namespace), AioTransport(found))

    # -- objects ---------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._object("GET", self._path(resource, namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> ObjectList:
        """All objects of one namespace, or of all."""
        path = resource.path(namespace)
        items: list[Object] = []
        params = _given(labelSelector=labels, fieldSelector=fields, limit="500")
        while True:
            page = await self._call("GET", path, params)
            items += [_whole(item, page) for item in page.get("items") or []]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return ObjectList(items, str(metadata.get("resourceVersion") or ""))
            params = {**params, "continue": str(metadata["continue"])}

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version` until the server ends the watch; `follow` goes on after that."""
        path = resource.path(namespace)
        params = _given(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=labels,
            fieldSelector=fields,
            timeoutSeconds=str(WATCH_SECONDS),
        )
        response = await self._open(Request("GET", path, params=params, timeout=None))
        async with aclosing(self._lines(response)) as lines:
            async for line in lines:
                if not line:
                    continue
                record = json.loads(line)
                if record["type"] == "ERROR":
                    raise ApiError(record["object"])
                yield WatchEvent(WatchType(record["type"]), record["object"])

    async def create(
        self,
        resource: Resource,
        object: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        place = namespace or (object.get("metadata") or {}).get("namespace")
        return await self._object("POST", self._path(resource, place, name, subresource), body=object)

    async def replace(
        self, resource: Resource, object: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """PUT; a `metadata.resourceVersion` in the object makes it conditional."""
        metadata = object["metadata"]
        path = self._path(resource, namespace or metadata.get("namespace"), metadata["name"], subresource)
        return await self._object("PUT", path, body=object)

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
        dry_run: bool = False,
        strict: bool = False,
    ) -> Object:
        params = _given(
            fieldManager=field_manager or MANAGER,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
            fieldValidation="Strict" if strict else "",
        )
        path = self._path(resource, namespace, name, subresource)
        return await self._object("PATCH", path, params, body=patch, content_type=type.value)

    async def apply(
        self,
        object: Object,
        *,
        resource: Resource | None = None,
        namespace: str | None = None,
        field_manager: str = MANAGER,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply of any kind: our fields become so, others' stay; unknown fields are refused."""
        if resource is None:
            resource = await self.resource_of(str(object.get("apiVersion", "")), str(object.get("kind", "")))
        metadata = object.get("metadata") or {}
        place = (metadata.get("namespace") or namespace or self.namespace) if resource.namespaced else None
        return await self.patch(
            resource,
            str(metadata["name"]),
            object,
            place,
            type=PatchType.APPLY,
            field_manager=field_manager,
            force=force,
            dry_run=dry_run,
            strict=True,
        )

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
        preconditions = _given(uid=uid or "", resourceVersion=resource_version or "")
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation is not None:
            options["propagationPolicy"] = propagation.value
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if preconditions:
            options["preconditions"] = preconditions
        return await self._object("DELETE", self._path(resource, namespace, name), body=options)

    async def resource_of(self, api_version: str, kind: str) -> Resource:
        """The collection of a kind, as the server's discovery names it; KindUnknown (a NotFoundError) otherwise."""
        found = self._kinds.find(api_version, kind)
        if found is None:
            try:
                prefix = "/apis" if "/" in api_version else "/api"
                listing = await self._call("GET", f"{prefix}/{quote(api_version)}")
            except ApiError as error:
                if error.code != 404:
                    raise
                raise self._kinds.unknown(api_version, kind) from error
            self._kinds.learn(api_version, resources_of(listing))
            found = self._kinds.find(api_version, kind)
        if found is None:
            raise self._kinds.unknown(api_version, kind)
        return found

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def follow(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        after: ObjectList | None = None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Everything there is as ADDED (what is not in the list `after`), then every change, for ever.

        Ended watches, expired versions and lost connections are gone on from, without gap and without double.
        """
        standing = Following()
        if after is not None:
            standing.listed(after)
        scope = {"labels": labels, "fields": fields}
        while True:
            try:
                if standing.resource_version is None:
                    for event in standing.listed(await self.list(resource, namespace, **scope)):
                        yield event
                version, quiet = standing.resource_version or "", True
                async with aclosing(self.watch(resource, namespace, resource_version=version, **scope)) as changes:
                    async for change in changes:
                        quiet = False
                        passed = standing.received(change)
                        if passed is not None:
                            yield passed
                if quiet:
                    # A server that ends every watch at once must not be asked in a circle.
                    await asyncio.sleep(standing.failed())
            except ApiError as error:
                if not is_expired(error):
                    raise
                standing.expired()
            except UnreachableError:
                if not standing.known and standing.resource_version is None:
                    raise
                await asyncio.sleep(standing.failed())

    async def wait(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        predicate: Callable[[Object | None], bool],
        timeout: float,  # noqa: ASYNC109 - patience is the caller's, and the error says it
        *,
        on_change: Callable[[Object | None], None] | None = None,
    ) -> Object | None:
        """Until `predicate` says so of the object (None while it does not exist); NotReadyError after `timeout`."""
        place, selector = namespace or self.namespace, f"metadata.name={name}"

        def enough(item: Object | None) -> bool:
            if on_change:
                on_change(item)
            return predicate(item)

        try:
            async with asyncio.timeout(timeout):
                # The watch begins where this list ends: what happens between two requests is not missed.
                now = await self.list(resource, place, fields=selector)
                seen = now.items[0] if now.items else None
                if enough(seen):
                    return seen
                async with aclosing(self.follow(resource, place, fields=selector, after=now)) as changes:
                    async for change in changes:
                        seen = None if change.type is WatchType.DELETED else change.object
                        if enough(seen):
                            return seen
        except TimeoutError:
            raise NotReadyError(f"{resource.kind} {name} did not get there within {timeout:g} s") from None
        raise NotReadyError(f"{resource.kind} {name}: the server stopped answering")

    # -- pods and services -----------------------------------------------------------------------------------------

    async def logs(
        self,
        pod: str,
        namespace: str | None = None,
        *,
        container: str = "",
        follow: bool = False,
        tail: int | None = None,
        previous: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Lines of a container, as they come with `follow`."""
        params = _given(
            container=container,
            follow="true" if follow else "",
            previous="true" if previous else "",
            tailLines="" if tail is None else str(tail),
        )
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods/{pod}/log"
        response = await self._open(Request("GET", path, params=params, timeout=None))
        async with aclosing(self._lines(response)) as lines:
            async for line in lines:
                yield line

    def service_url(self, service: str, port: int | str, namespace: str | None = None) -> str:
        """Where a service is for us: its name inside the cluster, the API server's proxy from anywhere else."""
        place = namespace or self.namespace
        if self.endpoint.inside:
            return f"http://{service}.{place}.svc.cluster.local:{port}"
        return f"{self.server}{_proxy(service, port, place)}"

    async def service_request(
        self,
        method: str,
        service: str,
        port: int | str,
        path: str = "/",
        *,
        namespace: str | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: float | None = 60.0,  # noqa: ASYNC109
    ) -> Response:
        """Ask a service. The response is open: read it, or take its chunks as they come. What the API server itself
        refuses is an ApiError; what the service answers is the caller's to judge."""
        place = namespace or self.namespace
        inside = self.endpoint.inside
        sent = {"Accept": f"{JSON_TYPE}, text/event-stream", **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", JSON_TYPE)
        request = Request(
            method,
            path="" if inside else _proxy(service, port, place) + path,
            url=self.service_url(service, port, place) + path if inside else "",
            params=params or {},
            headers=sent,
            body=None if body is None else json.dumps(body).encode(),
            timeout=timeout,
        )
        try:
            response = await self._transport.send(request)
        except Unanswered as error:
            if inside:
                raise UnreachableError(f"service {service} in {place} does not answer: {error}") from error
            raise self._unreachable(error) from error
        if response.status >= 400 and JSON_TYPE in response.headers.get("Content-Type", ""):
            text = await response.read()
            status = status_of(text)
            if status is not None:
                raise ApiError(status)
            return Read(response.status, response.headers, text)
        return response

    async def raw(self, path: str) -> Any:
        """The JSON of any path of the server (`/version`)."""
        return await self._call("GET", path)

    def _path(
        self, resource: Resource, namespace: str | None, name: str | None = None, subresource: str | None = None
    ) -> str:
        return quote(resource.path((namespace or self.namespace) if resource.namespaced else None, name, subresource))


def _proxy(service: str, port: int | str, namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"


def _given(**params: str) -> dict[str, str]:
    return {key: value for key, value in params.items() if value}


def _whole(item: Object, page: Object) -> Object:
    """Items of a list leave out what the list says once."""
    kind = str(page.get("kind", "")).removesuffix("List")
    return {"apiVersion": page.get("apiVersion", ""), "kind": kind, **item}
