"""Tokens that a Secret keeps: one of type `kubernetes.io/service-account-token` that names an account is filled in.

Such a token has no end of its own: it counts as long as its Secret and its account live. A Secret whose account is
missing, or another one of the same name, goes.
"""

from __future__ import annotations

import base64
from pathlib import Path

from kaos_ext.cluster.apiserver.auth import Tokens
from kaos_ext.cluster.apiserver.deletion import Deletion
from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import DeleteOptions, WriteOptions
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage
from kaos_ext.kube.objects import Object

TYPE = "kubernetes.io/service-account-token"
ACCOUNT, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_MANAGER = "kube-controller-manager"


class LegacyTokens(Follower):
    """Follows Secrets of the type, and the accounts they name."""

    name = "token secrets"

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        operations: Operations,
        deletion: Deletion,
        tokens: Tokens,
        authority: Path,
    ) -> None:
        super().__init__()
        self._registry = registry
        self._operations = operations
        self._deletion = deletion
        self._tokens = tokens
        self._authority = authority.read_bytes()
        self._secrets = storage.collection("/secrets")
        self._accounts = storage.collection("/serviceaccounts")
        self.follow(self._secrets)
        self.follow(self._accounts)
        self.add(*(f"{one.namespace}/{one.name}" for one in self._secrets.scan() if one.object.get("type") == TYPE))

    def due(self, collection: Collection, change: Change) -> list[str]:
        stored = change.stored
        if collection is self._secrets:
            return [f"{stored.namespace}/{stored.name}"] if stored.object.get("type") == TYPE else []
        if change.kind == "MODIFIED":
            return []
        return [
            f"{one.namespace}/{one.name}"
            for one in self._secrets.scan(stored.namespace)
            if one.object.get("type") == TYPE and _account(one.object) == stored.name
        ]

    async def settle(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        secret = self._secrets.get(namespace, name)
        if secret is None or secret.object.get("type") != TYPE or secret.object["metadata"].get("deletionTimestamp"):
            return
        served = self._registry.find("", "v1", "secrets")
        assert served is not None
        account = self._accounts.get(namespace, _account(secret.object))
        noted = (secret.object["metadata"].get("annotations") or {}).get(UID)
        uid = account.object["metadata"]["uid"] if account is not None else ""
        if not uid or noted not in (None, "", uid):
            own = secret.object["metadata"]["uid"]
            await self._deletion.delete(served, namespace, name, DeleteOptions(uid=own))
            return
        wanted = {"ca.crt": self._authority, "namespace": namespace.encode()}
        present = secret.object.get("data") or {}
        if not present.get("token"):
            token = self._tokens.issue_kept(namespace, _account(secret.object), uid, name)
            wanted["token"] = token.encode()
        data = {key: base64.b64encode(value).decode() for key, value in wanted.items()}
        if noted == uid and data.items() <= present.items():
            return

        def filled(current: Object) -> Object:
            result: Object = copied(current)
            result["data"] = {**(result.get("data") or {}), **data}
            meta = result["metadata"]
            meta["annotations"] = {**(meta.get("annotations") or {}), UID: uid}
            return result

        options = WriteOptions(manager=_MANAGER, named_manager=True, validation="Ignore")
        await self._operations.update(served, namespace, name, filled, options)


def _account(secret: Object) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(ACCOUNT) or "")
