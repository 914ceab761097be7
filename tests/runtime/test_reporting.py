"""How often an agent tells its status: with a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from kaos_ext.runtime.agent.reporter import EVERY_SECONDS, TURNS, Pace


def reports(seconds: float, mark: Callable[[float], str], *, busy: bool = True, refused: bool = False) -> list[float]:
    """When an agent reports that looks ten times a second, at something that happens all the time if it is busy."""
    pace, told = Pace(), []
    for tick in range(int(seconds * 10)):
        now = 1000 + tick / 10
        due = pace.due(mark(now - 1000), grown=busy, now=now)
        if due is not None and due <= now:
            told.append(round(now - 1000, 1))
            if refused:
                pace.refused(now)
            else:
                pace.reported(mark(now - 1000), now)
    return told


def test_a_busy_agent_whose_state_does_not_turn_reports_every_five_seconds() -> None:
    assert reports(21, lambda now: "active") == [0, 5, 10, 15, 20] and EVERY_SECONDS == 5


def test_an_idle_one_reports_once() -> None:
    assert reports(60, lambda now: "active", busy=False) == [0]


def test_a_turn_is_told_at_once_and_the_five_seconds_count_from_it() -> None:
    assert reports(14, lambda now: "paused" if now >= 7 else "active") == [0, 5, 7, 12]


def test_a_state_that_turns_all_the_time_is_told_like_one_that_does_not() -> None:
    told = reports(120, lambda now: str(round(now * 10) % 2))
    assert len(told) <= 1 + TURNS + 120 / EVERY_SECONDS
    assert told[: TURNS + 1] == [0, 0.1, 0.2, 0.3, 0.4, 0.5], "the first turns are told at once"
    assert len(reports(120, str)) <= len(told), "and one that never comes to rest"
    rests = [after - before for before, after in pairwise(told[6:])]
    assert min(rests) >= 4.8


def test_a_turn_and_back_between_two_reports_is_told_within_the_five_seconds() -> None:
    """An iteration that was wanted while the loop is held: paused again before anybody looked."""
    pace = Pace()
    pace.reported("paused", 0)
    assert pace.due("paused", grown=True, now=1) == 5


@pytest.mark.parametrize("mark", [lambda now: "active", lambda now: str(now)])
def test_a_server_that_refuses_is_asked_every_five_seconds_and_not_more_often(mark: Callable[[float], str]) -> None:
    assert reports(21, mark, refused=True) == [0, 5, 10, 15, 20]
