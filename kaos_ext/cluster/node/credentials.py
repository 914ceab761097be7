"""What a pod needs to speak to the API: a token of its ServiceAccount, bound to the pod, in a kubeconfig of its own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kaos_ext.cluster.client import Client
from kaos_ext.cluster.node.config import NodeConfig
from kaos_ext.kube.objects import SERVICEACCOUNTS, Object


@dataclass(frozen=True, slots=True)
class Token:
    value: str
    issued: float
    expires: float

    @property
    def stale(self) -> bool:
        """Past four fifths of its life: fetch another."""
        return time.time() > self.issued + (self.expires - self.issued) * 0.8


def mounts_token(pod: Object) -> bool:
    return pod["spec"].get("automountServiceAccountToken") is not False


class Tokens:
    """TokenRequests for one pod, each audience once until it is stale."""

    def __init__(self, client: Client, pod: Object) -> None:
        self._client = client
        self._pod = pod
        self._tokens: dict[str, Token] = {}

    async def get(self, audience: str, seconds: int) -> str:
        token = self._tokens.get(audience)
        if token is None or token.stale:
            token = self._tokens[audience] = await self._request(audience, seconds)
        return token.value

    def held(self, source: Mapping[str, Any]) -> bytes:
        """The token of a projected source, fetched before."""
        return self._tokens[source.get("audience") or ""].value.encode()

    @property
    def any_stale(self) -> bool:
        return any(token.stale for token in self._tokens.values())

    async def _request(self, audience: str, seconds: int) -> Token:
        metadata = self._pod["metadata"]
        account = self._pod["spec"].get("serviceAccountName") or "default"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._client.create(
            SERVICEACCOUNTS, request, metadata["namespace"], name=account, subresource="token"
        )
        status = answer["status"]
        expires = datetime.fromisoformat(status["expirationTimestamp"].replace("Z", "+00:00")).timestamp()
        return Token(status["token"], time.time(), expires)


def write_kubeconfig(path: Path, config: NodeConfig, namespace: str, token: str) -> None:
    """A kubeconfig (JSON is YAML) with everything inline, replaced atomically."""
    cluster: Object = {"server": config.api_server}
    if config.api_server_ca is not None:
        cluster["certificate-authority-data"] = base64.b64encode(config.api_server_ca.read_bytes()).decode()
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "serviceaccount", "user": {"token": token}}],
        "contexts": [
            {"name": "pod", "context": {"cluster": "cluster", "user": "serviceaccount", "namespace": namespace}}
        ],
    }
    write_private(path, json.dumps(value, indent=1).encode())


def write_private(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    temporary.replace(path)
