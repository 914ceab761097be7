"""Approvals over HTTP: which tool calls wait for a person, and the person's decision.

`GET /approvals` lists them; `POST /approvals` with `{"decision": "approve" | "decline", "id", "run", "reason", "by"}`
decides one (`id` and `run` may be left out while only one waits; an id names this very question, as the call's own id
may come again in the next iteration). The decision is on record when the answer is sent.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from kaos_ext.model.errors import NotFoundError
from kaos_ext.model.loop_state import Waiting
from kaos_ext.runtime.agent.service import AgentService
from kaos_ext.runtime.agent.underway import ConflictError
from kaos_ext.runtime.secrets import Redactor

DECISIONS = {"approve": True, "decline": False}


class ApprovalDesk:
    def __init__(self, service: AgentService, redactor: Redactor) -> None:
        self._service = service
        self._redactor = redactor

    async def waiting(self, request: web.Request) -> web.Response:
        listed = [
            self._told(run, call, self._service.runs.approval_id(run, call))
            for run, call in self._service.runs.waiting()
        ]
        return web.json_response({"agent": self._service.settings.name, "approvals": listed, "total": len(listed)})

    async def answer(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            return _refused(400, "the body is not JSON")
        decision = body.get("decision") if isinstance(body, dict) else None
        if not isinstance(decision, str) or decision not in DECISIONS:
            return _refused(400, "decision must be approve or decline")
        id = str(body.get("id") or "")
        try:
            run, call = self._service.runs.answer(
                id,
                run=str(body.get("run") or ""),
                granted=DECISIONS[decision],
                by=str(body.get("by") or ""),
                reason=str(body.get("reason") or ""),
            )
        except NotFoundError as error:
            return _refused(404, str(error))
        except ConflictError as error:
            return _refused(409, str(error))
        return web.json_response({**self._told(run, call, id or call.id), "decision": decision})

    def _told(self, run: str, call: Waiting, id: str) -> dict[str, Any]:
        told: dict[str, Any] = self._redactor.value({"run": run, **call.to_json(), "id": id, "call_id": call.id})
        return told


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)
