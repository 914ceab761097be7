"""A recording: the events of one iteration of the resident loop, and what came before it that it builds on.

    recording = Recording.of(events, iteration)     # from any events of the loop, in order
    recording = Recording.load(path)                # from a file that `save` (or `kaos agent replay --save`) wrote

It is what a replay needs and nothing more: JSON, readable in a diff, kept beside a test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaos_ext.loop.state import DIGEST_ITERATIONS
from kaos_ext.model.errors import NotFoundError, UsageError
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType, Outcome

FORMAT = "kaos.recording/v1"


@dataclass(frozen=True, slots=True)
class Recording:
    iteration: int
    before: tuple[Event, ...]
    """Events of the run that the iteration builds on: how the loop was started, how earlier iterations ended."""
    events: tuple[Event, ...]
    """From the iteration's start to its end, everything of the run."""

    @classmethod
    def of(cls, events: Sequence[Event], iteration: int, run: str = LOOP_RUN) -> Recording:
        """Raises NotFoundError when the iteration is not there, or not whole."""
        own = [event for event in events if event.run == run]
        starts = [i for i, e in enumerate(own) if e.type == EventType.ITERATION_STARTED and e.iteration == iteration]
        if not starts:
            raise NotFoundError(f"iteration {iteration} is not on record", hint="kaos agent memory NAME lists what is")
        ends = (i for i, e in enumerate(own) if e.type in ITERATION_ENDS and e.iteration == iteration)
        end = next((i for i in ends if i > starts[0]), None)
        if end is None:
            raise NotFoundError(
                f"iteration {iteration} has not ended", hint="replay an earlier one, or wait for its end"
            )
        return cls(iteration, _basis(own[: starts[0]]), tuple(own[starts[0] : end + 1]))

    @property
    def whole(self) -> bool:
        """Whether what the iteration builds on is on record; without it neither totals nor prompts can be checked."""
        ends = [event for event in self.before if event.type in ITERATION_ENDS]
        told = sum(map(told_of, ends))
        return told >= DIGEST_ITERATIONS or len(ends) >= self.iteration - 1

    @property
    def started(self) -> Event | None:
        """How the process that ran the iteration took up the loop."""
        return next((e for e in reversed(self.before) if e.type == EventType.LOOP_STARTED), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "iteration": self.iteration,
            "before": [event.to_json() for event in self.before],
            "events": [event.to_json() for event in self.events],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recording:
        if value.get("format") != FORMAT:
            raise UsageError(
                "this is no recording of an iteration", hint="kaos agent replay NAME --iteration N --save FILE"
            )
        before, events = (tuple(map(Event.from_json, value[key])) for key in ("before", "events"))
        return cls(int(value["iteration"]), before, events)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Recording:
        try:
            value = json.loads(path.read_text())
        except OSError as error:
            raise NotFoundError(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise UsageError(f"{path} is not JSON: {error}") from error
        return cls.from_json(value if isinstance(value, dict) else {})


def told_of(end: Event) -> bool:
    """Whether the digest of later iterations tells of the one that ended like this."""
    return str(end.content.get("outcome")) != Outcome.SUPERSEDED


def _basis(earlier: Sequence[Event]) -> tuple[Event, ...]:
    """The last start of the loop, the ends of as many iterations as a digest tells of, pauses and resumes since."""
    started = [i for i, event in enumerate(earlier) if event.type == EventType.LOOP_STARTED][-1:]
    ends = [i for i, event in enumerate(earlier) if event.type in ITERATION_ENDS]
    told = [i for i in ends if told_of(earlier[i])][-DIGEST_ITERATIONS - 1 :]
    ends = [i for i in ends if not told or i >= told[0]]
    since = ends[-1] if ends else -1
    wishes = (EventType.PAUSED, EventType.RESUMED, EventType.RUN_REQUESTED)
    held = [i for i, event in enumerate(earlier) if i > since and event.type in wishes]
    return tuple(earlier[i] for i in sorted({*started, *ends, *held}))
