"""`kaos agent replay NAME --iteration N`: a recorded iteration once more, here, with the recorded answers.

The events come from the agent (or from a file); the loop's own code runs in this process and connects to nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaos_ext.commands.asking import caller
from kaos_ext.commands.calling import Caller
from kaos_ext.commands.result import Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import NotFoundError
from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.views import Card, Line, Tone

if TYPE_CHECKING:
    from kaos_ext.runtime.agent.recording import Recording
    from kaos_ext.runtime.agent.replay import Report

PAGE = 1000


async def replay(
    session: Session,
    *,
    name: str,
    iteration: int | None,
    file: str | None,
    save: str | None,
    instructions: str | None,
    timeout: float,  # noqa: ASYNC109
    port: int | None,
) -> Result:
    """Exit status 0 when everything is the same again, 1 when loop and record part."""
    from kaos_ext.runtime.agent.recording import Recording
    from kaos_ext.runtime.agent.replay import replay as run_again

    if file is not None:
        recording = Recording.load(Path(file))
    else:
        recording = await record_of(await caller(session, name, timeout), iteration)
    if save is not None:
        recording.save(Path(save))
    report = await asyncio.to_thread(run_again, recording, instructions=instructions)
    failure = report.failure
    return Result(_card(name, report, save), {"agent": name, **report.to_json()}, 1 if failure else 0, failure)


async def record_of(ask: Caller, iteration: int | None) -> Recording:
    """The recording of an iteration of a running agent; without a number that of the last one that has ended."""
    from kaos_ext.runtime.agent.recording import Recording

    if iteration is None:
        iteration = await _last(ask)
    start = await _start(ask, iteration)
    if start is None:
        raise await _not_there(ask, iteration)
    ends = {"iteration_finished", "iteration_failed", "iteration_timed_out"}
    wishes = {"paused", "resumed", "run_requested"}
    # Of the loop's session only: what was said to the agent in between may be more than a page.
    own = {"session_id": start.session, "limit": PAGE}
    before = await _page(ask, until=start.seq, order="desc", type=",".join(sorted(ends | wishes)), **own)
    taken_up = await _page(ask, until=start.seq, order="desc", type=EventType.LOOP_STARTED, **own)
    earlier = sorted({event.seq: event for event in (*before, *taken_up)}.values(), key=lambda event: event.seq)
    events, since = [start], start.seq
    while not any(event.type in ends and event.iteration == iteration for event in events):
        page = await _page(ask, since=since, type=",".join(map(str, EventType)), **own)
        if not page:
            break
        since = page[-1].seq
        events += [event for event in page if event.run == LOOP_RUN]
    return Recording.of([event for event in earlier if event.seq < start.seq] + events, iteration)


async def _last(ask: Caller) -> int:
    ends = f"{EventType.ITERATION_FINISHED},{EventType.ITERATION_FAILED},{EventType.ITERATION_TIMED_OUT}"
    own = [event for event in await _page(ask, order="desc", limit=50, type=ends) if event.run == LOOP_RUN]
    if not own:
        raise NotFoundError(
            f"Agent {ask.name} has not finished an iteration", hint=f"kaos agent wait {ask.name} --iterations 1"
        )
    return own[0].iteration


async def _start(ask: Caller, iteration: int) -> Event | None:
    """Where the iteration begins; from the newest back, since those are asked for most."""
    until: int | None = None
    while True:
        given = {"until": until} if until is not None else {}
        page = await _page(ask, order="desc", limit=PAGE, type=EventType.ITERATION_STARTED, **given)
        for event in page:
            if event.run == LOOP_RUN and event.iteration == iteration:
                return event
        seqs = [event.seq for event in page]
        if not seqs or (until is not None and min(seqs) >= until):
            return None
        until = min(seqs) - 1


async def _not_there(ask: Caller, iteration: int) -> NotFoundError:
    """Why: not begun yet, or too old for what the agent keeps."""
    wanted = {"type": EventType.ITERATION_STARTED, "limit": PAGE}
    oldest = [e.iteration for e in await _page(ask, since=0, **wanted) if e.run == LOOP_RUN]
    newest = [e.iteration for e in await _page(ask, order="desc", **wanted) if e.run == LOOP_RUN]
    text = f"Agent {ask.name} has no iteration {iteration} on record"
    if not oldest or not newest:
        return NotFoundError(f"{text}: it has not begun any", hint=f"kaos agent status {ask.name}")
    if iteration > newest[0]:
        return NotFoundError(f"{text} yet: the newest is {newest[0]}", hint=f"kaos agent watch {ask.name}")
    return NotFoundError(
        f"{text} any more: it keeps {oldest[0]} to {newest[0]}",
        hint="spec.config.memory and MEMORY_MAX_EVENTS say how much is kept; `--save` keeps a recording for good",
    )


async def _page(ask: Caller, **params: Any) -> list[Event]:
    body = await ask.json("GET", "/memory/events", params={key: str(value) for key, value in params.items()})
    return [Event.from_json(value) for value in body.get("events") or ()]


def _card(name: str, report: Report, saved: str | None) -> Card:
    fields = [
        ("iteration", str(report.iteration)),
        ("events", f"{report.events} of {report.recorded} the same"),
        ("calls", f"{report.model_calls} model, {report.tool_calls} tool, none over the network"),
        *(("not checked", what) for what in report.unchecked),
        *([("saved", saved)] if saved else []),
    ]
    found = report.divergence
    if found is None:
        return Card("replay", name, "the same again", Tone.DONE, tuple(fields), ())
    lines = (
        Line(Tone.FAILED, f"event {found.seq}", found.where or "the event itself"),
        Line(Tone.WAITING, "recorded", str(found.recorded)),
        Line(Tone.WAITING, "now", str(found.now) + (f": {found.explanation}" if found.explanation else "")),
    )
    return Card("replay", name, "diverges", Tone.FAILED, tuple(fields), lines)
