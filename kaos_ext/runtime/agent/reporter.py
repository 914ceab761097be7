"""The agent tells its own Agent how its loop is doing: `status.loop` and the conditions that are its own.

    journal grows ──▶ state ──▶ at once when the state or a condition turned, else at most every EVERY_SECONDS (`Pace`)

One small HTTPS request with the pod's ServiceAccount, whose only right is the status of this one Agent. Server-side
apply keeps what the operator writes there. A server that is away or refuses costs a log line, never an iteration.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from asyncio import sslproto
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from yarl import URL

from kaos_ext.model import names
from kaos_ext.model.budget import Amounts, Scope
from kaos_ext.model.errors import KaosError
from kaos_ext.model.events import LOOP_RUN
from kaos_ext.model.loop_state import LoopPhase
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.wire import Wire
from kaos_ext.runtime.secrets import Redactor

EVERY_SECONDS = 5.0
TOGETHER_SECONDS = 0.1
"""Changes of such a moment are one report."""
TURNS = 5
"""So many turns of the state are told at once."""
PATIENCE_SECONDS = 5.0
LAST_SECONDS = 1.0
TLS_BYTES = 32 * 1024
MANAGER = "kaos-agent"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """A condition without its time."""

    type: str
    status: bool
    reason: str
    message: str


def conditions(service: AgentService) -> list[Said]:
    """What the agent itself knows of its state."""
    settings, state = service.settings, service.loop_state
    said = []
    if settings.budget:
        used = state.stop_reason
        message = f"the budget {used} is used up" if used else "there is room in every budget"
        said.append(Said("BudgetExhausted", bool(used), "LimitReached" if used else "WithinBudget", message))
    if settings.approvals.tools:
        waiting = ", ".join(sorted({call.tool for _, call in service.runs.waiting()}))
        message = f"waiting for approval of {waiting}" if waiting else "nothing waits for approval"
        said.append(Said("ApprovalRequired", bool(waiting), "ToolCall" if waiting else "NothingWaits", message))
    if settings.goal:
        paused = state.phase is LoopPhase.PAUSED
        message = "the owner holds the loop" if paused else "the loop may go on"
        said.append(Said("Paused", paused, "Suspended" if paused else "NotSuspended", message))
        failing = state.failures > 0
        why = f"{state.failures} iterations in a row ended badly: {state.last_error}"
        message = why if failing else "the last iteration ended well"
        said.append(Said("IterationsFailing", failing, state.last_outcome if failing else "Well", message))
    return said


def loop_status(service: AgentService) -> dict[str, Any]:
    """`status.loop`."""
    state, ledger, now = service.loop_state, service.journal.ledger, time.time()
    waiting = ", ".join(sorted({call.tool for _, call in service.runs.waiting()}))
    status: dict[str, Any] = {
        "state": str(state.phase),
        "iteration": state.iteration,
        "lastOutcome": state.last_outcome or None,
        "lastDurationSeconds": state.last_duration_seconds,
        "nextRunAt": None if state.next_run_at is None else _time(state.next_run_at),
        "stopReason": state.stop_reason or None,
        "waitingFor": waiting or None,
        "totals": {_camel(name): value for name, value in state.totals.to_json().items()},
        "spent": {
            "today": _round(ledger.spent(Scope.DAY, LOOP_RUN, now)),
            "life": _round(ledger.spent(Scope.LIFE, LOOP_RUN, now)),
        },
    }
    return {key: value for key, value in status.items() if value is not None}


class Pace:
    """When the next report is due: at once when the state turned, else at most every EVERY_SECONDS.

    A state that turns all the time is no different from one that does not: TURNS at once, then one every EVERY_SECONDS.
    A report that was refused is tried again after EVERY_SECONDS, whatever turned meanwhile.
    """

    def __init__(self) -> None:
        self._told: str | None = None
        self._at = self._not_before = float("-inf")
        self._turns, self._counted_at = float(TURNS), 0.0

    def due(self, mark: str, *, grown: bool, now: float) -> float | None:
        """The time of the next report, as things stand; None when there is nothing to say."""
        if mark != self._told:
            turns = self._left(now)
            return max(self._not_before, now if turns >= 1 else now + (1 - turns) * EVERY_SECONDS)
        return max(self._not_before, self._at + EVERY_SECONDS) if grown else None

    def reported(self, mark: str, now: float) -> None:
        if self._told is not None:
            self._turns, self._counted_at = max(0.0, self._left(now) - 1), now
        self._told, self._at = mark, now

    def refused(self, now: float) -> None:
        self._not_before = now + EVERY_SECONDS

    def _left(self, now: float) -> float:
        return min(float(TURNS), self._turns + max(0.0, now - self._counted_at) / EVERY_SECONDS)


class Reporter:
    def __init__(self, service: AgentService, stopping: asyncio.Event) -> None:
        self._service, self._stopping = service, stopping
        self._redactor = Redactor(service.settings.secrets)
        self._turned: dict[str, tuple[str, str]] = {}
        """Status and time of the last turn of each condition."""
        self._server = ""
        self._token: Path | str = ""
        self._wire = Wire()
        self._trouble = ""

    async def run(self) -> None:
        """Report until the process is to stop."""
        try:
            self._connect()
        except KaosError as error:
            log.warning("status.loop is not reported: %s", error)
            return
        grown = asyncio.Event()
        stop = self._service.journal.on_append(grown.set)
        pace = Pace()
        try:
            while not self._stopping.is_set():
                mark, now = self._mark(), time.monotonic()
                due = pace.due(mark, grown=grown.is_set(), now=now)
                if due is not None and due <= now:
                    grown.clear()  # What happens during the report is for the next one.
                    if await self._report(PATIENCE_SECONDS):
                        pace.reported(mark, now)
                    else:
                        grown.set()
                        pace.refused(time.monotonic())
                    await self._rest(TOGETHER_SECONDS)
                elif due is None:
                    await self._until(grown)
                else:
                    # The state may turn meanwhile, which is worth a look but not one at every event.
                    await self._rest(min(due - now, TOGETHER_SECONDS))
        finally:
            stop()

    async def _until(self, grown: asyncio.Event) -> None:
        """Until something happens, and what happens with it."""
        waits = [asyncio.ensure_future(grown.wait()), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        await self._rest(TOGETHER_SECONDS)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def last(self) -> None:
        """How the agent stands at its end."""
        if self._server:
            await self._report(LAST_SECONDS)
        self._wire.close()

    def _mark(self) -> str:
        """What is worth a report at once when it changes: running and waiting take turns all the time."""
        state = self._service.loop_state
        phase = "active" if state.phase in (LoopPhase.RUNNING, LoopPhase.WAITING) else str(state.phase)
        turns = [(said.type, said.status) for said in conditions(self._service)]
        return f"{phase} {state.stop_reason} {turns} {len(self._service.runs.waiting())}"

    async def _report(self, patience: float) -> bool:
        try:
            async with asyncio.timeout(patience):
                if not self._turned:
                    await self._recall()
                await self._request("PATCH", self._status())
        except (KaosError, TimeoutError, OSError, ValueError) as error:
            if str(error) != self._trouble:
                log.warning("status.loop is not taken: %s", error or type(error).__name__)
            self._trouble = str(error)
            return False
        self._trouble = ""
        return True

    def _status(self) -> dict[str, Any]:
        settings, now = self._service.settings, _time(time.time())
        listed = []
        for said in conditions(self._service):
            status = "True" if said.status else "False"
            if self._turned.get(said.type, ("", ""))[0] != status:
                self._turned[said.type] = (status, now)
            message = self._redactor.text(said.message)[:1024]
            listed.append(
                {
                    "type": said.type,
                    "status": status,
                    "reason": said.reason,
                    "message": message,
                    "lastTransitionTime": self._turned[said.type][1],
                }
            )
        return {
            "apiVersion": names.API_VERSION,
            "kind": "Agent",
            "metadata": {"name": settings.name, "namespace": settings.namespace},
            "status": {"loop": loop_status(self._service), "conditions": listed},
        }

    async def _recall(self) -> None:
        """When each condition turned, as the process before this one reported it."""
        found = (await self._request("GET")).get("status") or {}
        for condition in found.get("conditions") or ():
            self._turned[condition["type"]] = (condition["status"], condition["lastTransitionTime"])

    async def _request(self, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        settings = self._service.settings
        path = f"/apis/{names.API_VERSION}/namespaces/{settings.namespace}/agents/{settings.name}/status"
        token = self._token.read_text().strip() if isinstance(self._token, Path) else self._token
        headers = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
        url = URL(self._server + path)
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"
            url = url.with_query(fieldManager=MANAGER, force="true")
        data = b"" if body is None else json.dumps(body).encode()
        answered = await self._wire.send(method, url, data, headers, seconds=PATIENCE_SECONDS)
        if answered.status >= 300:
            raise KaosError(f"HTTP {answered.status} {answered.body[:300].decode('utf-8', 'replace')}")
        value: dict[str, Any] = json.loads(answered.body)
        return value

    def _connect(self) -> None:
        from kaos_ext.kube.kubeconfig import endpoint

        found = endpoint()
        self._server = found.server
        self._token = Path(found.token_file) if found.token_file else found.token
        if found.server.startswith("https"):
            # asyncio has each TLS connection read into 256 KiB, which would be the largest thing an agent holds.
            sslproto.SSLProtocol.max_size = TLS_BYTES
            self._wire = Wire(ssl.create_default_context(cadata=found.authority or None))


def _round(amounts: Amounts) -> dict[str, float]:
    return {name: round(value, 6) for name, value in amounts.to_json().items()}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
