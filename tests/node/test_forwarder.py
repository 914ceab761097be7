"""Service addresses: bytes pass as they come, ends are passed on, changes touch no standing connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from kaos_ext.kube.objects import ENDPOINTSLICES, SERVICES, Object

from .harness import Node, until
from .test_pods import fetch, server

pytestmark = pytest.mark.process

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@contextlib.asynccontextmanager
async def backend(node: Node, handler: Handler, host: int = 1) -> AsyncIterator[str]:
    address = str(node.config.pod_network.network_address + 250 + host)
    listening = await asyncio.start_server(handler, address, 8000)  # type: ignore[arg-type]
    try:
        yield address
    finally:
        listening.close()


def service(node: Node, name: str = "web") -> Object:
    address = str(node.config.service_network.network_address + 10)
    return {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 8080}]}}


def slice_of(*addresses: str) -> Object:
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    labels = {"kubernetes.io/service-name": "web"}
    return {"metadata": {"name": "web-1", "labels": labels}, "ports": [{"port": 8000}], "endpoints": endpoints}


async def serve(node: Node, *addresses: str) -> str:
    made = await node.client.create(SERVICES, service(node), "default")
    await node.client.create(ENDPOINTSLICES, slice_of(*addresses), "default")
    return str(made["spec"]["clusterIP"])


async def dial(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, as soon as somebody listens."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await asyncio.open_connection(address, 8080)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


async def refused(address: str) -> None:
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                _, writer = await asyncio.open_connection(address, 8080)
                writer.close()
                await asyncio.sleep(0.01)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only after the caller has ended its side."""
    writer.write((await reader.read()).upper())
    writer.close()


async def test_half_of_a_connection_may_end_alone(node: Node) -> None:
    async with backend(node, shout) as address:
        reader, writer = await dial(await serve(node, address))
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()


async def test_what_comes_in_pieces_goes_out_in_pieces(node: Node) -> None:
    go = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"data: 1\n\n")
        await go.wait()
        writer.write(b"data: 2\n\n")
        writer.close()

    async with backend(node, stream) as address:
        reader, writer = await dial(await serve(node, address))
        assert await reader.readuntil(b"\n\n") == b"data: 1\n\n"
        go.set()
        assert await reader.read() == b"data: 2\n\n"
        writer.close()


async def test_a_large_body_passes_whole(node: Node) -> None:
    body = bytes(range(256)) * 40_000

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(body)))
        await writer.drain()
        writer.close()

    async with backend(node, collect) as address:
        reader, writer = await dial(await serve(node, address))
        sending = asyncio.create_task(writer.drain())
        writer.write(body)
        assert await reader.read() == body
        await sending
        writer.close()


async def test_without_ready_endpoints_a_caller_is_refused_and_later_served(node: Node) -> None:
    address = await serve(node)
    await refused(address)
    async with backend(node, shout) as pod:
        await node.client.patch(ENDPOINTSLICES, "web-1", slice_of(pod), "default")
        reader, writer = await dial(address)
        await node.client.patch(ENDPOINTSLICES, "web-1", {"endpoints": []}, "default")
        await refused(address)
        writer.write(b"still here")
        writer.write_eof()
        assert await reader.read() == b"STILL HERE"
        writer.close()


async def test_an_endpoint_that_does_not_answer_is_passed_over(node: Node) -> None:
    async with backend(node, shout, 2) as alive:
        dead = str(node.config.pod_network.network_address + 240)
        address = await serve(node, dead, alive)
        for _ in range(4):
            reader, writer = await dial(address)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()


async def test_calls_go_on_while_the_daemon_is_away_and_a_dead_forwarder_comes_back(node: Node) -> None:
    async with backend(node, shout) as pod:
        address = await serve(node, pod)
        reader, writer = await dial(address)
        await node.agent.stop()
        writer.write(b"alone")
        writer.write_eof()
        assert await reader.read() == b"ALONE"
        writer.close()
        await node.restart_agent()
        (await dial(address))[1].close()


async def test_pods_reach_each_other_by_name(node: Node) -> None:
    target = await server(node, "target")
    caller = await server(node, "caller")
    await serve(node, target["status"]["podIP"])
    await until(lambda: "web.default" in (node.config.root / "hosts").read_text())
    (await dial(service(node)["spec"]["clusterIP"]))[1].close()
    for name in ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local"):
        assert "target" in await fetch(caller, f"/fetch?url=http://{name}:8080/env")
