"""A bare API server for development: `python -m kaos_ext.cluster.apiserver --state DIR`.

Makes certificates in DIR, writes DIR/kubeconfig, serves until SIGINT or SIGTERM. No controllers, no node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from ipaddress import IPv4Network
from pathlib import Path

from kaos_ext.cluster.apiserver.identity import admin
from kaos_ext.cluster.apiserver.server import ApiServer, ApiServerConfig
from kaos_ext.cluster.config import ClusterConfig, write_private
from kaos_ext.cluster.pki import ensure_pki


async def serve(state: Path, port: int, network: IPv4Network) -> None:
    cluster = ClusterConfig(root=state, name="dev", port=port, octet=64)
    pki = ensure_pki(cluster)
    server = ApiServer(
        ApiServerConfig(
            database=cluster.database,
            certificate=pki.api_certificate,
            key=pki.api_key,
            service_account_key=pki.service_account_key,
            service_network=network,
            port=port,
            tokens={pki.admin_token: admin()},
            client_ca=pki.ca,
            signing_key=pki.ca.with_name("ca.key"),
        )
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    write_private(cluster.kubeconfig, _kubeconfig(server.port, pki.ca, pki.admin_token))
    sys.stdout.write(f"serving https://127.0.0.1:{server.port}\nexport KUBECONFIG={cluster.kubeconfig}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()


def _kubeconfig(port: int, ca: Path, token: str) -> bytes:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(ca)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "dev",
            "clusters": [{"name": "dev", "cluster": cluster}],
            "users": [{"name": "dev", "user": {"token": token}}],
            "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "dev"}}],
        }
    ).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--service-network", type=IPv4Network, default=IPv4Network("127.64.0.0/17"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    args.state.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(args.state.absolute(), args.port, args.service_network))


if __name__ == "__main__":
    main()
