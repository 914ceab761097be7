"""Progress as lines, for whoever reads it without a terminal: what is done at once, what is waited for once it lasts.

    a reason that lasts a second   one line, and not again before another one was told
    a step that is done            one line, at once
    a step that failed             none: the error that follows says it

Pure: the time is asked of `clock`, and `wait` says when to ask `due` again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kaos_ext.views import Step, Steps, StepState

LASTING_SECONDS = 1.0


@dataclass(slots=True)
class Calm:
    """What was told of each step, and what is not worth a line yet."""

    clock: Callable[[], float] = time.monotonic
    _told: dict[str, str] = field(default_factory=dict)
    _waiting: dict[str, tuple[str, float]] = field(default_factory=dict)

    def report(self, steps: Steps) -> list[str]:
        """The lines that this adds."""
        lines = []
        for step in steps.steps:
            if step.state is StepState.PENDING:
                continue
            if step.state in (StepState.DONE, StepState.FAILED):
                self._waiting.pop(step.name, None)
            if step.state is StepState.DONE:
                lines += self._tell(step.name, f"{step.name}: {step.detail or 'ready'}")
            elif step.state is not StepState.FAILED:
                said = _waits(steps, step)
                if self._waiting.get(step.name, ("",))[0] != said:
                    self._waiting[step.name] = said, self.clock()
        return lines + self.due()

    def due(self) -> list[str]:
        """What has lasted long enough by now."""
        now = self.clock()
        lasting = [(name, said) for name, (said, since) in self._waiting.items() if now - since >= LASTING_SECONDS]
        return [line for name, said in lasting for line in self._tell(name, said)]

    @property
    def wait(self) -> float | None:
        """Seconds until something is due; None when nothing is waited for that was not told."""
        untold = [since for name, (said, since) in self._waiting.items() if self._told.get(name) != said]
        return max(0.0, min(untold) + LASTING_SECONDS - self.clock()) if untold else None

    def _tell(self, name: str, line: str) -> list[str]:
        if self._told.get(name) == line:
            return []
        self._told[name] = line
        return [line]


def _waits(steps: Steps, step: Step) -> str:
    waits = "waiting for " if steps.title == "waiting for" else ""
    return f"{waits}{step.name}: {step.detail or step.state.value}"
