"""A2A over JSON-RPC at `POST /`: the envelope and its errors, and the KAOS dialect over the internal task model.

KAOS's dialect is `SendMessage` without a version header: parts by `type`, lower-case roles and states, a bare task as
the result. The aliases `tasks/send` and `message/send` are answered in it as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from kaos_ext.model.errors import NotFoundError
from kaos_ext.runtime.agent import hitl
from kaos_ext.runtime.agent.service import AgentService, new_session
from kaos_ext.runtime.agent.tasks import Task, TaskMessage, TaskState
from kaos_ext.runtime.secrets import Redactor

PARSE, INVALID_REQUEST, NO_METHOD, BAD_PARAMS, INTERNAL, NO_TASK = -32700, -32600, -32601, -32602, -32603, -32001
DECISIONS = {"approve": True, "approved": True, "yes": True, "decline": False, "declined": False, "no": False}
COUNTS = ("maxIterations", "maxToolCalls")
MOST = 1e9
BUDGETS = ("maxIterations", "maxRuntimeSeconds", "maxToolCalls", "intervalSeconds")

log = logging.getLogger(__name__)


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class A2A:
    def __init__(self, service: AgentService) -> None:
        self._service = service
        self._redactor = Redactor(service.settings.secrets)
        methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Task | list[Task]]]] = {
            "SendMessage": self._send,
            "GetTask": self._get,
            "CancelTask": self._cancel,
            "ListTasks": self._list,
        }
        aliases = {
            "tasks/send": "SendMessage",
            "message/send": "SendMessage",
            "tasks/get": "GetTask",
            "tasks/cancel": "CancelTask",
            "tasks/list": "ListTasks",
        }
        self._methods = methods | {alias: methods[name] for alias, name in aliases.items()}

    async def handle(self, request: web.Request) -> web.Response:
        id: Any = None
        try:
            try:
                body = json.loads(await request.text())
            except ValueError as error:
                raise RpcError(PARSE, f"Parse error: {error}") from error
            if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or not isinstance(body.get("method"), str):
                raise RpcError(INVALID_REQUEST, "Invalid request: jsonrpc 2.0 and a method are needed")
            id = body.get("id")
            method = self._methods.get(body["method"])
            if method is None:
                raise RpcError(NO_METHOD, f"Method not found: {body['method']}")
            params = body.get("params") or {}
            if not isinstance(params, dict):
                raise RpcError(BAD_PARAMS, "params must be an object")
            structured = hitl.wanted(request.headers.get(hitl.HEADER, ""))
            found = await method(params)
            if isinstance(found, list):
                result: dict[str, Any] = {
                    "count": len(found),
                    "tasks": [self._told(task, structured) for task in found],
                }
            else:
                result = self._told(found, structured)
        except RpcError as error:
            return _refused(id, error.code, str(error))
        except NotFoundError as error:
            return _refused(id, NO_TASK, str(error))
        except Exception:
            log.exception("an A2A request failed")
            return _refused(id, INTERNAL, "Internal error; the agent's log has the details")
        headers = {hitl.HEADER: hitl.URI} if structured else None
        return web.json_response({"jsonrpc": "2.0", "id": id, "result": result}, headers=headers)

    def _told(self, task: Task, structured: bool) -> dict[str, Any]:
        """A task, and what it waits for if whoever asks can read that."""
        told = rendered(task)
        waiting = (
            self._service.runs.waiting_of(task.id) if structured and task.state is TaskState.INPUT_REQUIRED else None
        )
        if waiting:
            told["status"]["message"] = self._redactor.value(hitl.asked(waiting, task.message))
        return told

    async def _send(self, params: Mapping[str, Any]) -> Task:
        message = params.get("message")
        if not isinstance(message, dict):
            raise RpcError(BAD_PARAMS, "Missing required 'message' parameter")
        text, response = _text(message), hitl.answered(message)
        if not text and response is None:
            raise RpcError(BAD_PARAMS, "Message must contain text content")
        id = message.get("taskId") or params.get("taskId")
        if isinstance(id, str) and id:
            return await self._decided(id, text, response)
        if response is not None:
            raise RpcError(BAD_PARAMS, "A decision needs the taskId of the task that waits for it")
        configuration = params.get("configuration")
        configuration = configuration if isinstance(configuration, dict) else {}
        named = params.get("contextId") or params.get("sessionId") or message.get("contextId")
        metadata = message.get("metadata")
        return await self._service.submit(
            text,
            str(named or new_session()),
            autonomous=configuration.get("mode") == "autonomous",
            budgets=_budgets(configuration.get("budgets")),
            metadata=metadata if isinstance(metadata, dict) else {},
        )

    async def _decided(self, id: str, text: str, response: Mapping[str, Any] | None) -> Task:
        """A message to a task that waits for a person is that person's decision."""
        task = self._service.task(id)
        if task.state is not TaskState.INPUT_REQUIRED:
            raise RpcError(BAD_PARAMS, f"Task {id} is {task.state}: it takes no message")
        if response is not None:
            try:
                verdicts = hitl.verdicts(response, self._service.runs.waiting_of(id))
            except hitl.NotAnAnswer as error:
                raise RpcError(BAD_PARAMS, str(error)) from error
            return await self._service.decide_task(id, verdicts, by="a2a")
        word, _, reason = text.strip().partition(" ")
        granted = DECISIONS.get(word.strip(".,:!").lower())
        if granted is None:
            raise RpcError(BAD_PARAMS, "The task waits for approval of a tool call: answer approve, or decline")
        return await self._service.answer_task(id, granted=granted, by="a2a", reason=reason.strip())

    async def _get(self, params: Mapping[str, Any]) -> Task:
        return self._service.task(_id(params))

    async def _cancel(self, params: Mapping[str, Any]) -> Task:
        return await self._service.cancel(_id(params))

    async def _list(self, params: Mapping[str, Any]) -> list[Task]:
        return self._service.tasks()


def rendered(task: Task) -> dict[str, Any]:
    """A task in KAOS's dialect."""
    status = {"state": str(task.state), "timestamp": task.timestamp}
    if task.message:
        status["message"] = task.message
    return {
        "id": task.id,
        "sessionId": task.session,
        "status": status,
        "history": [_message(message) for message in task.history],
        "artifacts": [],
        "metadata": dict(task.metadata),
        "events": [
            {"id": note.id, "type": note.type, "timestamp": note.timestamp, "data": dict(note.data)}
            for note in task.notes
        ],
        "autonomous": task.autonomous,
        "output": task.output if task.autonomous else "",
    }


def _message(message: TaskMessage) -> dict[str, Any]:
    return {"role": message.role, "parts": [{"type": "text", "text": message.text}]}


def _text(message: Mapping[str, Any]) -> str:
    parts = message.get("parts")
    if isinstance(parts, list):
        texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
        if texts:
            return "\n".join(texts)
    text = message.get("text")
    return text if isinstance(text, str) else ""


def _id(params: Mapping[str, Any]) -> str:
    id = params.get("id")
    if not isinstance(id, str) or not id:
        raise RpcError(BAD_PARAMS, "Missing required 'id' parameter")
    return id


def _budgets(given: Any) -> dict[str, float]:
    budgets: dict[str, float] = {}
    for name in BUDGETS:
        value = given.get(name) if isinstance(given, dict) else None
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
            raise RpcError(BAD_PARAMS, f"budgets.{name} must be a number of at least 0")
        if name in COUNTS and value != int(value):
            raise RpcError(BAD_PARAMS, f"budgets.{name} must be a whole number: 0 is no limit")
        budgets[name] = value
    return budgets


def _refused(id: Any, code: int, message: str) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
