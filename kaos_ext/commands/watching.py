"""Following an agent as it works: its event stream through its Service, gone on with after every interruption.

state of the loop + newest events ─▶ stream since the last of them ─▶ one Update per event
                                        ╰─ lost: say so, wait a little, go on from the last event seen
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from kaos_ext.commands.asking import caller, loop_state, said
from kaos_ext.commands.calling import Caller
from kaos_ext.commands.failures import get_existing
from kaos_ext.commands.kinds import AGENT
from kaos_ext.commands.result import Update
from kaos_ext.commands.session import Session
from kaos_ext.kube.objects import Object
from kaos_ext.kube.transport import Unanswered
from kaos_ext.model.errors import KaosError, NotFoundError, NotReadyError, UnreachableError
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.model.loop_state import LoopState
from kaos_ext.views import Step, Steps, StepState
from kaos_ext.views.agent import AgentLive, Link
from kaos_ext.views.durations import clock
from kaos_ext.views.markup import one_line

RECENT = 48
ALL_TYPES = ",".join(EventType)
"""The stream has them all, so what is remembered does too: a page of memory alone leaves out how iterations ended."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 3.0


def is_end(event: Event) -> bool:
    """The end of an iteration of the resident loop."""
    return event.type in ITERATION_ENDS and event.run == LOOP_RUN


def line_of(event: Event) -> str:
    place = f"#{event.iteration}" if event.iteration else ""
    return f"{clock(event.time)}  {place:<5} {event.type:<19} {one_line(said(event), 160)}".rstrip()


async def watch(
    session: Session,
    *,
    name: str,
    iterations: int | None = None,
    timeout: float | None = None,  # noqa: ASYNC109
) -> AsyncGenerator[Update, None]:
    """A stream of the agent's life. It exists, or this raises before the first piece."""
    kube = await session.kube()
    await get_existing(kube, AGENT, name)
    return _limited(await caller(session, name, None), name, kube.namespace, iterations, timeout)


async def _limited(
    ask: Caller, name: str, namespace: str, iterations: int | None, patience: float | None
) -> AsyncGenerator[Update, None]:
    """Until so many iterations have ended, or the time is over."""
    ended, before, began = 0, None, time.monotonic()
    async with aclosing(follow(ask, name, namespace)) as updates:
        while True:
            left = None if patience is None else patience - (time.monotonic() - began)
            try:
                async with asyncio.timeout(left):
                    update, event = await anext(updates)
            except (TimeoutError, StopAsyncIteration):
                return
            yield update
            if before is None and isinstance(update.view, AgentLive) and update.view.link is Link.LIVE:
                state = update.view.state
                before = state.iteration - 1 if state.open else state.iteration
            if event is not None and is_end(event) and event.iteration > (before or 0):
                ended += 1
            if iterations is not None and ended >= iterations:
                return


async def follow(ask: Caller, name: str, namespace: str) -> AsyncGenerator[tuple[Update, Event | None], None]:
    """Every event from the recent ones on, with the whole view; pauses in the stream are said as well."""
    view = AgentLive(name, namespace, now=time.time())
    failures = 0
    while True:
        try:
            if not view.events:
                view = await _recent(ask, view)
                begun = "its loop has not begun" if view.state.goal else "has no goal: it waits for messages"
                silent = "" if view.events else f"○ no events yet: {name} answers, and {begun}"
                yield Update(view, silent, None, "\n" if silent else ""), None
                for event in view.events:
                    yield Update(view, line_of(event), event.to_json()), None
            since = view.events[-1].seq if view.events else 0
            async with aclosing(ask.events("GET", "/memory/events/stream", params={"since": str(since)})) as events:
                async for sent in events:
                    event = Event.from_json(json.loads(sent.data))
                    failures = 0
                    if 0 < event.seq <= since:
                        # The agent lost its log and began another: what was shown is no part of it.
                        view = AgentLive(name, namespace, now=time.time())
                        break
                    if view.events and event.seq <= view.events[-1].seq:
                        continue
                    view = view.with_event(event, time.time())
                    yield Update(view, line_of(event), event.to_json()), event
            if since and not view.events:
                continue
            why = "its process ended the stream"
        except NotFoundError:
            if not view.events:
                raise
            yield Update(view.waiting("the Agent was deleted", link=Link.ENDED), "the Agent was deleted"), None
            return
        except (NotReadyError, UnreachableError, Unanswered) as error:
            why = str(error)
        changed = view.waiting(why, f"kaos agent logs {name}", Link.LOST if view.events else Link.CONNECTING)
        if (changed.note, changed.link) != (view.note, view.link):
            yield Update(changed, f"◌ {why}", {"waiting": why}), None
        view = changed
        await _pause(ask, why, min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures, 5)))
        failures += 1


async def _pause(ask: Caller, why: str, delay: float) -> None:
    """Until it is worth asking again: the Agent gets ready or says something else than `why`, or a while has passed.

    Where that is so already (its pod was just replaced), it is asked again after `delay`, so never in a circle.
    """
    looks = 0

    def moved(item: Object | None) -> bool:
        nonlocal looks
        looks += 1
        status = (item or {}).get("status") or {}
        return status.get("ready") is True or str(status.get("message") or "") not in why

    try:
        await ask.kube.wait(ask.spoken.resource, ask.name, None, moved, LONGEST_BACKOFF)
    except NotReadyError:
        return
    except KaosError:
        looks = 0
    if looks <= 1:
        await asyncio.sleep(delay)


async def _recent(ask: Caller, view: AgentLive) -> AgentLive:
    """The view as of now: the loop's own fold, and the newest events."""
    body = await ask.json("GET", "/memory/events", params={"limit": str(RECENT), "type": ALL_TYPES})
    state = await loop_state(ask)
    for value in body.get("events") or ():
        view = view.with_event(Event.from_json(value), time.time())
    return replace(view, state=state or view.state, note="", hint="", link=Link.LIVE)


async def iterations_done(session: Session, name: str, wanted: int, patience: float) -> LoopState:
    """The loop's state once it has finished `wanted` iterations since it was first deployed."""
    kube = await session.kube()
    ask = await caller(session, name, None)
    began, state, note = time.monotonic(), LoopState(), ""

    def tell(step: StepState) -> None:
        detail = note or f"{state.totals.iterations} of {wanted} iterations, {state.phase}"
        took = time.monotonic() - began
        session.report(Steps("waiting for", f"agent/{name}", (Step(f"agent {name}", step, detail, took),), took))

    try:
        async with asyncio.timeout(patience), aclosing(follow(ask, name, kube.namespace)) as updates:
            async for update, _ in updates:
                view = update.view
                if isinstance(view, AgentLive):
                    state, note = view.state, view.note
                tell(StepState.WAITING)
                if state.totals.iterations >= wanted:
                    tell(StepState.DONE)
                    return state
    except TimeoutError:
        pass
    tell(StepState.FAILED)
    raise NotReadyError(
        f"Agent {name} has finished {state.totals.iterations} of {wanted} iterations after {patience:g} s"
        + (f": {note or state.last_error}" if note or state.last_error else ""),
        hint=f"kaos agent watch {name}",
    )
