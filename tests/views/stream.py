"""A scripted agent: the events it would write, one iteration after another, with times that move by hand."""

from __future__ import annotations

from collections.abc import Iterator

from kaos_ext.model.events import LOOP_RUN, Event, EventType, timestamp

START = 1_800_000_000.0
CALLS = {"model": "gpt-4o", "tool_calls": [{"id": "call_1", "name": "echo", "arguments": {}}]}
SAYS = {"model": "gpt-4o", "tool_calls": []}
GOAL = "Use the echo tool to check system status and report the result"


def iterations(count: int, *, start: float = START, first_seq: int = 1, goal: str = GOAL) -> Iterator[Event]:
    """`count` finished iterations of the example agent, one second apart."""
    seq = first_seq
    for number in range(1, count + 1):
        now = start + number - 1
        script: list[tuple[float, str, object, int]] = [
            (0.000, EventType.ITERATION_STARTED, {"goal": goal}, 0),
            (0.001, EventType.USER_MESSAGE, goal, 0),
            (0.002, EventType.MODEL_REQUEST, {"messages": 2, "tools": ["echo"]}, 1),
            (0.008, EventType.MODEL_RESPONSE, {**CALLS, "usage": {"prompt_tokens": 412, "completion_tokens": 38}}, 1),
            (0.009, EventType.TOOL_CALL, {"tool": "echo", "arguments": {"message": "checking system status"}}, 1),
            (0.013, EventType.TOOL_RESULT, {"tool": "echo", "result": "Echo: checking system status"}, 1),
            (0.014, EventType.MODEL_REQUEST, {"messages": 4, "tools": ["echo"]}, 2),
            (0.021, EventType.MODEL_RESPONSE, {**SAYS, "usage": {"prompt_tokens": 480, "completion_tokens": 21}}, 2),
            (0.022, EventType.AGENT_RESPONSE, "System check complete. Echo confirmed: checking system status.", 2),
            (
                0.025,
                EventType.ITERATION_FINISHED,
                {
                    "outcome": "Completed",
                    "duration_seconds": 0.025 + 0.01 * (number % 5),
                    "next_at": timestamp(now + 1),
                    "result": "System check complete. Echo confirmed: checking system status.",
                },
                0,
            ),
        ]
        for offset, kind, content, step in script:
            yield Event(kind, content, seq, now + offset, "session_loop", LOOP_RUN, number, step)
            seq += 1
