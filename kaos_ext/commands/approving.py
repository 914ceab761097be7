"""`kaos agent approvals|approve|decline`: the tool calls that wait for a person, and the person's decision."""

from __future__ import annotations

import getpass
import json
from typing import Any

from kaos_ext.commands.asking import caller
from kaos_ext.commands.calling import ServiceError
from kaos_ext.commands.result import Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError, NotFoundError
from kaos_ext.views import Table


async def approvals(session: Session, *, name: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    ask = await caller(session, name, timeout)
    body = await ask.json("GET", "/approvals")
    rows = tuple(
        (
            str(item["id"]),
            str(item["tool"]),
            json.dumps(item.get("arguments") or {}, ensure_ascii=False),
            str(item["run"]),
            str(item.get("asked_at") or ""),
            str(item.get("expires_at") or ""),
        )
        for item in body.get("approvals") or ()
    )
    columns = ("call", "tool", "arguments", "run", "asked", "expires")
    return Result(Table(f"approvals of {name}", columns, rows, "nothing waits for approval"), body)


async def approve(
    session: Session,
    *,
    name: str,
    call: str | None,
    run: str | None,
    reason: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    return await _decide(session, name, "approve", call, run, reason, timeout)


async def decline(
    session: Session,
    *,
    name: str,
    call: str | None,
    run: str | None,
    reason: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    return await _decide(session, name, "decline", call, run, reason, timeout)


async def _decide(
    session: Session, name: str, decision: str, call: str | None, run: str | None, reason: str | None, patience: float
) -> Result:
    ask = await caller(session, name, patience)
    await session.changing()
    given = {"id": call, "run": run, "reason": reason, "by": _who()}
    body: dict[str, Any] = {"decision": decision, **{key: value for key, value in given.items() if value}}
    try:
        answer = await ask.json("POST", "/approvals", body=body)
    except ServiceError as error:
        hint = f"kaos agent approvals {name}"
        if error.status == 404:
            what = f"no tool call {call} waits for approval" if call else "no tool call waits for approval"
            raise NotFoundError(f"Agent {name}: {what}", hint=hint) from error
        if error.status == 409:
            raise KaosError(f"Agent {name}: several tool calls wait", hint=f"{hint}, then --call and --run") from error
        raise
    did = "Approved" if decision == "approve" else "Declined"
    return Result(Done(f"{did} {answer['tool']} of Agent '{name}'", f"kaos agent watch {name}"), answer)


def _who() -> str:
    """The name of whoever decides, for the record; not a proof of who it was."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
