"""Requests through the proxy: the model is checked and renamed, the key is put on, bytes come back as they are.

Errors of our own have OpenAI's form: 404 `model_not_found`, 503 `upstream_not_configured`, 502 `upstream_unreachable`,
504 `upstream_timeout`. What the upstream answers, errors included, is passed on as it is, but for the key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from aiohttp import web

from kaos_ext.runtime.modelapi import mock
from kaos_ext.runtime.modelapi.answers import CleanedStream, cleaned
from kaos_ext.runtime.modelapi.config import Config, Route
from kaos_ext.runtime.secrets import SECRET_LENGTH, Redactor

ENDPOINTS = ("chat/completions", "completions", "embeddings")
PASSED = ("content-type", "retry-after", "x-request-id", "cache-control")
CONNECT_SECONDS, SILENCE_SECONDS, LIST_SECONDS = 10.0, 600.0, 3.0


class Proxy:
    def __init__(self, config: Config, session: aiohttp.ClientSession) -> None:
        self._config = config
        self._session = session
        self._redactors = {
            route.key: Redactor([route.key]) for route in config.routes if len(route.key) >= SECRET_LENGTH
        }

    def add_routes(self, router: web.UrlDispatcher) -> None:
        for prefix in ("/v1", ""):
            for endpoint in ENDPOINTS:
                router.add_post(f"{prefix}/{endpoint}", self._forward)
            router.add_get(f"{prefix}/models", self._models)
        for path in ("liveliness", "liveness", "readiness"):
            router.add_get(f"/health/{path}", self._alive)

    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return refused(400, "the body is not JSON", "invalid_json")
        model = body.get("model") if isinstance(body, dict) else None
        if not isinstance(model, str) or not model:
            return refused(400, "model is required", "missing_model")
        found = self._config.route(model)
        if found is None:
            served = ", ".join(self._config.names)
            return refused(404, f"model {model!r} is not served here (served: {served})", "model_not_found")
        route, target = found
        endpoint = request.path.removeprefix("/v1").lstrip("/")
        answer = body.pop("mock_response", route.mock)
        if answer is not None and endpoint == "chat/completions":
            return await mock.respond(request, body, str(answer))
        base = route.completions_base
        if not base:
            message = f"no upstream is configured for model {model!r}: set the ModelAPI's proxyConfig.apiBase"
            return refused(503, message, "upstream_not_configured")
        return await self._pass(request, f"{base}/{endpoint}", {**body, "model": target}, route)

    async def _pass(self, request: web.Request, url: str, body: Mapping[str, Any], route: Route) -> web.StreamResponse:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        response: web.StreamResponse | None = None
        redactor = self._redactors.get(route.key)
        try:
            async with self._session.post(url, json=body, headers=_headers(route), timeout=timeout) as upstream:
                headers = {name: upstream.headers[name] for name in PASSED if name in upstream.headers}
                if "text/event-stream" not in upstream.headers.get("content-type", ""):
                    given = await upstream.read()
                    shown = given if redactor is None else cleaned(given, redactor)
                    return web.Response(status=upstream.status, body=shown, headers=headers)
                response = web.StreamResponse(status=upstream.status, headers=headers)
                await response.prepare(request)
                filtered = None if redactor is None else CleanedStream(redactor)
                async for part in upstream.content.iter_any():
                    if shown := part if filtered is None else filtered.feed(part):
                        await response.write(shown)
                if filtered is not None and (shown := filtered.end()):
                    await response.write(shown)
                return response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if response is None:
                return _upstream_failed(url, error)
            # Headers are out: an error event is all that can still be said.
            return await _broken_off(response, error)

    async def _models(self, request: web.Request) -> web.Response:
        """What is served: names as they are, patterns filled from what the upstream lists, if it does."""
        names: dict[str, None] = {}
        for route in self._config.routes:
            listed = await self._listed(route) if "*" in route.name else []
            for name in listed or [route.name]:
                names.setdefault(name)
        created = int(time.time())
        data = [{"id": name, "object": "model", "created": created, "owned_by": "kaos"} for name in names]
        return web.json_response({"object": "list", "data": data})

    async def _listed(self, route: Route) -> list[str]:
        base = route.completions_base
        if not base or route.mock is not None:
            return []
        timeout = aiohttp.ClientTimeout(total=LIST_SECONDS)
        try:
            async with self._session.get(f"{base}/models", headers=_headers(route), timeout=timeout) as upstream:
                listed = [str(item["id"]) for item in (await upstream.json(content_type=None))["data"]]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
            # The upstream lists nothing we can read: the pattern itself is what is known.
            return []
        prefix = route.name.split("*")[0]
        return [item if item.startswith(prefix) else prefix + item for item in listed]


def refused(status: int, message: str, code: str) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "api_error"
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": code}}, status=status)


def _headers(route: Route) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if route.key:
        headers["Authorization"] = f"Bearer {route.key}"
    return headers


def _upstream_failed(url: str, error: BaseException) -> web.Response:
    if isinstance(error, aiohttp.ServerTimeoutError | asyncio.TimeoutError) and not isinstance(
        error, aiohttp.ConnectionTimeoutError
    ):
        return refused(504, f"the upstream {url} took too long to answer", "upstream_timeout")
    return refused(502, f"the upstream {url} does not answer: {error or type(error).__name__}", "upstream_unreachable")


async def _broken_off(response: web.StreamResponse, error: BaseException) -> web.StreamResponse:
    body = {"error": {"message": f"the upstream broke off: {error}", "type": "api_error", "code": "upstream_broke_off"}}
    try:
        await response.write(f"data: {json.dumps(body)}\n\n".encode())
    except ConnectionError:
        pass  # The caller is gone as well.
    return response
