"""Kubernetes events of one object are rationed, so that one that turns all the time floods nobody."""

from __future__ import annotations

from kaos_operator.quota import BURST, REFILL_SECONDS, Quota


def test_an_object_gets_a_burst_of_events_and_then_one_now_and_then() -> None:
    now = 0.0
    quota = Quota(lambda: now)
    assert [quota.take("a") for _ in range(BURST + 2)] == [True] * BURST + [False] * 2
    assert quota.take("b"), "another one has its own"
    now += REFILL_SECONDS
    assert (quota.take("a"), quota.take("a")) == (True, False)
    quota.forget("a")
    assert quota.take("a")
