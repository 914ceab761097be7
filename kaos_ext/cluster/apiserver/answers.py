"""Answers of the server: bytes with their headers, compressed where it pays, with warnings; refusals as a Status."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.web_request import BaseRequest

from kaos_ext.cluster.apiserver import negotiate, render
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Stored, encode
from kaos_ext.kube.objects import ApiError

GZIP_FROM = 128 * 1024
JSON_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
_DEPRECATED = {"/endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}


def answer(body: bytes, status: int = 200, headers: Mapping[str, str] = JSON_HEADERS) -> web.Response:
    return web.Response(body=body, status=status, headers=headers)


def page_not_found() -> web.Response:
    return answer(b"404 page not found\n", 404, _TEXT)


def headers_for(wanted: negotiate.Wanted) -> Mapping[str, str]:
    return JSON_HEADERS if wanted.media == negotiate.JSON else {**JSON_HEADERS, "Content-Type": wanted.media}


def written(
    request: BaseRequest, served: Served, stored: Stored, wanted: negotiate.Wanted, chosen: WriteOptions, status: int
) -> web.Response:
    body = render.one(served, stored, wanted, request.query.get("includeObject", ""))
    response = compressed(request, body, status, headers_for(wanted))
    for text in chosen.warnings:
        warn(response, text)
    return response


def warn(response: web.StreamResponse, text: str) -> None:
    quoted = re.sub(r"[\x00-\x1f\x7f]", "?", text).replace("\\", "\\\\").replace('"', '\\"')
    response.headers.add("Warning", f'299 - "{quoted}"')


def deprecation_of(served: Served) -> str:
    """What whoever uses this resource should know."""
    if served.definition is not None:
        return served.definition.version(served.version).deprecation
    return _DEPRECATED.get(served.storage, "")


def compressed(request: BaseRequest, body: bytes, status: int, headers: Mapping[str, str]) -> web.Response:
    if len(body) >= GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        return answer(
            gzip.compress(body, 1), status, {**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        )
    return answer(body, status, headers)


def refusal(error: ApiError) -> web.Response:
    """A Status, as the answer to a request that was refused."""
    headers = dict(JSON_HEADERS)
    seconds = (error.status.get("details") or {}).get("retryAfterSeconds")
    if seconds:
        headers["Retry-After"] = str(seconds)
    return answer(encode(error.status), error.code, headers)
