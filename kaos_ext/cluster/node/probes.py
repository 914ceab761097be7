"""Probes: when to ask, what an answer means (pure), and the asking itself.

Kubernetes asks first after initialDelaySeconds and then every period; failures count towards failureThreshold. We ask
earlier as well, at once and at 20, 40, 80 … ms, until the first success: such a failure never counts unless it falls on
or after the moment Kubernetes would have asked, so a container is never judged harder than on a real node.
A liveness probe is first asked after one period: nothing lives at the instant of its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_FIRST_GAP = 0.02
_EAGER_GAP = 0.08
_EAGER_SECONDS = 10.0
_MAX_HEAD = 64 * 1024


class ProbeKind(StrEnum):
    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


@dataclass(frozen=True, slots=True)
class ProbeTiming:
    initial_delay: float
    period: float
    timeout: float
    failure_threshold: int
    success_threshold: int
    eager: bool

    @classmethod
    def of(cls, kind: ProbeKind, probe: Mapping[str, Any]) -> ProbeTiming:
        return cls(
            initial_delay=float(probe.get("initialDelaySeconds") or 0),
            period=float(probe.get("periodSeconds") or 10),
            timeout=float(probe.get("timeoutSeconds") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
            success_threshold=int(probe.get("successThreshold") or 1),
            eager=kind is not ProbeKind.LIVENESS,
        )


@dataclass(frozen=True, slots=True)
class ProbeState:
    """A fold of answers: `verdict` is None until a threshold was met."""

    verdict: bool | None = None
    successes: int = 0
    failures: int = 0
    asked: int = 0
    counted_at: float = -1.0
    """When a failure last counted, in seconds since the container's start."""


def counts(state: ProbeState, timing: ProbeTiming, at: float) -> bool:
    """Whether Kubernetes would have asked by now."""
    if state.counted_at < 0:
        return at >= timing.initial_delay + timing.period
    return at >= state.counted_at + timing.period * 0.9


def answered(state: ProbeState, timing: ProbeTiming, success: bool, at: float) -> ProbeState:
    """The state after an answer at `at` seconds since the container's start."""
    asked = state.asked + 1
    if success:
        successes = state.successes + 1
        enough = successes >= timing.success_threshold
        return ProbeState(True if enough else state.verdict, successes, 0, asked, state.counted_at)
    if state.verdict is not True and not counts(state, timing, at):
        return ProbeState(state.verdict, 0, state.failures, asked, state.counted_at)
    failures = state.failures + 1
    enough = failures >= timing.failure_threshold
    return ProbeState(False if enough else state.verdict, 0, failures, asked, at)


def next_delay(state: ProbeState, timing: ProbeTiming, at: float) -> float:
    """Seconds until the next question."""
    if state.asked == 0:
        return 0.0 if timing.eager else max(0.0, timing.initial_delay + timing.period - at)
    if not timing.eager or state.verdict is not None:
        return timing.period
    doubling = float(_FIRST_GAP * 2 ** min(state.asked - 1, 16))
    return min(doubling, _EAGER_GAP if at < _EAGER_SECONDS else timing.period, timing.period)


@dataclass(frozen=True, slots=True)
class Answer:
    success: bool
    message: str = ""


RunCommand = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs argv in the container's surroundings within a time, gives exit code and output."""


def port_number(port: int | str, container: Mapping[str, Any]) -> int:
    """A port by number, or by the name the container gives it."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for each in container.get("ports") or []:
        if each.get("name") == port:
            return int(each["containerPort"])
    raise ValueError(f'the container has no port named "{port}"')


async def ask(
    action: Mapping[str, Any], container: Mapping[str, Any], address: str, limit: float, run: RunCommand
) -> Answer:
    """Ask once. Every outcome is an answer."""
    try:
        async with asyncio.timeout(limit):
            if http := action.get("httpGet"):
                return await _http(http, container, http.get("host") or address)
            if tcp := action.get("tcpSocket"):
                host, port = tcp.get("host") or address, port_number(tcp["port"], container)
                return await _tcp(host, port)
            if command := action.get("exec"):
                code, output = await run(command.get("command") or [], limit)
                return Answer(code == 0, output.strip()[:10240])
            return Answer(False, f"this node has no probe of the kind {next(iter(action), 'none')}")
    except TimeoutError:
        if "httpGet" in action:
            return Answer(False, f'Get "{_url(action["httpGet"], container, address)}": context deadline exceeded')
        return Answer(False, f"command timed out after {limit:g}s" if "exec" in action else "i/o timeout")
    except ValueError as error:
        return Answer(False, str(error))


def _refusal(error: OSError) -> str:
    return "connection refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or str(error)).lower()


async def _tcp(host: str, port: int) -> Answer:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Answer(False, f"dial tcp {host}:{port}: connect: {_refusal(error)}")
    writer.close()
    return Answer(True)


def _url(http: Mapping[str, Any], container: Mapping[str, Any], address: str) -> str:
    scheme = (http.get("scheme") or "HTTP").lower()
    path = http.get("path") or "/"
    host = http.get("host") or address
    return f"{scheme}://{host}:{port_number(http['port'], container)}{path if path.startswith('/') else '/' + path}"


async def _http(http: Mapping[str, Any], container: Mapping[str, Any], host: str) -> Answer:
    url = _url(http, container, host)
    port = port_number(http["port"], container)
    context: ssl.SSLContext | None = None
    if url.startswith("https:"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # as the kubelet: a probe does not judge certificates
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError as error:
        return Answer(False, f'Get "{url}": dial tcp {host}:{port}: connect: {_refusal(error)}')
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {each["name"]: each["value"] for each in http.get("httpHeaders") or []}
    target = url.split("/", 3)[3]
    try:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET /{target} HTTP/1.1\r\n{head}\r\n".encode())
        status_line = await reader.readline()
        while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
            if len(line) > _MAX_HEAD:
                break
        parts = status_line.split(None, 2)
        if len(parts) < 2 or not parts[1].isdigit():
            return Answer(False, f'Get "{url}": EOF' if not status_line else f'Get "{url}": malformed HTTP response')
        code = int(parts[1])
        return Answer(200 <= code < 400, "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}")
    except (OSError, asyncio.LimitOverrunError) as error:
        return Answer(False, f'Get "{url}": {error}')
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
