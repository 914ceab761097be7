"""Replies leave at once: no runtime waits for acknowledgements of its small packets."""

from __future__ import annotations

import asyncio
import socket

from kaos_ext.runtime.mcp.app import _listener


async def test_a_connection_to_the_tool_server_sends_small_packets_at_once() -> None:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = _listener("127.0.0.1", 0)
    server = await asyncio.start_server(serve, sock=listener)
    async with server:
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(accepted, 5)
        writer.close()
