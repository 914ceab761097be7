"""Mock responses: a chat completion made of a given text, or of tool calls when it is JSON that holds them."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web


async def respond(request: web.Request, body: Mapping[str, Any], text: str) -> web.StreamResponse:
    """Answer a chat completion request with `text`, streamed if it asks for that."""
    calls = _calls(text)
    frame = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": body["model"]}
    finish = "tool_calls" if calls else "stop"
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    if calls:
        message["tool_calls"] = calls
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return web.json_response({**frame, "object": "chat.completion", "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    if calls:
        deltas.append({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
    else:
        deltas += [{"content": word} for word in re.findall(r"\S+\s*|\s+", text)]
    chunk = {**frame, "object": "chat.completion.chunk"}
    for delta in deltas:
        await _send(response, {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    await _send(response, {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], "usage": usage})
    await response.write(b"data: [DONE]\n\n")
    return response


def _calls(text: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
        listed = value["tool_calls"]
    except (ValueError, TypeError, KeyError):
        return []
    calls = []
    for index, call in enumerate(listed):
        arguments = call.get("arguments")
        function = {
            "name": str(call.get("name")),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        }
        calls.append({"id": str(call.get("id") or f"call_{index}"), "type": "function", "function": function})
    return calls


async def _send(response: web.StreamResponse, value: Mapping[str, Any]) -> None:
    await response.write(f"data: {json.dumps(value)}\n\n".encode())
