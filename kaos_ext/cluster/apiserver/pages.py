"""Paths that are no resources: health, version, the list of paths, OpenAPI; and the server's own Service."""

from __future__ import annotations

import gzip
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.web_request import BaseRequest

from kaos_ext.cluster.apiserver import health, metrics
from kaos_ext.cluster.apiserver.answers import answer, page_not_found
from kaos_ext.cluster.apiserver.apidocs import ApiDocuments
from kaos_ext.cluster.apiserver.auth import ISSUER
from kaos_ext.cluster.apiserver.http import Handler
from kaos_ext.cluster.apiserver.storage import encode
from kaos_ext.cluster.client import Client
from kaos_ext.kube.objects import ENDPOINTS, ENDPOINTSLICES, SERVICES, ApiError, Object, is_not_found

if TYPE_CHECKING:
    from kaos_ext.cluster.apiserver.server import ApiServer

VERSION = "v1.36.3+kaos"
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}


def version() -> Object:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "cpython",
        "platform": f"{platform.system().lower()}/{machine}",
    }


class Pages:
    """Handlers of one server's plain paths."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._version = encode(version())

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "/": self._paths,
            "/version": lambda _: answer(self._version),
            "/healthz": self._health,
            "/livez": self._health,
            "/readyz": self._health,
            "/metrics": self._metrics,
            "/.well-known": self._issuer,
            "/openid": self._keys,
            "/openapi": ApiDocuments(self._server.registry).handle,
        }

    def _paths(self, request: BaseRequest) -> web.Response:
        if request.rel_url.path != "/":
            return page_not_found()
        registry = self._server.registry
        groups = [f"/apis/{group}" for group in registry.groups() if group]
        versions = [f"/apis/{group}/{one}" if group else f"/api/{one}" for group, one in registry.group_versions()]
        plain = [
            *("/.well-known/openid-configuration", "/api", "/apis", "/metrics", "/metrics/slis"),
            *("/openapi/v3", "/openid/v1/jwks", "/version"),
            *(f"/{endpoint}" for endpoint in health.CHECKS),
            *(f"/{endpoint}/{check}" for endpoint, checks in health.CHECKS.items() for check in checks),
        ]
        return answer(encode({"paths": sorted([*plain, *groups, *versions])}))

    async def _metrics(self, request: BaseRequest) -> web.Response:
        if request.rel_url.path == "/metrics":
            text = self._server.http.metrics.text()
        elif request.rel_url.path == "/metrics/slis":
            text = metrics.slis({endpoint: await self._server.health.results(endpoint) for endpoint in health.CHECKS})
        else:
            return page_not_found()
        body = text.encode()
        headers = {"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-cache, private"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return answer(gzip.compress(body, 1), 200, {**headers, "Content-Encoding": "gzip"})
        return answer(body, 200, headers)

    def _issuer(self, request: BaseRequest) -> web.Response:
        """Who signs tokens of service accounts, for those who want to check them themselves."""
        if request.rel_url.path.rstrip("/") != "/.well-known/openid-configuration":
            return page_not_found()
        server = self._server
        document = {
            "issuer": ISSUER,
            "jwks_uri": f"https://{server.config.host}:{server.port}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return answer(
            encode(document), 200, {"Content-Type": "application/json", "Cache-Control": "public, max-age=3600"}
        )

    def _keys(self, request: BaseRequest) -> web.Response:
        if request.rel_url.path.rstrip("/") != "/openid/v1/jwks":
            return page_not_found()
        headers = {"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=3600"}
        return answer(encode({"keys": [self._server.tokens.public_key()]}), 200, headers)

    async def _health(self, request: BaseRequest) -> web.Response:
        said = await self._server.health.answer(request.rel_url.path, request.rel_url.raw_query_string)
        return page_not_found() if said is None else answer(said.text.encode(), said.status, _TEXT)

    async def publish_own_service(self, client: Client) -> None:
        """The Service `kubernetes` in `default`, and the endpoints behind it: this server."""
        server = self._server
        address = str(server.config.service_network[1])
        labels = {"component": "apiserver", "provider": "kubernetes"}
        service = {
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {
                "clusterIP": address,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": server.port}],
            },
        }
        endpoints = {
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [
                {
                    "addresses": [{"ip": server.config.host}],
                    "ports": [{"name": "https", "port": server.port, "protocol": "TCP"}],
                }
            ],
        }
        slice = {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [server.config.host], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": server.port, "protocol": "TCP"}],
        }
        wanted = ((SERVICES, service), (ENDPOINTS, endpoints), (ENDPOINTSLICES, slice))
        for resource, object in wanted:
            try:
                await client.patch(resource, "kubernetes", object, "default")
            except ApiError as error:
                if not is_not_found(error):
                    raise
                await client.create(resource, object, "default")
