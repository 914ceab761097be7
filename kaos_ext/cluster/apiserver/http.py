"""The wire: HTTP requests into verbs, verbs' results into answers.

One handler for all paths. Whoever does not say who it is gets 401, on every path.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from aiohttp import web
from aiohttp.web_request import BaseRequest

from kaos_ext.cluster.apiserver import bodies, failures, metrics, negotiate, options, patching, render, rules
from kaos_ext.cluster.apiserver.answers import (
    JSON_HEADERS,
    answer,
    compressed,
    deprecation_of,
    headers_for,
    page_not_found,
    refusal,
    warn,
    written,
)
from kaos_ext.cluster.apiserver.api import Api
from kaos_ext.cluster.apiserver.auth import Authenticator
from kaos_ext.cluster.apiserver.authz import impersonation
from kaos_ext.cluster.apiserver.authz.attributes import of_request
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.authz.words import forbidden
from kaos_ext.cluster.apiserver.discovery import Discovery
from kaos_ext.cluster.apiserver.identity import MASTERS, UserInfo
from kaos_ext.cluster.apiserver.options import ListOptions, WriteOptions
from kaos_ext.cluster.apiserver.paths import PageNotFound, Target, target_of, watched
from kaos_ext.cluster.apiserver.reads import Scope
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.resources import WITHOUT_STORE
from kaos_ext.cluster.apiserver.storage import encode
from kaos_ext.cluster.apiserver.watch import Event
from kaos_ext.kube.objects import ApiError, Object

log = logging.getLogger(__name__)
STUCK_SECONDS = 60.0
"""How long a watcher may take nothing of what is ready for it."""

VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}

Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse] | web.StreamResponse]
Stream = Callable[[BaseRequest, Target, UserInfo], Awaitable[web.StreamResponse]]


class HttpApi:
    """`handle` is the server's one handler."""

    def __init__(
        self,
        api: Api,
        authenticator: Authenticator,
        rbac: Rbac,
        discovery: Discovery,
        pages: Mapping[str, Handler],
        streams: Mapping[str, Stream],
    ) -> None:
        self._api = api
        self._authenticator = authenticator
        self._rbac = rbac
        self.metrics = metrics.Metrics(api.storage)
        self._measured: dict[int, metrics.Measured] = {}
        """Of the requests under way how they are counted, as soon as that is known."""
        self._discovery = discovery
        self._pages = pages
        self._streams = streams
        self.open_requests = 0
        """Requests of users under way, watches included; what pods ask with their service accounts is no use of it."""
        self.last_request = time.monotonic()
        """When the last of them ended (monotonic)."""

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        request = _of_today(request)
        self.metrics.under_way(request.method, 1)
        try:
            answered = await self._answered(request)
        finally:
            self.metrics.under_way(request.method, -1)
            what = self._measured.pop(id(request), None)
        what = what or metrics.of_page(request.method, request.rel_url.raw_path)
        self.metrics.answered(what, answered.status, time.monotonic() - began)
        return answered

    async def _answered(self, request: BaseRequest) -> web.StreamResponse:
        user = self._user(request)
        counts = user is not None and not user.name.startswith("system:serviceaccount:")
        self.open_requests += counts
        try:
            return await self._handle(request, user)
        except ApiError as error:
            return refusal(error)
        except PageNotFound:
            return page_not_found()
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.rel_url)
            return refusal(failures.internal_error("the server failed on this request; its log says where"))
        finally:
            if counts:
                self.open_requests -= 1
                self.last_request = time.monotonic()

    async def _handle(self, request: BaseRequest, user: UserInfo | None) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if user is None:
            return refusal(failures.unauthorized())
        user = self._permitted(request, path, user)
        if path.startswith("/api"):
            found = self._discovery_document(request, path)
            if found is not None:
                return found
            target = target_of(self._api.registry, path)
            if target is None:
                raise PageNotFound
            return await self._resource(request, target, user)
        page = self._pages.get(path.rstrip("/") or "/") or self._pages.get("/" + path.split("/")[1])
        if page is None:
            raise PageNotFound
        made = page(request)
        return made if isinstance(made, web.StreamResponse) else await made

    def _user(self, request: BaseRequest) -> UserInfo | None:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        return self._authenticator.user(request.headers.get("Authorization"), certificate)

    def _permitted(self, request: BaseRequest, path: str, sender: UserInfo) -> UserInfo:
        """The user this request acts as; refused when they may not do what it asks."""
        asked = impersonation.asked(request.headers.items())
        if asked is None and MASTERS in sender.groups:
            return sender
        wanted = of_request(request.method, path, request.query)
        user = sender if asked is None else impersonation.impersonated(self._rbac, sender, asked, wanted)
        decision = self._rbac.decide(user, wanted)
        if not decision.allowed:
            raise forbidden(user, wanted, decision.reason)
        return user

    def _discovery_document(self, request: BaseRequest, path: str) -> web.Response | None:
        parts = path.strip("/").split("/")
        if len(parts) > (2 if parts[0] == "api" else 3) or parts[0] not in ("api", "apis"):
            return None
        wanted = negotiate.wanted(request.headers.get("Accept", ""), discovery=True)
        document = self._discovery.document("/".join(parts), wanted)
        if document is None:
            raise PageNotFound
        headers = {"Content-Type": document.content_type, "Vary": "Accept"}
        headers["Cache-Control"] = "no-cache, private"
        if wanted.form:
            headers |= {"ETag": document.etag, "Cache-Control": "public"}
            if request.headers.get("If-None-Match") == document.etag:
                return answer(b"", 304, {key: one for key, one in headers.items() if key != "Content-Type"})
        return compressed(request, document.body, 200, headers)

    async def _resource(self, request: BaseRequest, target: Target, user: UserInfo) -> web.StreamResponse:
        method = request.method
        what = metrics.of_target(method, target, request.query, request.headers.get("Content-Type", ""))
        self._measured[id(request)] = what
        stream = self._streams.get(target.subresource) if target.subresource else None
        if stream is not None:
            with self.metrics.long_running(method, what):
                return await stream(request, target, user)
        deprecation = deprecation_of(target.served)
        if not deprecation:
            return await self._verb(request, target, user)
        try:
            answered = await self._verb(request, target, user)
        except ApiError as error:
            answered = refusal(error)
        if not answered.prepared:
            warn(answered, deprecation)
        return answered

    async def _verb(self, request: BaseRequest, target: Target, user: UserInfo) -> web.StreamResponse:
        method = request.method
        wanted = negotiate.wanted(request.headers.get("Accept", ""))
        if not target.name:
            return await self._collection(request, target, wanted, user)
        verb = VERBS.get(method, "")
        served = target.served
        below = served.subresource(target.subresource) if target.subresource else None
        allowed = verb in below.verbs if below is not None else verb != "create" and verb in served.verbs
        if not allowed:
            raise failures.method_not_allowed(served if served.custom else None, verb)
        if method == "GET":
            return self._get(request, target, wanted)
        if method == "DELETE":
            return await self._delete(request, target, wanted, user)
        return await self._write(request, target, wanted, user)

    def _get(self, request: BaseRequest, target: Target, wanted: negotiate.Wanted) -> web.Response:
        query = request.query
        stored = self._api.get(
            target.served, target.namespace or "", target.name, target.subresource, query.get("resourceVersion", "")
        )
        body = render.one(target.served, stored, wanted, query.get("includeObject", ""))
        return compressed(request, body, 200, headers_for(wanted))

    async def _collection(
        self, request: BaseRequest, target: Target, wanted: negotiate.Wanted, user: UserInfo
    ) -> web.StreamResponse:
        method, served = request.method, target.served
        if method == "POST":
            if "create" not in served.verbs or (served.namespaced and target.namespace is None):
                raise failures.method_not_allowed()
            return await self._create(request, target, wanted, user)
        if method == "DELETE" and "deletecollection" in served.verbs:
            return await self._delete_collection(request, target, wanted, user)
        if method != "GET" or "list" not in served.verbs:
            verb = VERBS.get(method, method.lower())
            raise failures.method_not_allowed(served if served.custom else None, verb)
        chosen = options.list_options(request.query)
        scope = self._api.scope(served, target.namespace, chosen)
        if chosen.watch:
            with self.metrics.long_running(method, self._measured[id(request)]):
                return await self._watch(request, scope, chosen, wanted)
        page = self._api.reader.page(scope, chosen)
        body = render.listed(served, page, wanted, request.query.get("includeObject", ""))
        return compressed(request, body, 200, headers_for(wanted))

    async def _watch(
        self, request: BaseRequest, scope: Scope, chosen: ListOptions, wanted: negotiate.Wanted
    ) -> web.StreamResponse:
        watch = self._api.watch(scope, chosen)
        response = web.StreamResponse(headers=JSON_HEADERS)
        response.enable_chunked_encoding()
        if deprecation := deprecation_of(scope.served):
            warn(response, deprecation)
        frames = render.Frames(scope.served, wanted, request.query.get("includeObject", ""))
        await response.prepare(request)

        def give(event: Event) -> bool:
            # Straight to a connection that has sent all it had: of fifty watchers the last waits for all before it.
            transport = request.transport
            if transport is None or transport.is_closing() or transport.get_write_buffer_size():
                return False
            frame = frames.frame(event)
            transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
            return True

        try:
            async for batch in watch.batches(give):
                async with asyncio.timeout(STUCK_SECONDS):
                    await response.write(b"".join([frames.frame(event) for event in batch]))
        except TimeoutError:
            # It takes nothing any more; whoever it is has to connect anew.
            if request.transport is not None:
                request.transport.abort()
            return response
        except ApiError as error:
            await response.write(encode({"type": "ERROR", "object": error.status}) + b"\n")
        await response.write_eof()
        return response

    async def _create(
        self, request: BaseRequest, target: Target, wanted: negotiate.Wanted, user: UserInfo
    ) -> web.StreamResponse:
        served = target.served
        if wanted.form and served.plural in WITHOUT_STORE and not served.custom:
            raise failures.not_acceptable(("application/json",))
        chosen = self._options(request, "CreateOptions", user)
        body = await self._object(request, served, chosen)
        stored = await self._api.create(served, target.namespace or "", body, chosen)
        return written(request, served, stored, wanted, chosen, 201)

    async def _write(
        self, request: BaseRequest, target: Target, wanted: negotiate.Wanted, user: UserInfo
    ) -> web.StreamResponse:
        served, namespace = target.served, target.namespace or ""
        method = request.method
        if method == "PATCH":
            chosen = self._options(request, "PatchOptions", user)
            content_type = request.headers.get("Content-Type")
            kind = patching.patch_type(served, content_type)
            patching.check_options(kind, chosen)
            patch = patching.parse(kind, await self._body(request), chosen)
            stored, created = await self._api.patch(
                served, namespace, target.name, patch, kind.value, chosen, target.subresource
            )
            return written(request, served, stored, wanted, chosen, 201 if created else 200)
        if method == "PUT":
            chosen = self._options(request, "UpdateOptions", user)
            body = await self._object(request, served, chosen)
            stored, created = await self._api.replace(served, namespace, target.name, body, chosen, target.subresource)
            return written(request, served, stored, wanted, chosen, 201 if created else 200)
        chosen = self._options(request, "CreateOptions", user)
        body = await self._object(request, served, chosen)
        made = await self._api.create_below(served, namespace, target.name, target.subresource, body, chosen)
        return answer(render.dumped(made, wanted), 201, headers_for(wanted))

    async def _delete(
        self, request: BaseRequest, target: Target, wanted: negotiate.Wanted, user: UserInfo
    ) -> web.Response:
        chosen = options.delete_options(request.query, await self._delete_body(request), user)
        made = await self._api.delete(target.served, target.namespace or "", target.name, chosen)
        return answer(render.dumped(made, wanted), 200, headers_for(wanted))

    async def _delete_collection(
        self, request: BaseRequest, target: Target, wanted: negotiate.Wanted, user: UserInfo
    ) -> web.Response:
        chosen = options.list_options(request.query)
        how = options.delete_options(request.query, await self._delete_body(request), user)
        scope = self._api.scope(target.served, target.namespace, chosen)
        page = await self._api.delete_collection(scope, how, chosen)
        page = replace(page, revision=self._api.storage.revision)
        return answer(render.listed(target.served, page, wanted), 200, headers_for(wanted))

    async def _delete_body(self, request: BaseRequest) -> Object | None:
        body = await self._body(request)
        if not body.strip():
            return None
        decoded, _ = bodies.decode(body, request.headers.get("Content-Type"), "DeleteOptions")
        if decoded.get("kind") not in (None, "", "DeleteOptions"):
            raise failures.bad_request(rules.unregistered(str(decoded["kind"]), str(decoded.get("apiVersion") or "")))
        return rules.read(("", "v1", "DeleteOptions"), decoded)

    def _options(self, request: BaseRequest, kind: str, user: UserInfo) -> WriteOptions:
        return options.write_options(kind, request.query, request.headers.get("User-Agent", ""), user)

    async def _body(self, request: BaseRequest) -> bytes:
        if not request.body_exists:
            return b""
        if (request.content_length or 0) > bodies.LIMIT:
            raise failures.too_large(bodies.LIMIT)
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > bodies.LIMIT:
                raise failures.too_large(bodies.LIMIT)
            chunks.append(chunk)
        body = b"".join(chunks)
        if request.headers.get("Content-Encoding", "").lower() == "gzip":
            body = unzipped(body)
        return body

    async def _object(self, request: BaseRequest, served: Served, chosen: WriteOptions) -> Object:
        look = chosen.validation != "Ignore"
        raw = await self._body(request)
        body, duplicates = bodies.decode(raw, request.headers.get("Content-Type"), served.kind, find_duplicates=look)
        chosen.duplicates = bodies.duplicate_words(duplicates)
        if duplicates:
            chosen.text = raw.decode("utf-8", "replace")
        return body


def _of_today(request: BaseRequest) -> BaseRequest:
    """The request, with a watch by its old path, `/api/v1/watch/…`, as one by the path of its collection."""
    old = watched(request.rel_url.raw_path) if request.method == "GET" else None
    if old is None:
        return request
    path, name = old
    asked = {"watch": "true"} | ({"fieldSelector": f"metadata.name={name}"} if name else {})
    return request.clone(rel_url=request.rel_url.with_path(path, encoded=True, keep_query=True) % asked)


def unzipped(body: bytes) -> bytes:
    """A gzipped request body, refused when it is none or grows beyond the limit."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(body, bodies.LIMIT + 1)
    except zlib.error as error:
        raise failures.bad_request(f"the body is not gzip: {error}") from None
    if len(plain) > bodies.LIMIT:
        raise failures.too_large(bodies.LIMIT)
    return plain
