"""A small OpenAI-compatible server for tests, a process of its own: `python openai_server.py --port 0 [--key KEY]`.

It prints its address on stdout. Asked with tools and no tool result yet, it calls the first tool (each string argument
is the user's text); with a tool result it answers `The tool said: <result>`; without tools it answers
`You said: <text>`. Streams come in small pieces, tool-call arguments cut in the middle.

    GET  /requests              every chat request so far: body, and whether the key was right
    POST /trouble {"status", "times", "break"}   answer the next ones with this status, or break off their streams
                  {"raw", "type", "headers", "silent"}   or with this body, with headers, or not at all for seconds
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web


class Server:
    def __init__(self, key: str) -> None:
        self._key = key
        self._requests: list[dict[str, Any]] = []
        self._trouble: dict[str, Any] = {"times": 0}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/requests", self.requests)
        app.router.add_post("/trouble", self.trouble)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        right = not self._key or request.headers.get("Authorization") == f"Bearer {self._key}"
        self._requests.append({"body": body, "authorized": right})
        if not right:
            return _error(401, "Incorrect API key provided", "invalid_api_key")
        trouble = self._trouble["times"] > 0
        if trouble:
            self._trouble["times"] -= 1
            await asyncio.sleep(self._trouble.get("silent", 0))
            if "raw" in self._trouble:
                return web.Response(
                    body=self._trouble["raw"].encode(), content_type=self._trouble.get("type", "application/json")
                )
            if self._trouble.get("status"):
                refused = _error(self._trouble["status"], "trouble was asked for", "trouble")
                refused.headers.update(self._trouble.get("headers", {}))
                return refused
        message = answer(body)
        frame = {"id": "chatcmpl-1", "created": int(time.time()), "model": body["model"]}
        usage = {"prompt_tokens": len(body["messages"]), "completion_tokens": 7, "total_tokens": 7}
        usage["total_tokens"] += usage["prompt_tokens"]
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return web.json_response({**frame, "object": "chat.completion", "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frame["object"] = "chat.completion.chunk"
        for delta in deltas(message):
            await _send(response, {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            await asyncio.sleep(0)
            if trouble:
                request.transport.abort()
                return response
        await _send(response, {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            await _send(response, {**frame, "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return web.json_response({"object": "list", "data": data, "model": body["model"]})

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "mock-model", "object": "model"}]})

    async def requests(self, request: web.Request) -> web.Response:
        return web.json_response(self._requests)

    async def trouble(self, request: web.Request) -> web.Response:
        self._trouble = {"times": 1, **(await request.json())}
        return web.json_response(self._trouble)


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The assistant's message for a request."""
    last, tools = body["messages"][-1], body.get("tools") or []
    user = [message["content"] for message in body["messages"] if message["role"] == "user"]
    text = str(user[-1]) if user else ""
    if last["role"] == "tool":
        return {"role": "assistant", "content": f"The tool said: {last['content']}"}
    if not tools:
        return {"role": "assistant", "content": f"You said: {text}"}
    function = tools[0]["function"]
    properties = function["parameters"].get("properties") or {}
    arguments = {name: text for name, schema in properties.items() if schema.get("type") == "string"}
    call = {"name": function["name"], "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_a", "type": "function", "function": call}],
    }


def deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        first = {"index": index, "id": call["id"], "type": "function"}
        yield {"tool_calls": [{**first, "function": {"name": function["name"], "arguments": ""}}]}
        for part in _pieces(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}
    for part in _pieces(message.get("content") or ""):
        yield {"content": part}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), 5):
        yield text[start : start + 5]


def _error(status: int, message: str, code: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": "test", "param": None, "code": code}}, status=status
    )


async def _send(response: web.StreamResponse, value: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(value)}\n\n".encode())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    parsed = parser.parse_args()
    runner = web.AppRunner(Server(parsed.key).app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", parsed.port).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
