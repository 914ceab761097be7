"""The proxy to Services and Pods: whole requests and answers, as they come, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.apiserver.conftest import Http, Running

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


class Behind:
    """A server behind the Service `s`; remembers what it was asked."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.release = asyncio.Event()

    async def echo(self, request: web.Request) -> web.Response:
        self.headers = {key.lower(): value for key, value in request.headers.items()}
        self.paths.append(str(request.rel_url))
        return web.Response(status=218, body=await request.read(), headers={"X-Own": "1"})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await self.release.wait()
        await response.write(b"data: two\n\n")
        return response

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["talk"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{request.query['who']}: {message.data}")
        return socket


@pytest.fixture
async def behind(running: Running) -> AsyncIterator[Behind]:
    found = Behind()
    app = web.Application()
    app.router.add_get("/stream", found.stream)
    app.router.add_get("/socket", found.socket)
    app.router.add_route("*", "/{tail:.*}", found.echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    assert (await running.http.post(SERVICES, service)).status == 201
    endpoints = {
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": runner.addresses[0][1]}],
    }
    await running.server.client().create(_resource(), endpoints, "default")
    yield found
    found.release.set()
    await runner.cleanup()


def _resource() -> object:
    from kaos_ext.kube.objects import ENDPOINTSLICES

    return ENDPOINTSLICES


async def test_a_request_passes_with_its_path_query_and_body(http: Http, behind: Behind) -> None:
    answer = await http.post(f"{SERVICES}/s:http/proxy/a%2Fb/c?x=1%2B2", {"k": "v"})
    assert (answer.status, answer.body) == (218, {"k": "v"})
    assert answer.headers["X-Own"] == "1"
    assert behind.paths == ["/a%2Fb/c?x=1%2B2"]
    assert "authorization" not in behind.headers
    assert behind.headers["x-forwarded-uri"].endswith("/proxy/a%2Fb/c")


@pytest.mark.parametrize("name", ["s", "s:80", "s:http", "http:s:http"])
async def test_a_port_may_be_named_numbered_or_left_out(http: Http, behind: Behind, name: str) -> None:
    assert (await http.get(f"{SERVICES}/{name}/proxy/")).status == 218


async def test_an_answer_streams_before_it_ends(http: Http, behind: Behind) -> None:
    url = f"{http.url}{SERVICES}/s:http/proxy/stream"
    headers = {"Authorization": f"Bearer {http.token}"}
    async with http.session.get(url, headers=headers, ssl=http.context) as answer:
        assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5) == b"data: one\n\n"
        behind.release.set()
        assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5) == b"data: two\n\n"


async def test_websockets_pass(http: Http, behind: Behind) -> None:
    url = f"{http.url}{SERVICES}/s:http/proxy/socket?who=me".replace("https", "wss")
    headers = {"Authorization": f"Bearer {http.token}"}
    async with http.session.ws_connect(url, headers=headers, ssl=http.context, protocols=["talk"]) as socket:
        assert socket.protocol == "talk"
        await socket.send_str("hello")
        message = await socket.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.TEXT, "me: hello")


async def test_a_service_without_endpoints_is_unavailable(http: Http) -> None:
    await http.post(SERVICES, {"metadata": {"name": "empty"}, "spec": {"ports": [{"port": 80}]}})
    refused = await http.get(f"{SERVICES}/empty/proxy/")
    assert (refused.status, refused.body["message"]) == (503, 'no endpoints available for service "empty"')


async def test_a_dead_endpoint_is_unavailable(http: Http, behind: Behind, running: Running) -> None:
    dead = [{"op": "replace", "path": "/ports/0/port", "value": 1}]
    await http("PATCH", f"{SLICES}/s-1", dead, content_type="application/json-patch+json")
    refused = await http.get(f"{SERVICES}/s:http/proxy/")
    assert refused.status == 503
    assert "error trying to reach service" in refused.body["message"]
