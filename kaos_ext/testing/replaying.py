"""Recorded iterations as regression tests: `kaos agent replay NAME --iteration N --save FILE`, then `replay(FILE)`."""

from __future__ import annotations

from pathlib import Path

from kaos_ext.runtime.agent import replay as replaying
from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.runtime.agent.replay import Diverged, Report

__all__ = ["Diverged", "Recording", "Report", "replay"]


def replay(recording: Recording | Path | str, *, instructions: str | None = None, goal: str | None = None) -> Report:
    """Run a recorded iteration again with the recorded answers, without a network; `.check()` raises `Diverged`.

    With `instructions` or `goal` as if the agent had had those: the first difference is the first question that would
    have been another.
    """
    if not isinstance(recording, Recording):
        recording = Recording.load(Path(recording))
    return replaying.replay(recording, instructions=instructions, goal=goal)
