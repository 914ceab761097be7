"""The OpenAI-compatible chat completions wire: whole answers over `wire`, streamed ones over aiohttp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from kaos_ext.loop import Message
from kaos_ext.runtime import trace
from kaos_ext.runtime.agent.jsontext import decoded, sendable
from kaos_ext.runtime.agent.model import Answer, Call, ModelError, OnText, Question, call_of, calls_in_text, numbered
from kaos_ext.runtime.agent.settings import ToolCallMode
from kaos_ext.runtime.agent.tools import Tool
from kaos_ext.runtime.agent.wire import BrokenOff, Wire

HEADERS = {"Authorization": "Bearer not-needed"}
SILENCE_SECONDS = 300.0
"""The longest a model may say nothing; a whole answer may take longer when it streams."""

STRING_MODE = """To use a tool, answer with nothing but JSON of this form:
{"tool_calls": [{"name": "<tool>", "arguments": {<its arguments>}}]}
The result comes back as the next message. Answer in plain text when you need no tool. Tools:
"""


class OpenAIModel:
    def __init__(self, url: str, model: str, mode: ToolCallMode) -> None:
        base = url.rstrip("/")
        self._url = f"{base if base.endswith('/v1') else base + '/v1'}/chat/completions"
        self._at = URL(self._url)
        self._wire = Wire()
        self._session: aiohttp.ClientSession | None = None
        """For answers that are read as they come; most agents never ask for one."""
        self._model = model
        self._mode = mode
        self._told: tuple[Sequence[Tool], list[dict[str, Any]]] = ((), [])
        """The tools that were declared last, which are the same for many questions, and how."""

    async def ask(self, question: Question, on_text: OnText | None = None) -> Answer:
        body = self._body(question)
        if on_text is not None and self._mode is not ToolCallMode.STRING:
            return await self._streamed(body, on_text)
        answer = await self._whole(body)
        if on_text is not None and answer.text and not answer.calls:
            await on_text(answer.text)
        return answer

    def _body(self, question: Question) -> dict[str, Any]:
        if self._mode is ToolCallMode.STRING:
            return {"model": self._model, "messages": _in_strings(question.messages, question.tools)}
        body: dict[str, Any] = {"model": self._model, "messages": [_native(message) for message in question.messages]}
        if question.tools:
            if self._told[0] is not question.tools:
                self._told = (question.tools, [_declared(tool) for tool in question.tools])
            body["tools"] = self._told[1]
        return body

    async def _whole(self, body: Mapping[str, Any]) -> Answer:
        raw = await self._answered(body)
        # Nothing about an answer is taken for granted: every other shape is one error, with what came.
        try:
            reply = decoded(raw)
            message = reply["choices"][0]["message"]
            return self._answer(_content(message.get("content")), _native_calls(message.get("tool_calls")), reply)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(f"the model's answer is no chat completion: {_beginning(raw)}", billed=True) from error

    async def _answered(self, body: Mapping[str, Any]) -> bytes:
        sent, headers = sendable(body), {**HEADERS, **trace.headers()}
        try:
            answered = await self._wire.post(self._at, sent, headers, seconds=SILENCE_SECONDS)
        except BrokenOff as error:
            if error.began:
                raise ModelError(f"the model's answer broke off: {error}", billed=True) from error
            raise ModelError(f"the model server at {self._url} does not answer: {error}") from error
        except OSError as error:
            raise ModelError(f"the model server at {self._url} does not answer: {_reason(error)}") from error
        if answered.status != 200:
            text = answered.body.decode("utf-8", "replace")
            raise _refused(answered.status, text, answered.headers.get("retry-after", ""))
        return answered.body

    async def close(self) -> None:
        self._wire.close()
        if self._session is not None:
            await self._session.close()

    async def _streamed(self, body: Mapping[str, Any], on_text: OnText) -> Answer:
        text: list[str] = []
        parts: dict[int, dict[str, str]] = {}
        last: dict[str, Any] = {}
        async with self._post({**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
            async for chunk in _chunks(response):
                if chunk.get("error"):
                    raise ModelError(f"the model's answer broke off: {_error_text(chunk)}", billed=True)
                last.update({key: chunk[key] for key in ("model", "usage") if chunk.get(key)})
                try:
                    piece = _piece(chunk, parts)
                except (ValueError, LookupError, TypeError, AttributeError) as error:
                    shown = _beginning(json.dumps(chunk).encode())
                    raise ModelError(f"the model's stream is none of chat completions: {shown}", billed=True) from error
                if piece:
                    text.append(piece)
                    await on_text(piece)
        calls = [call_of(part["id"], part["name"], part["arguments"]) for _, part in sorted(parts.items())]
        return self._answer("".join(text), calls, last)

    def _answer(self, text: str, calls: Sequence[Call], reply: Mapping[str, Any]) -> Answer:
        found = calls_in_text(text) if self._mode is ToolCallMode.STRING else numbered(calls)
        told = reply.get("usage")
        usage = {key: value for key, value in told.items() if _count(value)} if isinstance(told, Mapping) else {}
        return Answer(text, found, usage, str(reply.get("model") or self._model))

    def _post(self, body: Mapping[str, Any]) -> _Post:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        return _Post(self._session, self._url, body)


class _Post:
    """One request whose failures, of any kind, are ModelErrors that name the server."""

    def __init__(self, session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> None:
        self._session, self._url, self._body = session, url, body

    async def __aenter__(self) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
        headers = {**HEADERS, **trace.headers()}
        try:
            self._response = await self._session.post(self._url, json=self._body, headers=headers, timeout=timeout)
            if self._response.status == 200:
                return self._response
            text = await self._response.text()
            self._response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ModelError(f"the model server at {self._url} does not answer: {_reason(error)}") from error
        raise _refused(self._response.status, text, self._response.headers.get("Retry-After", ""))

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._response.close() if error else self._response.release()
        if isinstance(error, aiohttp.ClientError | TimeoutError | OSError):
            raise ModelError(f"the model's answer broke off: {_reason(error)}", billed=True) from error


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each server-sent event up to `[DONE]`."""
    ended = False
    async for line in response.content:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            ended = True
            break
        try:
            chunk = json.loads(data)
        except ValueError as error:
            message = f"the model's answer is no event stream of chat completions: {error}"
            raise ModelError(message, billed=True) from error
        if isinstance(chunk, dict):
            choices = chunk.get("choices")
            listed = choices if isinstance(choices, list) else []
            ended = ended or any(isinstance(choice, dict) and choice.get("finish_reason") for choice in listed)
            yield chunk
    if not ended:
        raise ModelError("the model's answer broke off in the middle of the stream", billed=True)


def _piece(chunk: Mapping[str, Any], parts: dict[int, dict[str, str]]) -> str:
    """The text of one chunk; parts of calls are gathered."""
    text = ""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        text += _content(delta.get("content"))
        _gather(parts, delta.get("tool_calls") or ())
    return text


def _content(content: Any) -> str:
    """The text of a message: a string, or a list of parts as some servers write it."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {type(content).__name__}")
    return content or ""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _gather(parts: dict[int, dict[str, str]], deltas: Sequence[Mapping[str, Any]]) -> None:
    for delta in deltas:
        part = parts.setdefault(int(delta.get("index") or 0), {"id": "", "name": "", "arguments": ""})
        function = delta.get("function") or {}
        part["id"] = delta.get("id") or part["id"]
        part["name"] += function.get("name") or ""
        part["arguments"] += function.get("arguments") or ""


def _native_calls(calls: Any) -> list[Call]:
    found = []
    for call in calls or ():
        function = call.get("function") or {}
        found.append(call_of(str(call.get("id") or ""), str(function.get("name") or ""), function.get("arguments")))
    return found


def _native(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.calls:
        wire["content"] = message.text or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.tool, "arguments": json.dumps(dict(call.arguments))},
            }
            for call in message.calls
        ]
    return wire


def _in_strings(messages: Sequence[Message], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The messages for a model without native tool calls: tools in the instructions, results as user messages."""
    wire: list[dict[str, Any]] = []
    if tools:
        listed = [json.dumps({"name": t.name, "description": t.description, "parameters": t.schema}) for t in tools]
        wire.append({"role": "system", "content": STRING_MODE + "\n".join(listed)})
    for message in messages:
        if message.role == "tool":
            wire.append({"role": "user", "content": f"Result of the tool call {message.call_id}:\n{message.text}"})
        else:
            wire.append({"role": message.role, "content": message.text})
    first = [message["content"] for message in wire if message["role"] == "system"]
    rest = [message for message in wire if message["role"] != "system"]
    # Instructions last among them: some small models heed only one system message, and servers join them anyway.
    return [{"role": "system", "content": "\n\n".join(reversed(first))}, *rest] if first else rest


def _declared(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _refused(status: int, text: str, retry_after: str) -> ModelError:
    after = _retry_after(retry_after)
    asked = f" (asked to wait {after:g} s)" if after else ""
    return ModelError(f"the model server answered {status}: {_error_text(text)}{asked}", retry_after=after)


def _error_text(body: Any) -> str:
    """The message of an OpenAI-style error body, or its beginning."""
    text = body if isinstance(body, str) else json.dumps(body)
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300] or "an empty body"


def _beginning(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return (text if len(text) <= 200 else f"{text[:200]}…") or "an empty body"


def _retry_after(header: str) -> float:
    """Seconds from now of a `Retry-After` header, which is a number of them or a date; 0 when it says nothing."""
    text = header.strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, round((at - datetime.now(UTC)).total_seconds(), 3))


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__
