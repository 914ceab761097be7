"""kopf's part: it watches, keeps indices and says what changed. Nothing is decided here.

Indices are complete before the first handler runs, so a restart never takes a resource that was not listed yet for
one that does not exist. Only event handlers are used: kopf then writes no annotations and no finalizers.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import kopf

from kaos_ext.kube.kubeconfig import endpoint
from kaos_ext.kube.objects import PODS, Object, WatchType
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError
from kaos_ext.model.names import Kind
from kaos_operator.children import RESOURCES
from kaos_operator.connection import Renewing
from kaos_operator.reconcile import Reconciler
from kaos_operator.render.pods import digest
from kaos_operator.settings import Settings
from kaos_operator.world import Key, World, owner, pod_owner, registry_data

log = logging.getLogger(__name__)

MANAGED = {names.MANAGED_BY: names.OPERATOR}
ENDING_SECONDS = 0.5
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class Operator:
    """One run of the operator: a registry of handlers around a World and a Reconciler."""

    def __init__(self, settings: Settings, client: Renewing) -> None:
        self.settings, self.client = settings, client
        self.registry = kopf.OperatorRegistry()
        self._reconciler: Reconciler | None = None
        self._pods: dict[str, Object] = {}
        self._tasks: list[asyncio.Task[None]] = []
        kopf.on.startup(registry=self.registry)(self.startup)
        kopf.on.cleanup(registry=self.registry)(self.cleanup)
        kopf.on.login(registry=self.registry)(login)
        kopf.on.probe(registry=self.registry, id="resources")(self.probe)
        self._watch_resources()
        self._watch_children()
        self._watch_contents()

    async def startup(self, settings: kopf.OperatorSettings, **indices: Any) -> None:
        """Before any watch: how kopf behaves, and the world over its indices."""
        configure(settings)
        world = World(
            settings=self.settings,
            resources=indices["resources"],
            children=indices["children"],
            contents=indices["contents"],
            registry=indices["runtimes"],
            storage_classes=indices["storage"],
            pods=self._pods,
        )
        self._reconciler = Reconciler(self.client, world)
        self._tasks.append(asyncio.create_task(self._follow_pods(), name="pods of the operator"))

    async def cleanup(self, **_: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._reconciler is not None:
            await self._reconciler.stop()
        await self.client.close()
        asyncio.get_running_loop().call_later(ENDING_SECONDS, _leave)

    def probe(self, resources: kopf.Index[Any, Any], **_: Any) -> int:
        return len(resources)

    @property
    def reconciler(self) -> Reconciler:
        if self._reconciler is None:
            raise RuntimeError("a handler ran before the start")
        return self._reconciler

    # -- resources of ours ---------------------------------------------------------------------------------------------

    def _watch_resources(self) -> None:
        for kind in Kind:
            where = (names.GROUP, names.VERSION, kind.plural)
            kopf.index(*where, id="resources", registry=self.registry)(_indexed(kind))
            kopf.on.event(*where, id=f"{kind.app}-changed", registry=self.registry)(self._resource_handler(kind))

    def _resource_handler(self, kind: Kind) -> Any:
        async def changed(namespace: str, name: str, **_: Any) -> None:
            self.reconciler.resource_changed(Key(kind, namespace, name))

        return changed

    # -- what they own -------------------------------------------------------------------------------------------------

    def _watch_children(self) -> None:
        for kind, resource in RESOURCES.items():
            where = (resource.group, resource.version, resource.plural)
            kopf.index(*where, id="children", labels=MANAGED, registry=self.registry)(_child_indexed(kind))
            kopf.on.event(*where, id=f"{resource.plural}-changed", labels=MANAGED, registry=self.registry)(
                self._child_handler(kind)
            )

    def _child_handler(self, kind: str) -> Any:
        async def changed(event: Mapping[str, Any], **_: Any) -> None:
            child = {**event["object"], "kind": kind}
            found = owner(child)
            if found is None:
                return
            if event["type"] == "DELETED":
                self.reconciler.child_deleted(child)
            self.reconciler.touch(found[0])

        return changed

    async def _follow_pods(self) -> None:
        """Only pods of ours, filtered by the server: they say why something does not start."""
        while True:
            try:
                selector = f"{names.MANAGED_BY}={names.OPERATOR}"
                async for change in self.client.follow(PODS, labels=selector):
                    pod = change.object
                    if change.type is WatchType.DELETED:
                        self._pods.pop(pod["metadata"]["uid"], None)
                    else:
                        self._pods[pod["metadata"]["uid"]] = pod
                    if (key := pod_owner(pod)) is not None:
                        self.reconciler.touch(key)
            except KaosError as error:
                log.warning("pods are not seen: %s", error)
                await asyncio.sleep(1)

    # -- what they read ------------------------------------------------------------------------------------------------

    def _watch_contents(self) -> None:
        for kind, plural in (("ConfigMap", "configmaps"), ("Secret", "secrets")):
            kopf.index("", "v1", plural, id="contents", registry=self.registry)(_content_indexed(kind))
            kopf.on.event("", "v1", plural, id=f"{plural}-read", registry=self.registry)(self._content_handler(kind))
        kopf.index("", "v1", "configmaps", id="runtimes", registry=self.registry)(_runtimes_indexed)
        kopf.index("storage.k8s.io", "v1", "storageclasses", id="storage", registry=self.registry)(_storage_indexed)
        kopf.on.event("storage.k8s.io", "v1", "storageclasses", id="storage-changed", registry=self.registry)(
            self._storage_changed
        )

    def _content_handler(self, kind: str) -> Any:
        async def changed(namespace: str, name: str, **_: Any) -> None:
            self.reconciler.content_changed(kind, namespace, name)
            if (kind, name, namespace) == ("ConfigMap", names.MCP_RUNTIMES, self.settings.system_namespace):
                self.reconciler.kind_changed(Kind.MCPSERVER)

        return changed

    async def _storage_changed(self, **_: Any) -> None:
        self.reconciler.kind_changed()


def _indexed(kind: Kind) -> Any:
    def resources(body: Mapping[str, Any], namespace: str, name: str, **_: Any) -> dict[Key, Object]:
        return {Key(kind, namespace, name): _kept(body, kind.value)}

    return resources


def _child_indexed(kind: str) -> Any:
    def children(body: Mapping[str, Any], namespace: str, name: str, **_: Any) -> dict[Any, Object]:
        child = _kept(body, kind)
        found = owner(child)
        return {found[1]: child, (kind, namespace, name): child} if found else {}

    return children


def _kept(body: Mapping[str, Any], kind: str) -> Object:
    """The object without its longest part, which nobody here reads."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "kind": kind, "metadata": metadata}


def _content_indexed(kind: str) -> Any:
    def contents(body: Mapping[str, Any], namespace: str, name: str, **_: Any) -> dict[tuple[str, str, str], str]:
        return {(kind, namespace, name): digest([body.get("data"), body.get("binaryData")])}

    return contents


def _runtimes_indexed(body: Mapping[str, Any], namespace: str, name: str, **_: Any) -> dict[str, dict[str, str]]:
    return {namespace: registry_data(dict(body))} if name == names.MCP_RUNTIMES else {}


def _storage_indexed(annotations: Mapping[str, str], name: str, **_: Any) -> dict[bool, str]:
    return {annotations.get(DEFAULT_CLASS) == "true": name}


def login(**_: Any) -> kopf.ConnectionInfo | None:
    """The same endpoint as our own client: the kubeconfig where there is one, the service account in a pod."""
    found = endpoint()
    if found.plugin:
        return kopf.login_via_client(**_)
    token = found.token
    if found.token_file:
        with open(found.token_file, encoding="utf-8") as file:  # noqa: PTH123 - a plain path from the kubeconfig
            token = file.read().strip()
    return kopf.ConnectionInfo(
        server=found.server,
        ca_data=found.authority or None,
        insecure=found.insecure or None,
        certificate_data=found.certificate or None,
        private_key_data=found.key or None,
        token=token or None,
        username=found.username or None,
        password=found.password or None,
        proxy_url=found.proxy or None,
        default_namespace=found.namespace,
    )


class Patience:
    """Pauses between attempts without end: an API server that is away is waited for, not died of."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.2, 0.4)
        yield from itertools.repeat(1.0)


def configure(settings: kopf.OperatorSettings) -> None:
    """Quick where waiting has no use, and silent on the objects themselves."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 60
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 0.1
    settings.networking.error_backoffs = Patience()
    settings.networking.request_timeout = 60
    settings.queueing.exit_timeout = 0.5
    settings.background.instant_exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = 5
    settings.execution.default_backoff = 5


def _leave() -> None:
    """All of ours is down, but kopf waits for requests that no server answers. There is no state to lose: what was
    under way is done again by the next operator."""
    log.warning("ended with requests under way: the API server does not answer")
    logging.shutdown()
    os._exit(0)


def run(environ: Mapping[str, str] = os.environ) -> None:
    """Until a signal ends it."""

    async def main() -> None:
        operator = Operator(Settings.from_environ(environ), Renewing())
        host, port = environ.get("HOST") or "0.0.0.0", environ.get("HEALTH_PORT") or "8081"
        await kopf.operator(
            registry=operator.registry,
            clusterwide=True,
            standalone=True,
            liveness_endpoint=f"http://{host}:{port}/healthz",
        )

    asyncio.run(main())
