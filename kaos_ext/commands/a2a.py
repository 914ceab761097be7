"""`kaos agent a2a …`: tasks over A2A, in the JSON-RPC dialect of KAOS. The data is the complete response."""

from __future__ import annotations

from typing import Any

from kaos_ext.commands.asking import caller
from kaos_ext.commands.result import Reply, Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError
from kaos_ext.views import Message, State, Table, Tone

TONE = {
    "completed": Tone.DONE,
    "failed": Tone.FAILED,
    "canceled": Tone.QUIET,
    "working": Tone.WORKING,
    "submitted": Tone.WORKING,
    "input-required": Tone.WAITING,
}


class TaskRefusedError(KaosError):
    """The agent answered with a JSON-RPC error."""


class TaskFailedError(KaosError):
    """The message was taken and not answered; a cell shows the task, and is red."""


async def _ask(session: Session, name: str, patience: float, method: str, params: dict[str, Any]) -> dict[str, Any]:
    ask = await caller(session, name, patience)
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    response: dict[str, Any] = await ask.json("POST", "/", body=body)
    error = response.get("error")
    if error:
        raise TaskRefusedError(
            f"Agent {name} refused {method}: {error.get('message')} ({error.get('code')})",
            hint=f"kaos agent a2a list {name}",
            details=(str(error["data"]),) if error.get("data") else (),
        )
    return response


async def send(
    session: Session,
    *,
    name: str,
    message: str,
    in_background: bool,
    session_id: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    params: dict[str, Any] = {"message": {"role": "user", "parts": [{"type": "text", "text": message}]}}
    if session_id:
        params["contextId"] = session_id
    if in_background:
        params["configuration"] = {"mode": "autonomous"}
    response = await _ask(session, name, timeout, "SendMessage", params)
    task = response["result"]
    # Asking about a failed task is a success; a message that was not answered is not.
    if (state := _state(task)) not in ("failed", "rejected"):
        return Result(_chat(name, task), response)
    failure = TaskFailedError(f"task {task.get('id')} of Agent {name} {state}", hint=f"kaos agent logs {name}")
    return Result(_chat(name, task), response, status=1, failure=failure)


async def get(session: Session, *, name: str, task_id: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    response = await _ask(session, name, timeout, "GetTask", {"id": task_id})
    return Result(_chat(name, response["result"]), response)


async def cancel(session: Session, *, name: str, task_id: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    await session.changing()
    response = await _ask(session, name, timeout, "CancelTask", {"id": task_id})
    return Result(_chat(name, response["result"]), response)


async def list_tasks(session: Session, *, name: str, timeout: float, port: int | None) -> Result:  # noqa: ASYNC109
    response = await _ask(session, name, timeout, "ListTasks", {})
    rows = []
    for task in response["result"].get("tasks") or ():
        state = _state(task)
        asked = next((text for role, text in _said(task) if role == "user"), "")
        time = str((task.get("status") or {}).get("timestamp") or "")
        rows.append((str(task.get("id")), State(state, TONE.get(state, Tone.QUIET)), time, asked))
    return Result(Table(f"tasks of {name}", ("task", "state", "since", "asked"), tuple(rows), "no tasks yet"), response)


def _state(task: dict[str, Any]) -> str:
    return str((task.get("status") or {}).get("state") or "unknown")


def _said(task: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(item.get("role")), "".join(str(part.get("text") or "") for part in item.get("parts") or ()))
        for item in task.get("history") or ()
    ]


def _chat(name: str, task: dict[str, Any]) -> Reply:
    state = _state(task)
    messages = tuple(Message("agent" if role == "agent" else "user", text) for role, text in _said(task))
    why = (task.get("status") or {}).get("message")
    said = f"{state}: {why}" if state in ("failed", "canceled", "rejected") and isinstance(why, str) and why else state
    return Reply(name, messages, said, TONE.get(state, Tone.QUIET), str(task.get("id") or ""))
