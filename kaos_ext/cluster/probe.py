"""Ask a cluster's API server `/readyz`, over TLS and with its own authority, without an HTTP library.

The certificate proves that whoever listens on the port is this cluster and not another program.
"""

from __future__ import annotations

import asyncio
import ssl

from kaos_ext.cluster.config import ClusterConfig


async def is_ready(config: ClusterConfig, within: float = 2.0) -> bool:
    try:
        context = ssl.create_default_context(cafile=str(config.pki / "ca.crt"))
        token = (config.pki / "admin.token").read_text().strip()
    except (FileNotFoundError, ssl.SSLError):
        return False
    request = (
        f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{config.port}\r\nAuthorization: Bearer {token}\r\n"
        "Connection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection("127.0.0.1", config.port, ssl=context)
            try:
                writer.write(request.encode())
                answer = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ssl.SSLError):
        return False
    return b" 200 " in answer
