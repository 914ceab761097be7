"""OpenAPI of what is served now: v2 in one document, v3 as an index and a document for each group-version.

A document is named by its fingerprint and kept, compressed, until a CRD changes it; clients may cache it for ever.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.answers import answer, page_not_found
from kaos_ext.cluster.apiserver.discovery import listing
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.storage import encode
from kaos_ext.cluster.apiserver.wire import openapi, openapi_v2

_FOR_EVER = {"Cache-Control": "public, immutable", "Expires": "Fri, 01 Jan 2100 00:00:00 GMT"}
_JSON = {"Content-Type": "application/json", "Vary": "Accept-Encoding"}


@dataclass(frozen=True, slots=True)
class _Source:
    group: str
    version: str
    resources: list[dict[str, Any]]
    custom: dict[str, dict[str, Any]]
    mark: str


class ApiDocuments:
    """Handles `/openapi/v2`, `/openapi/v3` and what is below it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._serial = -1
        self._sources: dict[str, _Source] = {}
        self._made: dict[str, bytes] = {}
        self._second_made: dict[str, tuple[str, bytes]] = {}

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            raise failures.method_not_allowed()
        below = request.rel_url.raw_path.strip("/").removeprefix("openapi").strip("/")
        if below == "v2":
            return await self._second(request)
        if below != "v3" and not below.startswith("v3/"):
            return page_not_found()
        await asyncio.to_thread(self._refresh)
        path = below.removeprefix("v3").strip("/")
        if not path:
            index = openapi.index({key: source.mark for key, source in self._sources.items()})
            return answer(encode(index), 200, _JSON)
        source = self._sources.get(path)
        if source is None:
            return page_not_found()
        return await self._document(request, source)

    async def _document(self, request: BaseRequest, source: _Source) -> web.StreamResponse:
        headers = {**_JSON, "ETag": f'"{source.mark}"', "Cache-Control": "no-cache, private"}
        if request.query.get("hash", source.mark) != source.mark:  # of a version that is no more
            place = f"{request.path}?hash={source.mark}"
            return answer(b"", 301, {**headers, "Location": place})
        if request.query.get("hash") == source.mark:
            headers |= _FOR_EVER
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return answer(b"", 304, headers)
        body = self._made.get(source.mark)
        if body is None:
            body = self._made[source.mark] = await asyncio.to_thread(_rendered, source)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return answer(body, 200, {**headers, "Content-Encoding": "gzip"})
        return answer(await asyncio.to_thread(gzip.decompress, body), 200, headers)

    async def _second(self, request: BaseRequest) -> web.StreamResponse:
        """OpenAPI v2, of all groups in one document."""
        accepted = request.headers.get("Accept", "*/*")
        wire = openapi_v2.PROTOBUF in accepted or openapi_v2.ASKED_AS in accepted
        if not wire and not any(one in accepted for one in ("application/json", "*/*", "application/*")):
            raise failures.not_acceptable([openapi_v2.PROTOBUF, "application/json"])
        await asyncio.to_thread(self._refresh)
        mark = hashlib.sha256("".join(source.mark for source in self._sources.values()).encode()).hexdigest().upper()
        kind = openapi_v2.PROTOBUF if wire else "application/json"
        headers = {"Content-Type": kind, "ETag": f'"{mark}"', "Vary": "Accept"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return answer(b"", 304, headers)
        if self._second_made.get(kind, ("", b""))[0] != mark:
            self._second_made[kind] = mark, await asyncio.to_thread(_rendered_v2, list(self._sources.values()), wire)
        body = self._second_made[kind][1]
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return answer(body, 200, {**headers, "Content-Encoding": "gzip"})
        return answer(await asyncio.to_thread(gzip.decompress, body), 200, headers)

    def _refresh(self) -> None:
        serial = self._registry.serial
        if self._serial == serial:
            return
        sources: dict[str, _Source] = {}
        for item in listing(self._registry):
            group = item["metadata"]["name"]
            for entry in item["versions"]:
                custom = {
                    served.kind: served.definition.version(served.version).openapi
                    for served in self._registry.resources(group, entry["version"])
                    if served.definition is not None
                }
                mark = openapi.fingerprint(group, entry["version"], entry["resources"], custom)
                source = _Source(group, entry["version"], entry["resources"], custom, mark)
                sources[openapi.path_of(group, entry["version"])] = source
        marks = {source.mark for source in sources.values()}
        self._made = {mark: body for mark, body in self._made.items() if mark in marks}
        self._sources, self._serial = sources, serial


def _rendered(source: _Source) -> bytes:
    document = openapi.document(source.group, source.version, source.resources, source.custom)
    return gzip.compress(encode(document), 5)


def _rendered_v2(sources: list[_Source], wire: bool) -> bytes:
    schemas: dict[str, Any] = {}
    for source in sources:
        made = openapi.document(source.group, source.version, source.resources, source.custom)
        schemas |= made["components"]["schemas"]
    document = openapi_v2.document(schemas)
    return gzip.compress(openapi_v2.protobuf(document) if wire else encode(document), 5)
