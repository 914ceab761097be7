"""The agent itself: its resident loop, its chat requests and its tasks, each a run over one journal.

Runs do not wait for each other. A task goes on in the background whoever waits for it; loop and unfinished tasks are
taken up again by the next process.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from kaos_ext import loop
from kaos_ext.loop import Limits, Repeat, RunSpec, RunState
from kaos_ext.loop.state import DIGEST_ITERATIONS
from kaos_ext.model.budget import Scope
from kaos_ext.model.errors import KaosError, NotFoundError
from kaos_ext.model.events import LOOP_RUN, Event, EventType, Outcome, timestamp
from kaos_ext.model.loop_state import LoopState
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.hitl import Verdict
from kaos_ext.runtime.agent.model import OnText
from kaos_ext.runtime.agent.runner import Equipment, OnCall, Run
from kaos_ext.runtime.agent.settings import Settings
from kaos_ext.runtime.agent.tasks import Task, TaskState, task_of
from kaos_ext.runtime.agent.underway import Underway
from kaos_ext.store import DamagedError, StoreError

LISTED_TASKS = 200
APPROVAL_POLL_SECONDS = 0.05
STORE_TROUBLE_SECONDS = 1.0
log = logging.getLogger(__name__)


class RunFailed(KaosError):
    """A chat request or a task could not be answered."""

    status = 502


class BudgetSpent(RunFailed):
    """A limit of the budget left no room for the answer."""

    status = 429


def new_session() -> str:
    return f"session_{uuid.uuid4().hex[:12]}"


class AgentService:
    def __init__(self, settings: Settings, equipment: Equipment, stopping: asyncio.Event) -> None:
        self.settings = settings
        self._with = equipment
        self.journal = equipment.journal
        self.tools = equipment.tools
        self._stopping = stopping
        self._loop: Run | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._canceling: set[str] = set()
        self.runs = Underway()
        self.control = Control(stopping, suspended=settings.suspended)

    @property
    def loop_state(self) -> LoopState:
        return self._loop.state.status if self._loop else LoopState()

    def spending(self) -> dict[str, Any]:
        """What was spent in each scope of the resident loop, beside its limit."""
        ledger, now, budget = self.journal.ledger, self._with.clock(), self.settings.budget
        return {
            scope.value: {"spent": ledger.spent(scope, LOOP_RUN, now).to_json(), "limit": budget.limit(scope).to_json()}
            for scope in Scope
            if scope is not Scope.TASK
        }

    async def run_loop(self) -> None:
        """The resident loop, from where the journal says it stands, until the process is to stop."""
        settings = self.settings
        events = self.journal.of_run(LOOP_RUN, iterations=DIGEST_ITERATIONS)
        session = events[-1].session if events else new_session()
        spec = RunSpec(
            settings.goal,
            LOOP_RUN,
            session,
            Repeat.FOREVER,
            settings.loop_limits,
            budget=settings.budget,
            approvals=settings.approvals,
        )
        state = _folded(spec, events)
        # The newest wish may be older than the iterations that are folded; it is not to be granted twice.
        wishes = self.journal.of_type(EventType.RUN_REQUESTED, limit=1)
        if wishes and not state.last_request:
            state = replace(state, last_request=str(wishes[0].content.get("id", "")))
        self._loop = run = Run(state, self._with)
        self.runs.add(run, self.control)
        due = loop.resumes_at(run.state)
        await self._kept(
            run,
            Event(
                EventType.LOOP_STARTED,
                {
                    "goal": spec.goal,
                    "interval_seconds": spec.limits.interval_seconds,
                    "max_steps": spec.limits.max_steps,
                    "max_iteration_seconds": spec.limits.max_iteration_seconds,
                    "model": settings.model,
                    "next_at": timestamp(due) if due and not run.state.status.open else None,
                },
                session=session,
                run=LOOP_RUN,
                iteration=run.state.status.iteration,
                # With these a replay knows what bound the loop then.
                data={
                    "instructions": settings.instructions,
                    "approvals": spec.approvals.to_json(),
                    "budget": spec.budget.to_json(),
                },
            ),
        )
        await run.drive(self.control)
        iteration = run.state.status.iteration
        try:
            run.record(Event(EventType.LOOP_STOPPED, "", session=session, run=LOOP_RUN, iteration=iteration))
        except StoreError as error:
            log.error("that the loop stopped is not on record: %s", error)

    async def chat(
        self,
        text: str,
        session: str,
        *,
        delegated: bool = False,
        on_text: OnText | None = None,
        on_call: OnCall | None = None,
    ) -> RunState:
        """Answer one message in a session; the state's `status.last_response` is the answer."""
        spec = RunSpec(
            text,
            f"chat_{uuid.uuid4().hex[:12]}",
            session,
            Repeat.ONCE,
            Limits(max_steps=self.settings.task_limits.max_steps),
            delegated,
            self.settings.budget,
            self.settings.approvals,
        )
        history = self.journal.history(session, self.settings.context_limit)
        run = Run(loop.begin(spec), self._with, history=history, on_text=on_text, on_call=on_call)
        # Somebody waits: it is finished, within the grace of requests, even while the process stops.
        state = await self.runs.drive(run, Control(asyncio.Event()))
        _check(state)
        return state

    async def submit(
        self,
        text: str,
        session: str,
        *,
        autonomous: bool,
        budgets: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Task:
        """Begin a task. A synchronous one is awaited to its end, an autonomous one goes on in the background."""
        id = f"task_{uuid.uuid4().hex[:12]}"
        content = {"message": text, "autonomous": autonomous, "budgets": dict(budgets), "metadata": dict(metadata)}
        self.journal.record(
            [
                Event(EventType.TASK_SUBMITTED, content, session=session, run=id),
                Event(EventType.TASK_WORKING, "", session=session, run=id),
            ]
        )
        work = self._begin(id)
        if not autonomous:
            await self._settled(id, work)
        return self.task(id)

    async def decide_task(self, id: str, verdicts: Mapping[str, Verdict], *, by: str) -> Task:
        """Decide every call a task waits for, and wait as whoever sent it did."""
        for call, verdict in verdicts.items():
            self.runs.answer(call, run=id, granted=verdict.granted, by=by, reason=verdict.reason)
        return await self._after_answer(id)

    async def answer_task(self, id: str, *, granted: bool, by: str, reason: str) -> Task:
        """Decide what a task waits for, and wait as whoever sent it did."""
        call = next((call for run, call in self.runs.waiting() if run == id), None)
        if call is None:
            raise NotFoundError(f"Task {id} waits for nothing")
        self.runs.answer(call.id, run=id, granted=granted, by=by, reason=reason)
        return await self._after_answer(id)

    async def _after_answer(self, id: str) -> Task:
        work = self._tasks.get(id)
        if work is not None and not self.task(id).autonomous:
            await self._settled(id, work)
        return self.task(id)

    async def _settled(self, id: str, work: asyncio.Task[None]) -> None:
        """Until a task is over or waits for a person. Whoever asked may go away; it is on record and goes on."""
        while not work.done():
            if any(run == id for run, _ in self.runs.waiting()):
                return
            await asyncio.wait([work], timeout=APPROVAL_POLL_SECONDS)

    def task(self, id: str) -> Task:
        task = task_of(self.journal.of_run(id)) if id.startswith("task_") else None
        if task is None:
            raise NotFoundError(f"Task not found: {id}")
        return task

    def tasks(self) -> list[Task]:
        """The newest tasks, newest first."""
        submissions = self.journal.of_type(EventType.TASK_SUBMITTED, limit=LISTED_TASKS)
        found = (task_of(self.journal.of_run(event.run)) for event in submissions)
        return [task for task in found if task is not None]

    async def cancel(self, id: str) -> Task:
        """End a task; one that is over already is returned unchanged."""
        task = self.task(id)
        if task.state.terminal:
            return task
        work = self._tasks.get(id)
        if work is None:
            self._canceled(id)
            return self.task(id)
        self._canceling.add(id)
        work.cancel()
        await asyncio.wait([work])
        self._canceling.discard(id)
        return self.task(id)

    def resume_tasks(self) -> None:
        """Take up the tasks that the process before this one left unfinished."""
        for id in self.journal.unfinished_tasks():
            if id not in self._tasks:
                self._begin(id, resumed=True)

    async def finish(self, seconds: float) -> None:
        """Let what is under way come to a step's end, and cut off what does not."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=seconds)
            for work in late:
                work.cancel()

    def _begin(self, id: str, *, resumed: bool = False) -> asyncio.Task[None]:
        work = asyncio.create_task(self._guarded(id, resumed))
        self._tasks[id] = work
        work.add_done_callback(lambda _: self._tasks.pop(id, None))
        return work

    async def _guarded(self, id: str, resumed: bool) -> None:
        """Work at a task; a disk that is full only delays it."""
        try:
            while True:
                try:
                    await self._work(id, resumed)
                    return
                except StoreError as error:
                    log.error("task %s cannot go on: %s", id, error)
                    if isinstance(error, DamagedError):
                        self._stopping.set()  # Another process has to make a new file of it, and goes on.
                        return
                    await asyncio.sleep(STORE_TROUBLE_SECONDS)
                    resumed = True
        except asyncio.CancelledError:
            # On record before whoever waits for the task looks at it.
            if id in self._canceling:
                self._canceled(id)
            raise
        except Exception as error:
            log.exception("task %s broke", id)
            self._end(self.task(id), EventType.TASK_FAILED, {"error": f"{type(error).__name__}: {error}"})

    def _canceled(self, id: str) -> None:
        """Put it on record that a task ends here, and that what became of its calls under way is unknown."""
        self.journal.record(())  # What has happened and is not written yet.
        task, events = self.task(id), self.journal.of_run(id)
        if task.state.terminal:
            return
        state = _folded(RunSpec("", id, task.session), events)
        calls = [loop.unknown(state, call) for call in state.pending if call.intended]
        self.journal.record([*calls, Event(EventType.TASK_CANCELED, "", session=task.session, run=id)])

    async def _kept(self, run: Run, event: Event) -> None:
        """Put an event on record, again and again while the disk is full; not once the process is to stop."""
        while not self._stopping.is_set():
            try:
                run.record(event)
                return
            except StoreError as error:
                log.error("cannot write events: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), STORE_TROUBLE_SECONDS)

    async def _work(self, id: str, resumed: bool) -> None:
        events = self.journal.of_run(id)
        task = task_of(events)
        assert task is not None
        text = task.history[0].text
        repeat = Repeat.UNTIL_DONE if task.autonomous else Repeat.ONCE
        delegated = bool(task.metadata.get("delegation"))
        settings = self.settings
        spec = RunSpec(
            text, id, task.session, repeat, self._limits(task), delegated, settings.budget, settings.approvals
        )
        history = self.journal.history(task.session, self.settings.context_limit, before=events[0].seq)
        run = Run(_folded(spec, events), self._with, history=history)
        if resumed:
            run.record(Event(EventType.LOOP_STARTED, {"goal": text}, session=task.session, run=id))
        # An autonomous task stops at a step and is taken up again; whoever waits for a synchronous one gets it whole.
        state = await self.runs.drive(run, Control(self._stopping if task.autonomous else asyncio.Event()))
        if not loop.over(state):
            return  # The process stops; the next one goes on.
        if loop.ended_badly(state):
            self._end(task, EventType.TASK_FAILED, {"error": state.status.last_error})
        elif not task.autonomous and (reason := _spent(state)):
            self._end(task, EventType.TASK_FAILED, {"error": f"the budget {reason} is used up"})
        else:
            self._end(task, EventType.TASK_COMPLETED, {"output": state.status.last_response})

    def _limits(self, task: Task) -> Limits:
        limits = self.settings.task_limits
        if not task.autonomous:
            return Limits(max_steps=limits.max_steps)
        budgets = task.budgets
        return replace(
            limits,
            max_iterations=int(budgets.get("maxIterations", limits.max_iterations)),
            max_runtime_seconds=float(budgets.get("maxRuntimeSeconds", limits.max_runtime_seconds)),
            max_tool_calls=int(budgets.get("maxToolCalls", limits.max_tool_calls)),
            interval_seconds=float(budgets.get("intervalSeconds", 0)),
        )

    def _end(self, task: Task, kind: EventType, content: Any) -> None:
        self.journal.record([Event(kind, content, session=task.session, run=task.id)])


def _folded(spec: RunSpec, events: list[Event]) -> RunState:
    state = loop.begin(spec)
    for event in events:
        state = loop.fold(state, event)
    return state


def _check(state: RunState) -> None:
    if state.status.last_outcome == Outcome.FAILED:
        raise RunFailed(state.status.last_error)
    if reason := _spent(state):
        raise BudgetSpent(f"the budget {reason} is used up", hint="spec.config.budget says how much there is")


def _spent(state: RunState) -> str:
    """The limit that kept a run from its answer."""
    if state.exhausted:
        return state.exhausted
    if state.status.last_outcome != Outcome.BUDGET_EXHAUSTED:
        return ""
    return state.status.stop_reason or "of an iteration"


__all__ = ["AgentService", "RunFailed", "TaskState", "new_session"]
