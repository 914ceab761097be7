"""Calls to webhooks: a URL, or a Service of this cluster under its name."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from kaos_ext.cluster.apiserver.storage import Storage, encode
from kaos_ext.cluster.apiserver.webhooks.reviews import BadAnswer
from kaos_ext.kube.objects import Object

ANSWER_BYTES = 3 * 1024 * 1024


class CallError(Exception):
    """A webhook that could not be asked."""


@dataclass(frozen=True, slots=True)
class Address:
    """`shown` is what messages name; `host` what the certificate must be for."""

    url: str
    shown: str
    host: str | None


class Calls:
    """One client for all webhooks of a server."""

    def __init__(self, storage: Storage) -> None:
        self._services = storage.collection("/services")
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, config: Mapping[str, Any], review: Object, seconds: int) -> Any:
        address = self._address(config, seconds)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        try:
            async with self._session.post(
                address.url,
                data=encode(review),
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=seconds),
                ssl=self._context(config.get("caBundle") or ""),
                server_hostname=address.host,
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(ANSWER_BYTES)
                if answer.status != 200:
                    text = body.decode("utf-8", "replace").strip()
                    raise CallError(f"failed to call webhook: the server answered {answer.status}: {text[:200]}")
                try:
                    return json.loads(body)
                except ValueError as error:
                    raise BadAnswer(f"the answer is no JSON: {error}") from None
        except TimeoutError:
            raise CallError(f'failed to call webhook: Post "{address.shown}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallError(f'failed to call webhook: Post "{address.shown}": {error}') from None

    def _address(self, config: Mapping[str, Any], seconds: int) -> Address:
        query = f"?timeout={seconds}s"
        if config.get("url"):
            return Address(config["url"] + query, config["url"] + query, None)
        reference = config.get("service") or {}
        namespace, name = reference.get("namespace", ""), reference.get("name", "")
        port = reference.get("port") or 443
        path = "/" + (reference.get("path") or "").lstrip("/")
        host = f"{name}.{namespace}.svc"
        shown = f"https://{host}:{port}{path}{query}"
        service = self._services.get(namespace, name)
        if service is None:
            raise CallError(f'failed to call webhook: Post "{shown}": service "{name}" not found')
        address = (service.object.get("spec") or {}).get("clusterIP")
        if not address or address == "None":
            raise CallError(f'failed to call webhook: Post "{shown}": service "{name}" has no address')
        return Address(f"https://{address}:{port}{path}{query}", shown, host)

    def _context(self, bundle: str) -> ssl.SSLContext:
        found = self._contexts.get(bundle)
        if found is None:
            text = base64.b64decode(bundle).decode() if bundle else None
            if len(self._contexts) > 64:
                self._contexts.clear()
            found = self._contexts[bundle] = ssl.create_default_context(cadata=text)
        return found
