"""Pods as processes: a pod bound to the node runs, is ready, speaks, and goes."""

from __future__ import annotations

import pytest

from kaos_ext.kube.objects import PODS

from .harness import Node, phase, ready, state, status

pytestmark = pytest.mark.process

SLEEPER = "import time; print('hello'); time.sleep(600)"


async def test_a_bound_pod_runs_becomes_ready_logs_and_goes_when_it_is_deleted(node: Node) -> None:
    await node.run("one", SLEEPER)
    pod = await node.pod("one", ready)
    assert status(pod)["phase"] == "Running"
    assert status(pod)["podIP"].startswith("127.")
    assert state(pod)["state"]["running"]["startedAt"]
    await node.client.delete(PODS, "one", "default", grace_seconds=5)
    await node.gone("one")


async def test_a_program_that_ends_well_under_never_is_succeeded_and_its_log_stays_readable(node: Node) -> None:
    await node.run("task", "print('done')", restartPolicy="Never")
    pod = await node.pod("task", phase("Succeeded"))
    assert state(pod)["state"]["terminated"]["reason"] == "Completed"
    assert await node.logs("task") == (200, "done\n")
