"""Namespaces: what lies in one that is being deleted goes first, custom resources included; then the namespace.

Beside it, what every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from kaos_ext.cluster.controllers import pods as podinfo
from kaos_ext.cluster.controllers.contents import Contents, Discover, Item
from kaos_ext.cluster.controllers.events import now_text
from kaos_ext.cluster.controllers.informer import Key
from kaos_ext.cluster.controllers.loop import Controller, Shared, enqueue
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    NAMESPACES,
    PODS,
    SERVICEACCOUNTS,
    ApiError,
    Object,
    Propagation,
    Resource,
    is_conflict,
    is_not_found,
)

FINALIZER = "kubernetes"
ROOT_CA = "kube-root-ca.crt"


def removable(resources: Iterable[Resource]) -> list[Resource]:
    """The collections to empty, each once; views without objects of their own are not among them."""
    chosen: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        if resource.namespaced and resource.group not in ("authorization.k8s.io", "metrics.k8s.io"):
            chosen.setdefault((resource.group, resource.plural), resource)
    chosen.pop(("events.k8s.io", "events"), None)  # the same objects as the core group's
    return list(chosen.values())


def conditions(old: list[dict[str, Any]], left: Counter[str], finalizers: Counter[str]) -> list[dict[str, Any]]:
    """What a namespace that cannot go yet says about it, in the words of the real one."""
    remaining = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.items()))
    holding = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    wanted = [
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(left),
            "SomeResourcesRemain" if left else "ContentRemoved",
            f"Some resources are remaining: {remaining}" if left else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            "SomeFinalizersRemain" if finalizers else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {holding}"
            if finalizers
            else "All content-preserving finalizers finished",
        ),
    ]
    before = {item["type"]: item for item in old}
    result = []
    for type, holds, reason, message in wanted:
        status = "True" if holds else "False"
        same = before.get(type)
        since = same["lastTransitionTime"] if same and same["status"] == status else now_text()
        result.append(
            {"type": type, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
        )
    return result


class NamespaceController(Controller):
    name = "namespace"

    def __init__(self, shared: Shared, contents: Contents, discover: Discover) -> None:
        super().__init__()
        self._client = shared.client
        self._discover = discover
        self._contents = contents
        self._namespaces = shared.informer(NAMESPACES)
        self._namespaces.on_change(enqueue(self.queue))
        self._passes: Counter[str] = Counter()
        contents.on_change(self._content_changed)

    def _content_changed(self, old: Item | None, new: Item | None) -> None:
        item = new or old
        assert item is not None
        namespace = self._namespaces.get("", item.key[0]) if item.key[0] else None
        if namespace is None or not podinfo.is_terminating(namespace):
            return
        if (new is None and not self._contents.count(item.key[0])) or (new is not None and old is None):
            self.queue.add(("", item.key[0]))

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get(*key)
        if namespace is None or not podinfo.is_terminating(namespace):
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        left, finalizers = await self._empty(key[1])
        uid = namespace["metadata"]["uid"]
        if not left:
            self._passes.pop(uid, None)
            await self._finalize(namespace)
            return None
        self._passes[uid] += 1
        if self._passes[uid] > 1:
            await self._tell(namespace, left, finalizers)
        return min(0.05 * 2.0 ** self._passes[uid], 5.0)

    async def _empty(self, namespace: str) -> tuple[Counter[str], Counter[str]]:
        """Delete what is there; what is left after that, by resource, and what holds it."""
        left: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        # Pods first, and nothing else before they are gone: what they need must outlive them.
        for resource in sorted(removable(self._discover()), key=lambda one: one != PODS):
            if left["pods."]:
                break
            listed = await self._client.list(resource, namespace)
            for object in listed.items:
                metadata = object["metadata"]
                gone = False
                if not metadata.get("deletionTimestamp"):
                    gone = await self._delete(resource, object)
                if not gone:
                    left[resource.plural + (f".{resource.group}" if resource.group else ".")] += 1
                    finalizers.update(metadata.get("finalizers") or ())
        return left, finalizers

    async def _delete(self, resource: Resource, object: Object) -> bool:
        """Whether the object is gone at once."""
        metadata = object["metadata"]
        try:
            answer = await self._client.delete(
                resource,
                metadata["name"],
                metadata["namespace"],
                propagation=Propagation.BACKGROUND,
                uid=metadata["uid"],
            )
        except ApiError as error:
            if is_not_found(error):
                return True
            if is_conflict(error):
                return False
            raise
        return answer.get("kind") == "Status" or not (answer.get("metadata") or {}).get("deletionTimestamp")

    async def _finalize(self, namespace: Object) -> None:
        name = namespace["metadata"]["name"]
        kept = [one for one in namespace["spec"]["finalizers"] if one != FINALIZER]
        try:
            await self._client.patch(NAMESPACES, name, {"spec": {"finalizers": kept}}, subresource="finalize")
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def _tell(self, namespace: Object, left: Counter[str], finalizers: Counter[str]) -> None:
        old = (namespace.get("status") or {}).get("conditions") or []
        new = conditions(old, left, finalizers)
        if new == old:
            return
        patch = {"status": {"conditions": new}}
        try:
            await self._client.patch(NAMESPACES, namespace["metadata"]["name"], patch, subresource="status")
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise


class NamespaceDefaultsController(Controller):
    """Keeps the ServiceAccount `default` and the cluster's CA in every namespace."""

    name = "namespace defaults"

    def __init__(self, shared: Shared, root_ca: str) -> None:
        super().__init__()
        self._client = shared.client
        self._root_ca = root_ca
        self._namespaces = shared.informer(NAMESPACES)
        self._accounts = shared.informer(SERVICEACCOUNTS)
        self._configs = shared.informer(CONFIGMAPS)
        self._namespaces.on_change(enqueue(self.queue))
        self._accounts.on_change(self._watched("default"))
        self._configs.on_change(self._watched(ROOT_CA))

    def _watched(self, name: str) -> Any:
        def handler(old: Object | None, new: Object | None) -> None:
            metadata = (new or old or {})["metadata"]
            if metadata["name"] == name:
                self.queue.add(("", metadata["namespace"]))

        return handler

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get(*key)
        if namespace is None or podinfo.is_terminating(namespace):
            return None
        name = key[1]
        if self._accounts.get(name, "default") is None:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
            await self._create(SERVICEACCOUNTS, account)
        config = self._configs.get(name, ROOT_CA)
        data = {"ca.crt": self._root_ca}
        if config is None:
            metadata = {
                "name": ROOT_CA,
                "namespace": name,
                "annotations": {
                    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver."
                },
            }
            await self._create(
                CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            )
        elif config.get("data") != data:
            await self._client.patch(CONFIGMAPS, ROOT_CA, {"data": data}, name)
        return None

    async def _create(self, resource: Resource, object: Object) -> None:
        try:
            await self._client.create(resource, object, object["metadata"]["namespace"])
        except ApiError as error:
            ending = error.code == 403 or is_not_found(error)  # the namespace is on its way out
            if error.reason != "AlreadyExists" and not ending:
                raise
