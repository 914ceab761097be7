"""What a running agent is asked: its card, its memory, its tools, a question."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from kaos_ext.commands.calling import Caller, ServiceError
from kaos_ext.commands.kinds import AGENT
from kaos_ext.commands.result import Answer, Reply, Result, Update
from kaos_ext.commands.session import Session
from kaos_ext.kube.transport import Unanswered
from kaos_ext.model.errors import NotReadyError
from kaos_ext.model.events import Event
from kaos_ext.model.loop_state import LoopState
from kaos_ext.views import Card, Chat, Line, Message, Table, Tone
from kaos_ext.views.durations import clock, duration

CARD_PATH = "/.well-known/agent.json"


async def caller(session: Session, name: str, patience: float | None) -> Caller:
    return Caller(await session.kube(), AGENT, name, timeout=patience)


async def status(session: Session, *, name: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    """The raw card as data; the view adds how the loop is doing."""
    ask = await caller(session, name, timeout)
    card, loop = await asyncio.gather(ask.json("GET", CARD_PATH), loop_state(ask))
    fields = [
        ("description", str(card.get("description") or "")),
        ("protocols", ", ".join(card.get("supportedProtocols") or ())),
        ("version", str(card.get("version") or "")),
    ]
    if loop is not None and loop.goal:
        last = " · ".join(part for part in (loop.last_outcome, duration(loop.last_duration_seconds)) if part)
        fields += [("goal", loop.goal), ("iteration", str(loop.iteration)), ("last iteration", last)]
        fields += [("last answer", loop.last_response), ("last error", loop.last_error)]
    skills = tuple(Line(Tone.DONE, str(s.get("name", "")), str(s.get("description") or "")) for s in card["skills"])
    state = str(loop.phase) if loop is not None and loop.goal else "answers"
    shown = tuple((label, value) for label, value in fields if value)
    return Result(Card("agent", name, state, Tone.WORKING, shown, skills), card)


async def loop_state(ask: Caller) -> LoopState | None:
    """The fold the agent keeps of its own loop; other people's agents have none."""
    try:
        return LoopState.from_json(await ask.json("GET", "/loop"))
    except ServiceError as error:
        if error.status == 404:
            return None
        raise


async def memory(
    session: Session,
    *,
    name: str,
    session_id: str | None,
    limit: int,
    since: str | None,
    until: str | None,
    type: list[str],
    order: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    ask = await caller(session, name, timeout)
    asked = {"session_id": session_id, "since": since, "until": until, "type": ",".join(type or ()), "order": order}
    params = {"limit": str(limit), **{key: value for key, value in asked.items() if value}}
    body = await ask.json("GET", "/memory/events", params=params)
    events = [Event.from_json(value) for value in body.get("events") or ()]
    rows = tuple(
        (event.seq, clock(event.time), event.iteration or None, str(event.type), said(event)) for event in events
    )
    title = f"memory of {name}"
    return Result(Table(title, ("seq", "time", "iteration", "event", "content"), rows, "no events yet"), body)


def said(event: Event) -> str:
    """What an event says, in one text."""
    content = event.content
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        if "tool" in content:
            rest = content.get("arguments", content.get("result", content.get("error")))
            return f"{content['tool']} {rest if isinstance(rest, str) else json.dumps(rest, ensure_ascii=False)}"
        return " ".join(
            f"{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            for key, value in content.items()
            if value not in (None, "", {}, [])
        )
    return json.dumps(content, ensure_ascii=False)


async def tools(session: Session, *, name: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    """`/tools`, or the skills of the card where an agent has no such path."""
    ask = await caller(session, name, timeout)
    try:
        body = await ask.json("GET", "/tools")
    except ServiceError as error:
        if error.status != 404:
            raise
        card = await ask.json("GET", CARD_PATH)
        skills = [{"name": s.get("name"), "description": s.get("description")} for s in card.get("skills") or ()]
        body = {"agent": name, "tools": skills}
    rows = tuple((str(tool.get("name")), str(tool.get("description") or "")) for tool in body.get("tools") or ())
    return Result(Table(f"tools of {name}", ("name", "description"), rows, "it has no tools"), body)


async def invoke(
    session: Session,
    *,
    name: str,
    message: str,
    stream: bool,
    session_id: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Answer:
    ask = await caller(session, name, timeout)
    headers = {"X-Session-ID": session_id} if session_id else {}
    body: dict[str, Any] = {"model": "agent", "messages": [{"role": "user", "content": message}], "stream": stream}
    if stream:
        return _streamed(session, ask, name, message, headers, body)
    answer = await ask.json("POST", "/v1/chat/completions", headers=headers, body=body)
    choices = answer.get("choices") or [{}]
    text = str((choices[0].get("message") or {}).get("content") or "")
    both = (Message("user", message), Message("agent", text))
    return Result(Reply(name, both, right=str(answer.get("id") or "")), answer)


async def _streamed(
    session: Session, ask: Caller, name: str, message: str, headers: dict[str, str], body: dict[str, Any]
) -> AsyncGenerator[Update, None]:
    """The answer in pieces; what the agent does meanwhile (tools, delegation) is told as progress."""
    text, asides = "", []
    try:
        async with aclosing(ask.events("POST", "/v1/chat/completions", headers=headers, body=body)) as events:
            async for event in events:
                if event.data == "[DONE]":
                    break
                chunk = json.loads(event.data)
                error = chunk.get("error")
                if error:
                    why = error.get("message") if isinstance(error, dict) else error
                    raise ServiceError(
                        f"Agent {name} failed: {why or error}", status=200, hint=f"kaos agent logs {name}"
                    )
                piece = str(((chunk.get("choices") or [{}])[0].get("delta") or {}).get("content") or "")
                progress = _progress(piece)
                if progress:
                    asides.append(Message("tool", progress))
                    session.note(progress)
                    piece = ""
                text += piece
                said = (Message("user", message), *asides, Message("agent", text))
                yield Update(Chat(name, said), piece, chunk, "")
    except Unanswered as error:
        raise NotReadyError(f"Agent {name} broke off: {error}", hint=f"kaos agent logs {name}") from error
    yield Update(Chat(name, (Message("user", message), *asides, Message("agent", text))), "", None, "\n")


def _progress(piece: str) -> str:
    """Progress travels as JSON text among the content, as KAOS clients expect it."""
    if not piece.startswith('{"type"'):
        return ""
    try:
        value = json.loads(piece)
    except ValueError:
        return ""
    if not isinstance(value, dict) or value.get("type") != "progress":
        return ""
    return f"step {value.get('step')}: {value.get('action', '')} {value.get('target', '')}".rstrip()
