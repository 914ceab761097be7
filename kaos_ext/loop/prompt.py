"""What the model is shown: instructions, earlier talk, the goal with a digest of what happened before, the open steps.

The goal stands in every iteration. A run that repeats gets a bounded digest of its latest iterations instead of their
conversations, so that the request does not grow with the age of the agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaos_ext.loop.state import PendingCall, Repeat, RunState

TOOL_RESULT_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a model request, before it is written in a wire's form."""

    role: str
    text: str
    calls: tuple[PendingCall, ...] = ()
    call_id: str = ""


def prompt(state: RunState, *, instructions: str, history: Sequence[tuple[str, str]] = ()) -> list[Message]:
    """The messages of the next model call; `history` holds earlier (role, text) pairs of the session, oldest first."""
    messages = [Message("system", instructions)] if instructions else []
    messages += [Message(role, text) for role, text in history]
    messages.append(Message("user", _goal(state)))
    for turn in state.turns:
        text = turn.text
        if turn.role == "tool" and len(text) > TOOL_RESULT_CHARACTERS:
            text = f"{text[:TOOL_RESULT_CHARACTERS]}\n[cut: {len(turn.text)} characters in all]"
        messages.append(Message(turn.role, text, turn.calls, turn.call_id))
    return messages


def fingerprint(messages: Sequence[Message], written: Callable[[str], str] = str) -> str:
    """A short digest of what a model was shown, so that a replay can tell whether it would be shown the same.

    `written` makes of a text what the log keeps of it: a replay has nothing else.
    """
    digest = hashlib.blake2b(digest_size=8)
    for message in messages:
        calls = [(call.id, call.tool, sorted(call.arguments.items())) for call in message.calls]
        digest.update(written(f"{message.role}\0{message.call_id}\0{message.text}\0{calls}\0").encode())
    return digest.hexdigest()


def _goal(state: RunState) -> str:
    goal = state.iteration_goal or state.spec.goal
    number = state.status.iteration
    if state.spec.repeat is Repeat.ONCE or number <= 1:
        return goal
    lines = [goal, "", f"You work at this goal again and again; this is iteration {number}."]
    if state.digest:
        lines.append("What came of the latest ones, oldest first:")
        lines += [f"- iteration {past.iteration}, {past.outcome}: {past.text}" for past in state.digest]
    return "\n".join(lines)
