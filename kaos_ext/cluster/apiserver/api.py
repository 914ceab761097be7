"""The API itself, without a wire: every verb on every resource, for HTTP handlers and in-process clients alike."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver import failures, patching, pods, rules, scale
from kaos_ext.cluster.apiserver.admission import Admission
from kaos_ext.cluster.apiserver.deletion import Deletion
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import DeleteOptions, ListOptions, WriteOptions
from kaos_ext.cluster.apiserver.patching import Apply, maker, patch_type
from kaos_ext.cluster.apiserver.reads import Page, Reader, Scope, scope_of
from kaos_ext.cluster.apiserver.registry import Registry, Served
from kaos_ext.cluster.apiserver.resources import WITHOUT_STORE
from kaos_ext.cluster.apiserver.reviews import Reviews
from kaos_ext.cluster.apiserver.storage import Storage, Stored, encode
from kaos_ext.cluster.apiserver.token_requests import TokenRequests
from kaos_ext.cluster.apiserver.watch import Watch
from kaos_ext.kube.objects import ApiError, Object, PatchType

UPDATABLE = frozenset({"", "status", "scale", "finalize", "ephemeralcontainers", "approval"})


_BODIES = {
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
    "scale": ("autoscaling", "v1", "Scale"),
}


class Api:
    """Verbs over one server's parts."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        admission: Admission,
        operations: Operations,
        deletion: Deletion,
        reviews: Reviews,
        token_requests: TokenRequests,
    ) -> None:
        self.storage = storage
        self.registry = registry
        self.reader = Reader(storage)
        self._admission = admission
        self._operations = operations
        self._deletion = deletion
        self._reviews = reviews
        self._token_requests = token_requests

    def get(
        self, served: Served, namespace: str, name: str, subresource: str = "", resource_version: str = ""
    ) -> Stored:
        if subresource not in ("", "status", "scale", "ephemeralcontainers", "approval") or (
            subresource and not served.has(subresource)
        ):
            raise failures.method_not_allowed() if served.has(subresource) else failures.no_such_resource()
        stored = self.reader.get(served, namespace, name, resource_version)
        return _plain(scale.scale_of(served, stored.object)) if subresource == "scale" else stored

    def scope(self, served: Served, namespace: str | None, options: ListOptions) -> Scope:
        return scope_of(served, namespace, options.labels, options.fields)

    def watch(self, scope: Scope, options: ListOptions) -> Watch:
        return Watch(self.storage, scope, options)

    async def create(self, served: Served, namespace: str, body: Object, options: WriteOptions) -> Stored:
        if served.plural in WITHOUT_STORE and not served.custom:
            return _plain(await self._ask(served, namespace, body, options))
        return await self._operations.create(served, namespace, body, options)

    async def _ask(self, served: Served, namespace: str, body: Object, options: WriteOptions) -> Object:
        if served.plural == "bindings":
            pod_resource = self.registry.find("", "v1", "pods")
            assert pod_resource is not None
            name = (rules.read(_BODIES["binding"], body).get("metadata") or {}).get("name") or ""
            await self.create_below(pod_resource, namespace, name, "binding", body, options)
            return pods.success()
        body = rules.read(rules.gvk(served), body)
        answered = self._reviews.answer(served, body, options.user, namespace)
        if body.get("spec") and served.kind != "SelfSubjectRulesReview":
            asked = {"metadata": {}, "spec": body["spec"]}
            answered["metadata"]["managedFields"] = rules.managed_fields(served, None, asked, options.manager, "")
        return answered

    async def create_below(
        self, served: Served, namespace: str, name: str, subresource: str, body: Object, options: WriteOptions
    ) -> Object:
        """POST to a subresource."""
        if subresource in _BODIES:
            body = rules.read(_BODIES[subresource], body)
        if subresource == "binding":
            make = pods.binding(served, name, body)
            await self._operations.update(served, namespace, name, make, options, subresource="binding")
            return pods.success()
        if subresource == "eviction":
            if (body.get("metadata") or {}).get("name") not in (None, "", name):
                raise failures.bad_request("name in URL does not match name in Eviction object")
            given = body.get("deleteOptions") or {}
            wanted = DeleteOptions(
                grace_seconds=given.get("gracePeriodSeconds"),
                uid=(given.get("preconditions") or {}).get("uid"),
                resource_version=(given.get("preconditions") or {}).get("resourceVersion"),
                dry_run=options.dry_run or bool(given.get("dryRun")),
                user=options.user,
            )
            await self._deletion.delete(served, namespace, name, wanted)
            return pods.success()
        if subresource == "token":
            return self._token_requests.answer(namespace, name, body, options.manager)
        if subresource == "finalize":
            stored, _ = await self.replace(served, namespace, name, body, options, subresource)
            return stored.object
        raise failures.method_not_allowed()

    async def replace(
        self, served: Served, namespace: str, name: str, body: Object, options: WriteOptions, subresource: str = ""
    ) -> tuple[Stored, bool]:
        """PUT; whether it created the object."""
        if subresource not in UPDATABLE:
            raise failures.method_not_allowed()
        if subresource == "scale":
            body = rules.read(_BODIES["scale"], body)

            def put(object: Object) -> Object:
                return scale.scaled(served, object, body)

            stored, _ = await self._operations.update(served, namespace, name, put, options, subresource="scale")
            return _plain(scale.scale_of(served, stored.object)), False

        return await self._operations.update(
            served, namespace, name, lambda _: copied(body), options, subresource=subresource, replace=True
        )

    async def patch(
        self,
        served: Served,
        namespace: str,
        name: str,
        patch: Any,
        content_type: str,
        options: WriteOptions,
        subresource: str = "",
    ) -> tuple[Stored, bool]:
        """PATCH with an already parsed patch; whether it created the object (only apply can)."""
        if subresource not in UPDATABLE:
            raise failures.method_not_allowed()
        kind = patch_type(served, content_type)
        patching.check_options(kind, options)
        if subresource == "scale":
            return await self._patch_scale(served, namespace, name, patch, kind, options)
        if kind is PatchType.APPLY:
            apply = Apply(served, patch, name, options, subresource)
            return await self._operations.update(
                served,
                namespace,
                name,
                apply.make,
                options,
                subresource=subresource,
                managed=True,
                absent=None if subresource else apply.absent,
            )
        make = maker(served, kind, patch, options)
        return await self._operations.update(served, namespace, name, make, options, subresource=subresource)

    async def _patch_scale(
        self, served: Served, namespace: str, name: str, patch: Any, kind: PatchType, options: WriteOptions
    ) -> tuple[Stored, bool]:
        if kind is PatchType.APPLY:
            applied = Apply(served, scale.applied(served, name, patch), name, options, "scale")
            stored, _ = await self._operations.update(
                served, namespace, name, applied.make, options, subresource="scale", managed=True
            )
            return _plain(scale.scale_of(served, stored.object)), False

        def make(object: Object) -> Object:
            present = scale.scale_of(served, object)
            wanted = patching.patched(served, PatchType.MERGE if kind is PatchType.STRATEGIC else kind, present, patch)
            return scale.scaled(served, object, rules.read(_BODIES["scale"], wanted))

        stored, _ = await self._operations.update(served, namespace, name, make, options, subresource="scale")
        return _plain(scale.scale_of(served, stored.object)), False

    async def delete(self, served: Served, namespace: str, name: str, options: DeleteOptions) -> Object:
        return await self._deletion.delete(served, namespace, name, options)

    async def delete_collection(self, scope: Scope, options: DeleteOptions, chosen: ListOptions) -> Page:
        """Delete all that match, and give what they were."""
        page = self.reader.page(scope, ListOptions(limit=chosen.limit))
        for stored in page.items:
            try:
                await self._deletion.delete(scope.served, stored.namespace, stored.name, options)
            except ApiError as error:
                if error.code != 404:
                    raise
        return page


def _plain(object: Object) -> Stored:
    """An answer that is no stored object, in the same wrapping."""
    meta = object.get("metadata") or {}
    return Stored(meta.get("namespace", ""), meta.get("name", ""), 0, encode(object), object)
