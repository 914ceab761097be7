"""A server of its own for each test, in the test's loop, with certificates made once."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kaos_ext.cluster.apiserver.identity import admin
from kaos_ext.cluster.apiserver.server import ApiServer, ApiServerConfig, KubeletAccess
from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.pki import Pki, ensure_pki

Object = dict[str, Any]
NETWORK = IPv4Network("127.64.0.0/17")


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class Http:
    """A bare HTTP client of one server, as the admin."""

    url: str
    token: str
    session: aiohttp.ClientSession
    context: ssl.SSLContext
    watches: list[aiohttp.ClientResponse] = field(default_factory=list)

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Accept": accept, "User-Agent": "tests/1", **(headers or {})}
        authorization = self.token if token is None else token
        if authorization:
            sent["Authorization"] = f"Bearer {authorization}"
        data: bytes | None = None
        if body is not None:
            sent["Content-Type"] = content_type
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(method, self.url + path, data=data, headers=sent, ssl=self.context) as answer:
            text = await answer.read()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text.decode()
            return Answer(answer.status, answer.headers, parsed)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self("GET", path, **more)

    async def post(self, path: str, body: Any, **more: Any) -> Answer:
        return await self("POST", path, body, **more)

    async def merge(self, path: str, body: Any) -> Answer:
        return await self("PATCH", path, body, content_type="application/merge-patch+json")

    async def watch(self, path: str, accept: str = "application/json") -> AsyncIterator[Object]:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        async with self.session.get(self.url + path, headers=headers, ssl=self.context) as answer:
            while line := await answer.content.readline():
                yield json.loads(line)


async def next_of(events: AsyncIterator[Object], seconds: float = 5.0) -> Object:
    """The next event, or a failure within the deadline."""
    return await asyncio.wait_for(anext(events), seconds)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Let the loop turn until the condition holds, or fail at the deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not come about"
        await asyncio.sleep(0.002)


@dataclass
class Running:
    server: ApiServer
    http: Http
    cluster: ClusterConfig
    pki: Pki

    def write_kubeconfig(self, path: Path) -> Path:
        cluster = {"server": self.http.url, "certificate-authority": str(self.pki.ca)}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "test", "user": {"token": self.pki.admin_token}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                }
            )
        )
        return path


def config_of(cluster: ClusterConfig, pki: Pki, database: Path) -> ApiServerConfig:
    return ApiServerConfig(
        database=database,
        certificate=pki.api_certificate,
        key=pki.api_key,
        service_account_key=pki.service_account_key,
        service_network=NETWORK,
        tokens={pki.admin_token: admin()},
        client_ca=pki.ca,
        signing_key=pki.ca.with_name("ca.key"),
        kubelet=KubeletAccess(pki.ca, pki.kubelet_token),
    )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClusterConfig, Pki]:
    config = ClusterConfig(root=tmp_path_factory.mktemp("cluster"), name="test", port=0, octet=64)
    return config, ensure_pki(config)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


@pytest.fixture
async def start(
    cluster: tuple[ClusterConfig, Pki], session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Callable[[], Any]]:
    """Start a server over the test's database; starting again over the same one is a restart."""
    config, pki = cluster
    running: list[ApiServer] = []
    context = ssl.create_default_context(cafile=str(pki.ca))

    async def started() -> Running:
        server = ApiServer(config_of(config, pki, tmp_path / "cluster.db"))
        await server.start()
        running.append(server)
        http = Http(f"https://127.0.0.1:{server.port}", pki.admin_token, session, context)
        return Running(server, http, config, pki)

    yield started
    for server in running:
        if server.ready:
            await server.stop()


@pytest.fixture
async def running(start: Callable[[], Any]) -> Running:
    found: Running = await start()
    return found


@pytest.fixture
def http(running: Running) -> Http:
    return running.http


def config_map(name: str, **more: Any) -> Object:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, **more}


CMS = "/api/v1/namespaces/default/configmaps"

WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.dev"},
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "maximum": 10},
                                    "mode": {"type": "string", "default": "slow"},
                                    "replicas": {"type": "integer", "default": 1},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGET_PATH = "/apis/example.dev/v1/namespaces/default/widgets"


async def serve_widgets(http: Http) -> None:
    """Create the CRD and wait until it is established."""
    assert (await http.post(CRDS, WIDGETS)).status == 201
    async for event in http.watch(f"{CRDS}?watch=1&fieldSelector=metadata.name=widgets.example.dev&timeoutSeconds=5"):
        conditions = (event["object"]["status"] or {}).get("conditions") or []
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            return
    raise AssertionError("the CRD was not established")
