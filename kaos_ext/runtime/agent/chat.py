"""`POST /v1/chat/completions`: one message in a session, answered whole or as a stream.

The newest user message is the prompt; what was said before is the session's own history. A stream shows each tool call
as a progress object in a text chunk, then the text as the model writes it. A failed run is an HTTP error (or, once a
stream has begun, an error event), never an apology with status 200. What came from Secrets is not in an answer: it
would be written down wherever the answer is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from kaos_ext.loop import RunState
from kaos_ext.runtime.agent.service import AgentService, RunFailed, new_session
from kaos_ext.runtime.secrets import Redactor


class Chat:
    def __init__(self, service: AgentService) -> None:
        self._service = service
        self._redactor = Redactor(service.settings.secrets)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except ValueError:
            return _error(400, "the body is not JSON")
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages:
            return _error(400, "messages are required")
        text, delegated = _prompt(messages)
        if not text:
            return _error(400, "a user message is required")
        session = request.headers.get("X-Session-ID") or str(body.get("session_id") or "") or new_session()
        model = str(body.get("model") or "agent")
        if body.get("stream"):
            return await self._streamed(request, text, session, model, delegated)
        try:
            state = await self._service.chat(text, session, delegated=delegated)
        except RunFailed as error:
            return _error(error.status, self._redactor.text(str(error)), kind="agent_error")
        message = {"role": "assistant", "content": self._redactor.text(state.status.last_response)}
        return web.json_response(
            {
                "id": session,
                "object": "chat.completion",
                "created": int(time.time()),
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": _usage(state),
            }
        )

    async def _streamed(
        self, request: web.Request, text: str, session: str, model: str, delegated: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        created = int(time.time())
        streamed = False
        answer = self._redactor.stream()

        async def send(event: Mapping[str, Any] | str) -> None:
            data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            try:
                await response.write(f"data: {data}\n\n".encode())
            except ConnectionError:
                pass  # Whoever asked went away; the run goes on to its end, as without streaming.

        async def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            frame = {"id": session, "object": "chat.completion.chunk", "created": created, "model": model}
            await send({**frame, "choices": [choice], **more})

        async def on_text(part: str) -> None:
            nonlocal streamed
            streamed = True
            if shown := answer.feed(part):
                await chunk({"content": shown})

        async def rest() -> None:
            if held := answer.end():
                await chunk({"content": held})

        async def on_call(step: int, tool: str) -> None:
            limit = self._service.settings.task_limits.max_steps
            action = "delegate" if tool.startswith("delegate_to_") else "tool_call"
            target = self._redactor.text(tool)
            progress = {"type": "progress", "step": step, "max_steps": limit, "action": action, "target": target}
            await rest()
            await chunk({"content": json.dumps(progress)})

        await chunk({"role": "assistant"})
        try:
            state = await self._service.chat(text, session, delegated=delegated, on_text=on_text, on_call=on_call)
        except RunFailed as error:
            await rest()
            await send({"error": {"message": self._redactor.text(str(error)), "type": "agent_error"}})
        else:
            await rest()
            if not streamed or state.status.last_outcome != "Completed":
                await chunk({"content": self._redactor.text(state.status.last_response)})
            await chunk({}, "stop", usage=_usage(state))
            await send("[DONE]")
        return response


def _prompt(messages: list[Any]) -> tuple[str, bool]:
    """The newest message of a user (or of an agent that delegates), and whether it was delegated."""
    for message in reversed(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("user", "task-delegation"):
            return _text(message.get("content")), role == "task-delegation"
    return "", False


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _usage(state: RunState) -> dict[str, int]:
    totals = state.status.totals
    return {
        "prompt_tokens": totals.input_tokens,
        "completion_tokens": totals.output_tokens,
        "total_tokens": totals.input_tokens + totals.output_tokens,
    }


def _error(status: int, message: str, *, kind: str = "invalid_request_error") -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind}}, status=status)
