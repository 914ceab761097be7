"""The proxy to Services and Pods: `services/[scheme:]name[:port]/proxy/path`, streaming both ways, WebSockets too.

A Service's request goes to one of its ready endpoints, taken from its EndpointSlices; the caller's Authorization stays
here. Nothing is buffered: bodies are relayed as they come.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz.impersonation import PREFIX as IMPERSONATE
from kaos_ext.cluster.apiserver.paths import Target
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import ApiError, Object

_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_STAYS = _HOP | {"authorization", "host", "content-length"}
_WEBSOCKET = frozenset({"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Destination:
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reference:
    """`[scheme:]name[:port]`, the port a number, a name or empty."""

    scheme: str
    name: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        parts = text.split(":")
        if len(parts) == 1:
            return cls("http", parts[0], "")
        if len(parts) == 2:
            return cls("http", parts[0], parts[1])
        if len(parts) == 3 and parts[0] in ("http", "https", ""):
            return cls(parts[0] or "http", parts[1], parts[2])
        raise failures.bad_request(f'invalid service request "{text}"')


class Proxy:
    """Relays requests to what listens behind Services and Pods."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # As a real API server does, it does not ask who a Pod's certificate is from.
            unverified = ssl.create_default_context()
            unverified.check_hostname = False
            unverified.verify_mode = ssl.CERT_NONE
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=unverified, limit=0, force_close=False),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def handle(self, request: BaseRequest, target: Target, _user: object) -> web.StreamResponse:
        if request.method not in _METHODS:
            raise failures.method_not_allowed()
        raw = request.rel_url.raw_path
        if not target.rest and not raw.endswith("/") and request.method in ("GET", "HEAD"):
            query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
            return web.Response(status=301, headers={"Location": f"{raw}/{query}"})
        reference = Reference.parse(target.name)
        if target.served.plural == "services":
            destination = self._service(target, reference)
        else:
            destination = self._pod(target, reference)
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        url = f"{destination.scheme}://{destination.host}:{destination.port}/{target.rest}{query}"
        headers = _forwarded(request, raw)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request, url, headers)
        return await self._relay(request, url, headers)

    def _service(self, target: Target, reference: Reference) -> Destination:
        namespace = target.namespace or ""
        stored = self._storage.collection("/services").get(namespace, reference.name)
        if stored is None:
            raise failures.not_found(target.served, reference.name)
        ports = (stored.object.get("spec") or {}).get("ports") or []
        wanted = _service_port(ports, reference.port)
        if wanted is None:
            raise failures.unavailable(f'no service port "{reference.port}" found for service "{reference.name}"')
        choices = list(self._endpoints(namespace, reference.name, wanted.get("name") or ""))
        if not choices:
            raise failures.unavailable(f'no endpoints available for service "{reference.name}"')
        host, port = random.choice(choices)  # noqa: S311
        return Destination(reference.scheme, host, port)

    def _endpoints(self, namespace: str, service: str, port_name: str) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for stored in self._storage.collection("discovery.k8s.io/endpointslices").scan(namespace):
            slice = stored.object
            if (slice["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [
                one["port"]
                for one in slice.get("ports") or ()
                if (one.get("name") or "") == port_name and one.get("port")
            ]
            for endpoint in slice.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                found += [(address, number) for address in endpoint["addresses"][:1] for number in numbers]
        return found

    def _pod(self, target: Target, reference: Reference) -> Destination:
        stored = self._storage.collection("/pods").get(target.namespace or "", reference.name)
        if stored is None:
            raise failures.not_found(target.served, reference.name)
        pod: Object = stored.object
        containers = (pod.get("spec") or {}).get("containers") or ()
        ports = [port for one in containers for port in one.get("ports") or ()]
        named = {port.get("name"): port["containerPort"] for port in ports if port.get("name")}
        if reference.port:
            number = named.get(reference.port) or _number(reference.port)
        else:
            number = ports[0]["containerPort"] if ports else 80
        if not number:
            raise failures.bad_request(f'no port "{reference.port}" found for pod "{reference.name}"')
        host = (pod.get("status") or {}).get("podIP")
        if not host:
            raise failures.bad_request(f"pod {reference.name} has no address yet")
        return Destination(reference.scheme, host, number)

    async def _relay(self, request: BaseRequest, url: str, headers: CIMultiDict[str]) -> web.StreamResponse:
        body = _body(request) if request.body_exists else None
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        try:
            answer = await self._client().request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            )
        except aiohttp.ClientError as error:
            raise _unreachable(url, error) from error
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for key, value in answer.headers.items():
                if key.lower() not in _HOP:
                    response.headers.add(key, value)
            await response.prepare(request)
            try:
                if request.method != "HEAD":
                    async for chunk in answer.content.iter_any():
                        await response.write(chunk)
                await response.write_eof()
            except aiohttp.ClientError:
                # The far side broke off in the middle; all that can be said now is to break off as well.
                if request.transport is not None:
                    request.transport.abort()
            return response

    async def _websocket(self, request: BaseRequest, url: str, headers: CIMultiDict[str]) -> web.StreamResponse:
        for name in _WEBSOCKET:
            headers.popall(name, None)
        offered = headers.popall("Sec-WebSocket-Protocol", [])
        protocols = [one.strip() for line in offered for one in line.split(",") if one.strip()]
        try:
            far = await self._client().ws_connect(
                url.replace("http", "ws", 1), headers=headers, protocols=protocols, max_msg_size=0, autoping=False
            )
        except aiohttp.WSServerHandshakeError as error:
            raise failures.failure(error.status, "", f"the service refused the WebSocket: {error.message}") from error
        except aiohttp.ClientError as error:
            raise _unreachable(url, error) from error
        async with far:
            near = web.WebSocketResponse(
                protocols=[far.protocol] if far.protocol else (), max_msg_size=0, autoping=False
            )
            await near.prepare(request)
            both = [asyncio.create_task(_pump(near, far)), asyncio.create_task(_pump(far, near))]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
            if not near.closed:
                await near.close(code=far.close_code or 1000)
        return near


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: Socket, sink: Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        elif message.type is aiohttp.WSMsgType.PING:
            await sink.ping(message.data)
        elif message.type is aiohttp.WSMsgType.PONG:
            await sink.pong(message.data)
        else:
            break


async def _body(request: BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


def _forwarded(request: BaseRequest, raw: str) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    named = {part.strip().lower() for part in request.headers.get("Connection", "").split(",")}
    for key, value in request.headers.items():
        if key.lower() not in _STAYS and key.lower() not in named and not key.lower().startswith(IMPERSONATE):
            headers.add(key, value)
    marker = raw.index("/proxy")
    headers["X-Forwarded-Uri"] = raw
    headers["X-Forwarded-Prefix"] = raw[: marker + len("/proxy")]
    headers["X-Forwarded-Host"] = request.headers.get("Host", "")
    headers["X-Forwarded-Proto"] = "https"
    if request.remote:
        before = headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{before}, {request.remote}" if before else request.remote
    return headers


def _service_port(ports: list[Object], asked: str) -> Object | None:
    if not asked:
        return ports[0] if len(ports) == 1 or (ports and not ports[0].get("name")) else None
    return next((one for one in ports if asked in (one.get("name"), str(one.get("port")))), None)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _unreachable(url: str, error: aiohttp.ClientError) -> ApiError:
    if isinstance(error, aiohttp.ClientConnectorError):
        why = f"dial tcp {url.split('/')[2]}: {error.strerror or error}"
    else:
        why = "EOF" if isinstance(error, aiohttp.ServerDisconnectedError) else str(error) or type(error).__name__
    return failures.unavailable(f"error trying to reach service: {why}")
