"""Probes: asked early, judged no harder than Kubernetes would."""

from __future__ import annotations

from itertools import pairwise

from kaos_ext.cluster.node.probes import ProbeKind, ProbeState, ProbeTiming, answered, next_delay

READINESS = ProbeTiming.of(ProbeKind.READINESS, {"periodSeconds": 10, "failureThreshold": 3})
LIVENESS = ProbeTiming.of(ProbeKind.LIVENESS, {"periodSeconds": 10, "initialDelaySeconds": 5})
STARTUP = ProbeTiming.of(ProbeKind.STARTUP, {"periodSeconds": 1, "failureThreshold": 30})


def play(timing: ProbeTiming, works_from: float, until: float) -> tuple[list[float], ProbeState, float]:
    """Ask as scheduled; the times asked, the last state, and when the verdict first was good."""
    at, state, asked, good = 0.0, ProbeState(), [], -1.0
    while True:
        at += next_delay(state, timing, at)
        if at > until:
            return asked, state, good
        asked.append(round(at, 3))
        state = answered(state, timing, at >= works_from, at)
        if state.verdict and good < 0:
            good = at


def test_readiness_is_asked_at_once_and_then_at_growing_short_gaps_until_the_first_success() -> None:
    asked, _, good = play(READINESS, works_from=0.5, until=12)
    assert asked[:5] == [0.0, 0.02, 0.06, 0.14, 0.22]
    assert 0.5 <= good <= 0.59
    after = [time for time in asked if time > good]
    assert [round(b - a) for a, b in pairwise(after)] == [10] * (len(after) - 1)


def test_early_failures_do_not_count() -> None:
    _, state, _ = play(READINESS, works_from=100, until=9.9)
    assert (state.failures, state.verdict) == (0, None)


def test_failures_count_once_a_period_as_on_a_real_node() -> None:
    _, state, _ = play(STARTUP, works_from=100, until=10.5)
    assert 9 <= state.failures <= 11
    _, state, _ = play(STARTUP, works_from=100, until=29)
    assert state.verdict is None
    _, state, _ = play(STARTUP, works_from=100, until=34)
    assert state.verdict is False


def test_after_a_success_three_failures_in_a_row_make_it_unready_and_one_success_ready_again() -> None:
    state = answered(ProbeState(), READINESS, True, 0.0)
    for at in (10, 20):
        state = answered(state, READINESS, False, at)
        assert state.verdict is True
    state = answered(state, READINESS, False, 30)
    assert state.verdict is False
    assert answered(state, READINESS, True, 40).verdict is True


def test_liveness_waits_for_its_delay_and_then_keeps_its_period() -> None:
    asked, state, _ = play(LIVENESS, works_from=1000, until=36)
    assert asked == [15.0, 25.0, 35.0]
    assert state.verdict is False


def test_a_success_threshold_is_counted() -> None:
    timing = ProbeTiming.of(ProbeKind.READINESS, {"successThreshold": 2})
    state = answered(ProbeState(), timing, True, 0)
    assert state.verdict is None
    assert answered(state, timing, True, 1).verdict is True
