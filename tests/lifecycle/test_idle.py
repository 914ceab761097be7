"""When a cluster counts as unused."""

from __future__ import annotations

import asyncio

import pytest

from kaos_ext.cluster.idle import Use, is_workload, unused
from kaos_ext.kube.objects import Object


def pod(namespace: str = "default", phase: str = "Running") -> Object:
    return {"metadata": {"name": "p", "namespace": namespace}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("one", "expected"),
    [(pod(), True), (pod(phase="Pending"), True), (pod(phase="Succeeded"), False), (pod("kaos-system"), False)],
)
def test_what_a_workload_is(one: Object, expected: bool) -> None:
    assert is_workload(one) is expected
    assert Use(0, 0.0, [one]).busy is expected


async def test_a_request_under_way_or_a_workload_keeps_the_cluster_and_their_end_counts() -> None:
    now = 0.0
    moments: list[Use] = [
        Use(1, 0.0, []),  # at 0: a watch is open
        Use(0, 1.0, [pod()]),  # at 1: closed, but something runs
        Use(0, 1.0, []),  # at 2: nothing; unused since 1, seen busy at 1
        Use(0, 2.5, []),  # at 3: somebody asked at 2.5
        Use(0, 2.5, []),
        Use(0, 2.5, []),
        Use(0, 2.5, []),
    ]

    def use() -> Use:
        return moments[int(now)]

    def clock() -> float:
        return now

    waiting = asyncio.create_task(unused(use, 3.0, clock, look=0.0))
    while not waiting.done():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not waiting.done():
            now += 1
    assert now == 6.0
