"""`kaos agent pause|resume|run-now|goal`: the owner's wishes, written on the Agent; the loop follows at a step."""

from __future__ import annotations

import secrets
from typing import Any

from kaos_ext.commands.failures import get_existing
from kaos_ext.commands.kinds import AGENT
from kaos_ext.commands.result import Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_ext.model.errors import NotReadyError, UsageError


async def pause(session: Session, *, name: str, after_iteration: bool) -> Result:
    changed = await _wish(session, name, "pause", suspend=True, notes={names.SUSPEND_AFTER: _after(after_iteration)})
    when = "once its current iteration has ended" if after_iteration else "after its current step"
    return Result(Done(f"Paused Agent '{name}' {when}", f"kaos agent resume {name}"), changed)


async def resume(session: Session, *, name: str) -> Result:
    changed = await _wish(session, name, "resume", suspend=False, notes={names.SUSPEND_AFTER: None})
    return Result(Done(f"Resumed Agent '{name}'", f"kaos agent watch {name}"), changed)


async def run_now(session: Session, *, name: str) -> Result:
    changed = await _wish(session, name, "run", notes={names.RUN_NOW: secrets.token_hex(4)})
    done = f"Agent '{name}' runs one iteration now (after the one that is open, if one is)"
    return Result(Done(done, f"kaos agent watch {name}"), changed)


async def goal(session: Session, *, name: str, text: str) -> Result:
    if not text.strip():
        raise UsageError("a goal needs words", hint=f'kaos agent goal {name} --text "…"')
    changed = await _wish(session, name, "change the goal of", goal=text)
    done = f"Agent '{name}' works at the new goal after its current step; its record goes on"
    return Result(Done(done, f"kaos agent watch {name}"), changed)


def _after(iteration: bool) -> str | None:
    return "iteration" if iteration else None


async def _wish(
    session: Session,
    name: str,
    doing: str,
    *,
    suspend: bool | None = None,
    goal: str | None = None,
    notes: dict[str, str | None] | None = None,
) -> Object:
    kube = await session.kube()
    item = await get_existing(kube, AGENT, name)
    loop = ((item.get("spec") or {}).get("config") or {}).get("autonomous") or {}
    if not str(loop.get("goal") or "").strip():
        raise NotReadyError(
            f"Agent {name} has no goal, so it has no loop to {doing}",
            hint=f'kaos agent deploy {name} … --autonomous "GOAL"',
        )
    await session.changing()
    wanted: dict[str, Any] = {key: value for key, value in (("suspend", suspend), ("goal", goal)) if value is not None}
    patch: dict[str, Any] = {}
    if wanted:
        patch["spec"] = {"config": {"autonomous": wanted}}
    there = item["metadata"].get("annotations") or {}
    changed = {key: value for key, value in (notes or {}).items() if value != there.get(key)}
    if changed:
        patch["metadata"] = {"annotations": changed}
    return await kube.patch(AGENT.resource, name, patch)
