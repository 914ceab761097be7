"""The embedded Kubernetes API server: put together, started, stopped.

server = ApiServer(ApiServerConfig(...))
await server.start()          # serving, default namespaces and the `kubernetes` Service there
client = server.client()      # in-process, the same rules
await server.stop()
"""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from aiohttp import web

from kaos_ext.cluster.apiserver.admission import DEFAULT_NAMESPACES, Admission
from kaos_ext.cluster.apiserver.allocation import ServiceAddresses
from kaos_ext.cluster.apiserver.api import Api
from kaos_ext.cluster.apiserver.auth import Authenticator, Tokens
from kaos_ext.cluster.apiserver.authz import bootstrap
from kaos_ext.cluster.apiserver.authz.aggregation import Aggregation
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.certificates.signing import Signing
from kaos_ext.cluster.apiserver.completion import SYSTEM_CLASSES
from kaos_ext.cluster.apiserver.definitions import Definitions
from kaos_ext.cluster.apiserver.deletion import Deletion
from kaos_ext.cluster.apiserver.discovery import Discovery
from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.health import Health
from kaos_ext.cluster.apiserver.holds import Holds
from kaos_ext.cluster.apiserver.http import HttpApi, Stream
from kaos_ext.cluster.apiserver.identity import AUTHENTICATED, MASTERS, UserInfo
from kaos_ext.cluster.apiserver.kubelet import Kubelet
from kaos_ext.cluster.apiserver.legacy_tokens import LegacyTokens
from kaos_ext.cluster.apiserver.local import LocalClient
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.pages import Pages
from kaos_ext.cluster.apiserver.proxy import Proxy
from kaos_ext.cluster.apiserver.quota.enforcement import Quotas
from kaos_ext.cluster.apiserver.quota.status import QuotaStatus
from kaos_ext.cluster.apiserver.ranks import Ranks
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.resources import built_in
from kaos_ext.cluster.apiserver.reviews import Reviews
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.cluster.apiserver.token_requests import TokenRequests
from kaos_ext.cluster.apiserver.upkeep import Upkeep
from kaos_ext.cluster.apiserver.webhooks.admission import Webhooks
from kaos_ext.kube.objects import NAMESPACES, ApiError, Resource

log = logging.getLogger(__name__)
STOP_SECONDS = 2.0
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)


@dataclass(frozen=True, slots=True)
class KubeletAccess:
    """How the server reaches nodes: the authority of their certificates, and the token they know it by."""

    ca: Path
    token: str


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Files are PEM. `tokens` are static bearer tokens; `port` 0 takes a free one (see `ApiServer.port`)."""

    database: Path
    certificate: Path
    key: Path
    service_account_key: Path
    service_network: IPv4Network
    host: str = "127.0.0.1"
    port: int = 0
    tokens: Mapping[str, UserInfo] = field(default_factory=dict)
    client_ca: Path | None = None
    kubelet: KubeletAccess | None = None
    signing_key: Path | None = None
    """The key of `client_ca`, to sign certificates of users with."""


class ApiServer:
    """One server over one database; lives in one event loop."""

    def __init__(self, config: ApiServerConfig) -> None:
        self.config = config
        self.port = config.port
        self.ready = False
        self._runner: web.ServerRunner | None = None

    async def start(self) -> None:
        """Open the database, serve, and see that what every cluster has is there.

        Raises `kaos_ext.store.LockedError` when another process has the database, OSError when the port is taken.
        """
        config = self.config
        self.storage = Storage.open(config.database)
        self.health = Health({"etcd": self.storage.wrong, "etcd-readiness": self.storage.wrong})
        self.registry = Registry(built_in())
        Ranks(self.storage, self.registry)
        self.rbac = Rbac(self.storage)
        admission = Admission(self.storage, self.rbac)
        self.addresses = ServiceAddresses(config.service_network, self.storage.collection("/services"))
        self.webhooks = Webhooks(self.storage, self.registry)
        quotas = Quotas(self.storage)
        operations = Operations(self.storage, admission, self.addresses, self.webhooks, quotas)
        deletion = Deletion(self.storage, admission, self.webhooks)
        self.tokens = tokens = Tokens(config.service_account_key, self._exists, self._kept_token)
        authenticator = Authenticator(config.tokens, tokens)
        reviews = Reviews(self.rbac, authenticator, tokens)
        requests = TokenRequests(self.storage, tokens)
        self.api = Api(self.storage, self.registry, admission, operations, deletion, reviews, requests)
        self.definitions = Definitions(self.storage, self.registry, operations, deletion)
        self.definitions.start()
        self.health.done("poststarthook/crd-informer-synced", "poststarthook/start-apiextensions-controllers")
        self.upkeep = Upkeep(self.storage)
        self.followers: list[Follower] = [
            Aggregation(self.storage, self.registry, operations),
            Holds(self.storage, self.registry, operations),
            QuotaStatus(self.storage, self.registry, operations, quotas),
        ]
        if config.client_ca is not None:
            self.followers.append(
                LegacyTokens(self.storage, self.registry, operations, deletion, tokens, config.client_ca)
            )
        if config.signing_key is not None and config.client_ca is not None:
            self.followers.append(
                Signing(self.storage, self.registry, operations, config.client_ca, config.signing_key)
            )
        self.pages = Pages(self)
        self.proxy = Proxy(self.storage)
        access = config.kubelet
        self.kubelet = Kubelet(self.storage, access.ca if access else None, access.token if access else "")
        try:
            await self._serve(authenticator)
            await self._populate()
        except BaseException:
            await self.stop()
            raise
        self.upkeep.start()
        for follower in self.followers:
            follower.start()
        self.health.done("informer-sync", "shutdown")
        self.ready = True

    async def _serve(self, authenticator: Authenticator) -> None:
        config = self.config
        self.http = HttpApi(
            self.api,
            authenticator,
            self.rbac,
            Discovery(self.registry, f"{config.host}:{config.port}"),
            self.pages.handlers(),
            self._streams(),
        )
        server = web.Server(
            self.http.handle, handler_cancellation=True, access_log=None, keepalive_timeout=300.0, max_line_size=65536
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, config.host, config.port, ssl_context=_tls(config), backlog=512, reuse_address=True
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    def _streams(self) -> dict[str, Stream]:
        return {"proxy": self.proxy.handle, "log": self.kubelet.logs}

    async def _populate(self) -> None:
        client = self.client("system:kube-apiserver")
        for name in DEFAULT_NAMESPACES:
            if self.storage.collection("/namespaces").get("", name) is None:
                try:
                    await client.create(NAMESPACES, {"metadata": {"name": name}})
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
        self.health.done("poststarthook/start-system-namespaces-controller")
        await bootstrap.ensure(self.storage)
        self.health.done("poststarthook/rbac/bootstrap-roles")
        await self._publish_priorities(client)
        self.health.done("poststarthook/scheduling/bootstrap-system-priority-classes")
        await self.pages.publish_own_service(client)
        self.health.done("poststarthook/bootstrap-controller")

    async def _publish_priorities(self, client: LocalClient) -> None:
        present = self.storage.collection("scheduling.k8s.io/priorityclasses")
        for name, (value, description) in SYSTEM_CLASSES.items():
            if present.get("", name) is None:
                body = {"metadata": {"name": name}, "value": value, "description": description}
                await client.create(PRIORITY_CLASSES, body)

    def _exists(self, plural: str, namespace: str, name: str, uid: str) -> bool:
        found = self.storage.collection(f"/{plural}").get(namespace, name)
        return found is not None and found.object["metadata"]["uid"] == uid

    def _kept_token(self, namespace: str, name: str) -> str | None:
        found = self.storage.collection("/secrets").get(namespace, name)
        token = ((found.object.get("data") or {}) if found is not None else {}).get("token")
        return base64.b64decode(token).decode() if token else None

    def client(self, user: str | UserInfo = "system:apiserver") -> LocalClient:
        """An in-process client that acts as this user without being asked for rights: for parts of the cluster."""
        who = user if isinstance(user, UserInfo) else UserInfo(user, groups=(MASTERS, AUTHENTICATED))
        return LocalClient(self.api, who)

    async def stop(self) -> None:
        """End watches and requests, wait for every commit on its way, release the database."""
        self.ready = False
        self.health.undone("shutdown")
        for collection in self.storage.collections():
            collection.close()
        await self.upkeep.stop()
        for follower in self.followers:
            await follower.stop()
        await self.definitions.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.proxy.close()
        await self.kubelet.close()
        await self.webhooks.close()
        await self.storage.close()


def _tls(config: ApiServerConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.certificate, config.key)
    if config.client_ca is not None:
        context.load_verify_locations(config.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
