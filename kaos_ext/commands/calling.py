"""Asking the process behind an object, through its Service: JSON, or a stream of server-sent events.

Silence is explained from the object: it does not exist, is not ready yet and why, or is not exposed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from kaos_ext.commands.failures import get_existing
from kaos_ext.commands.kinds import Spoken
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.lines import ServerEvent, ServerEvents
from kaos_ext.kube.objects import ApiError
from kaos_ext.kube.transport import Response, Unanswered
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.model.names import HTTP_PORT


class ServiceError(KaosError):
    """The process answered, but not with what was asked for."""

    def __init__(self, message: str, *, status: int, hint: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint, details=details)
        self.status = status


class Caller:
    """One object's process."""

    def __init__(
        self, kube: KubeClient, spoken: Spoken, name: str, port: int = HTTP_PORT, timeout: float | None = 60.0
    ) -> None:
        self.kube, self.spoken, self.name, self.port, self.timeout = kube, spoken, name, port, timeout

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """The JSON of a good answer; ServiceError otherwise."""
        response = await self.open(method, path, params=params, headers=headers, body=body, timeout=self.timeout)
        try:
            text = await response.read()
        except Unanswered as error:
            raise self._silent(str(error)) from error
        try:
            return json.loads(text)
        except ValueError:
            raise ServiceError(
                f"{self._who} answered {path} with something that is not JSON",
                status=response.status,
                details=(text[:200].decode(errors="replace"),),
            ) from None

    async def events(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> AsyncGenerator[ServerEvent, None]:
        """Server-sent events until the other side ends; Unanswered when the connection breaks off."""
        accept = {"Accept": "text/event-stream", **(headers or {})}
        response = await self.open(method, path, params=params, headers=accept, body=body, timeout=None)
        parser = ServerEvents()
        try:
            async with aclosing(response.chunks()) as chunks:
                async for chunk in chunks:
                    for event in parser.feed(chunk):
                        yield event
        finally:
            response.close()

    async def open(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        timeout: float | None = 60.0,  # noqa: ASYNC109
    ) -> Response:
        """The open response, once its status is known to be good."""
        try:
            response = await self.kube.service_request(
                method,
                self.spoken.child(self.name),
                self.port,
                path,
                params=params,
                headers=headers,
                body=body,
                timeout=timeout,
            )
        except ApiError as error:
            raise await self._explain(error) from error
        if response.status >= 400:
            text = (await response.read())[:2000].decode(errors="replace").strip()
            raise self._refused(response.status, path, text)
        return response

    @property
    def _who(self) -> str:
        return f"{self.spoken.kind.value} {self.name}"

    def _silent(self, why: str) -> NotReadyError:
        return NotReadyError(f"{self._who} stopped answering: {why}", hint=f"kaos {self.spoken.word} logs {self.name}")

    async def _explain(self, error: ApiError) -> KaosError:
        if error.code not in (404, 502, 503, 504):
            return error
        item = await get_existing(self.kube, self.spoken, self.name)
        status = item.get("status") or {}
        if ((item.get("spec") or {}).get("agentNetwork") or {}).get("expose") is False:
            return NotReadyError(
                f"{self._who} is not exposed: it has no Service to ask", hint="agentNetwork.expose: true"
            )
        missing = "its Service is not there yet" if error.code == 404 else error.message
        why = status.get("message") or missing
        return NotReadyError(f"{self._who} does not answer yet: {why}", hint=f"kaos {self.spoken.word} get {self.name}")

    def _refused(self, status: int, path: str, text: str) -> ServiceError:
        message = text
        try:
            value = json.loads(text)
            error = value.get("error", value.get("detail", text)) if isinstance(value, dict) else text
            message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        except ValueError:
            pass
        return ServiceError(
            f"{self._who} answered {path} with HTTP {status}: {message or 'nothing more'}"[:500],
            status=status,
            hint=f"kaos {self.spoken.word} logs {self.name}",
        )
