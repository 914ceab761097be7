"""The runs under way in this process, and the questions they put to people.

A tool call that needs approval parks its run; whoever answers names the question, or nothing while there is only one.
"""

from __future__ import annotations

from kaos_ext.loop import RunState
from kaos_ext.model.errors import KaosError, NotFoundError
from kaos_ext.model.loop_state import Waiting
from kaos_ext.runtime.agent.control import Control
from kaos_ext.runtime.agent.runner import Run


class ConflictError(KaosError):
    """What is asked for does not say which one is meant."""


class Underway:
    def __init__(self) -> None:
        self._runs: dict[str, tuple[Run, Control]] = {}

    def add(self, run: Run, control: Control) -> None:
        self._runs[run.state.spec.run] = (run, control)

    async def drive(self, run: Run, control: Control) -> RunState:
        """Have a run carried out; it is under way as long as that takes."""
        self.add(run, control)
        try:
            return await run.drive(control)
        finally:
            del self._runs[run.state.spec.run]

    def waiting(self) -> list[tuple[str, Waiting]]:
        """The tool calls that wait for a person, with the run each belongs to."""
        return [(name, call) for name, (run, _) in self._runs.items() for call in run.state.status.approvals]

    def approval_id(self, run: str, call: Waiting) -> str:
        """Names one question: models give the same id to a call of every iteration, and the answer may come late."""
        return f"{self._runs[run][0].state.status.iteration}-{call.id}"

    def answer(self, id: str, *, run: str = "", granted: bool, by: str, reason: str) -> tuple[str, Waiting]:
        """Approve or decline a call that waits; without an id the only one there is."""
        found = [
            (name, call)
            for name, call in self.waiting()
            if id in ("", call.id, self.approval_id(name, call)) and run in ("", name)
        ]
        if not found:
            raise NotFoundError(f"no tool call {id} waits for approval" if id else "no tool call waits for approval")
        if len(found) > 1:
            listed = ", ".join(f"{name}/{call.id} ({call.tool})" for name, call in found)
            raise ConflictError(f"several tool calls wait: {listed}", hint="name the call, and its run")
        name, waiting = found[0]
        driven, control = self._runs[name]
        call = next(call for call in driven.state.pending if call.id == waiting.id)
        driven.answer(call, granted=granted, content={"by": by, "reason": reason})
        control.wake()
        return name, waiting

    def waiting_of(self, run: str) -> dict[str, Waiting]:
        """The calls of one run that wait for a person, by the ids they are decided by."""
        return {self.approval_id(name, call): call for name, call in self.waiting() if name == run}
