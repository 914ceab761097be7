"""Calls to nodes: the kubelet's HTTP API, reached as a real control plane reaches it.

A node says where it listens (`status.addresses`, `status.daemonEndpoints`); its certificate is signed by the cluster's
authority, and it knows this server by a bearer token.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.paths import Target
from kaos_ext.cluster.apiserver.storage import Storage, Stored
from kaos_ext.kube.objects import ApiError, Object

_LOG_OPTIONS = ("follow", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "previous", "limitBytes")
_TEXT = {"Content-Type": "text/plain"}


class Kubelet:
    """Streams of Pods, fetched from their nodes."""

    def __init__(self, storage: Storage, ca: Path | None, token: str) -> None:
        self._pods = storage.collection("/pods")
        self._nodes = storage.collection("/nodes")
        self._ca = ca
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                headers={"Authorization": f"Bearer {self._token}"},
                auto_decompress=False,
            )
        return self._session

    async def logs(self, request: BaseRequest, target: Target, _user: object) -> web.StreamResponse:
        """`pods/log`: a container's output, streamed as the node sends it."""
        if request.method != "GET":
            raise failures.method_not_allowed()
        pod = self._pods.get(target.namespace or "", target.name)
        if pod is None:
            raise failures.not_found(target.served, target.name)
        container = _container(pod, request.query.get("container", ""))
        address = self._address(pod)
        if not address:
            return web.Response(body=b"", headers=_TEXT)
        options = {key: request.query[key] for key in _LOG_OPTIONS if key in request.query}
        url = f"{address}/containerLogs/{pod.namespace}/{pod.name}/{container}"
        try:
            async with self._client().get(url, params=options) as answer:
                if answer.status != 200:
                    raise await _refused(answer)
                return await _relay(request, answer, _TEXT)
        except aiohttp.ClientConnectionError as error:
            raise failures.internal_error(f'Get "{url}": {error}') from error

    def _address(self, pod: Stored) -> str:
        """Base URL of the node a Pod is on; empty while it is on none."""
        name = (pod.object.get("spec") or {}).get("nodeName")
        if not name:
            return ""
        node = self._nodes.get("", name)
        if node is None:
            raise failures.failure(404, "NotFound", f'nodes "{name}" not found', {"name": name, "kind": "nodes"})
        status: Object = node.object.get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        addresses = {one["type"]: one["address"] for one in reversed(status.get("addresses") or ())}
        host = addresses.get("InternalIP") or addresses.get("Hostname")
        if not port or not host:
            raise failures.internal_error(f"node {name} does not say where its kubelet listens")
        return f"https://{host}:{port}"


def _container(pod: Stored, asked: str) -> str:
    spec = pod.object.get("spec") or {}
    names = [one["name"] for one in spec.get("containers") or ()]
    every = [*names, *(one["name"] for one in spec.get("initContainers") or ())]
    every += [one["name"] for one in spec.get("ephemeralContainers") or ()]
    if asked:
        if asked not in every:
            raise failures.bad_request(f"container {asked} is not valid for pod {pod.name}")
        return asked
    usual = (pod.object["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if usual in every:
        return str(usual)
    if len(names) != 1:
        raise failures.bad_request(
            f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(every)}]"
        )
    return str(names[0])


async def _refused(answer: aiohttp.ClientResponse) -> ApiError:
    text = (await answer.text()).strip()
    if answer.status == 400:
        return failures.bad_request(text)
    if answer.status == 404:
        return failures.failure(404, "NotFound", f"the server could not find the requested resource ({text})")
    return failures.internal_error(text or f"the node answered {answer.status}")


async def _relay(
    request: BaseRequest, answer: aiohttp.ClientResponse, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The body of one answer as the body of another, chunk by chunk."""
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response
