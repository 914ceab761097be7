"""The work queue, the live copy, the order of deletion, selectors, events: the small parts."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from kaos_ext.cluster.controllers.events import Recorder
from kaos_ext.cluster.controllers.eventttl import remove_expired
from kaos_ext.cluster.controllers.informer import Informer
from kaos_ext.cluster.controllers.pods import deletion_order
from kaos_ext.cluster.controllers.queue import Pending, WorkQueue, pause
from kaos_ext.cluster.controllers.replicaset import decide
from kaos_ext.cluster.controllers.selectors import matches, matches_map
from kaos_ext.kube.objects import EVENTS, PODS, Object
from tests.controllers.fake_client import FakeClient

NOW = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)


def test_a_key_waits_once_and_comes_back_when_it_was_added_meanwhile() -> None:
    pending: Pending[str] = Pending()
    assert pending.add("a") and not pending.add("a")
    assert pending.take() == "a"
    assert not pending.add("a"), "nobody else may start on it now"
    assert pending.done("a")
    assert pending.take() == "a"
    assert not pending.done("a")


def test_pauses_double_up_to_a_limit_and_success_ends_the_row() -> None:
    assert [pause(n) for n in (1, 2, 3)] == [0.005, 0.01, 0.02]
    assert pause(1000) == 30.0
    pending: Pending[str] = Pending()
    assert [pending.failed("a"), pending.failed("a")] == [0.005, 0.01]
    pending.forget("a")
    assert pending.failed("a") == 0.005


async def test_the_earliest_of_several_times_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.001)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.take(), 5) == "a"
    queue.done("a")
    assert queue.idle
    queue.close()


def pod(name: str, **status: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", **status},
    }


async def seen(informer: Informer, name: str) -> None:
    while informer.get("default", name) is None:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_what_was_just_written_counts_before_the_watch_tells_and_once() -> None:
    client = FakeClient()
    informer = Informer(client, PODS)
    told: list[tuple[bool, bool]] = []
    informer.on_change(lambda old, new: told.append((old is None, new is None)))
    task = asyncio.create_task(informer.run())
    await informer.synced.wait()
    stored = client.put(PODS, pod("a"))
    informer.remember(stored)
    assert informer.get("default", "a") == stored
    client.put(PODS, pod("marker"))
    await seen(informer, "marker")
    assert told == [(True, False), (True, False)]
    await client.delete(PODS, "a", "default", grace_seconds=0)
    informer.forget(stored)
    assert informer.get("default", "a") is None
    client.put(PODS, pod("marker2"))
    await seen(informer, "marker2")
    informer.remember(stored)
    assert informer.get("default", "a") is None, "what the watch has ended does not come back"
    task.cancel()


async def test_a_watch_that_expired_is_listed_again_without_losing_anything() -> None:
    from kaos_ext.kube.objects import ApiError

    client = FakeClient()
    watches = 0
    inner = client.watch

    async def watch(*arguments: Any, **options: Any) -> Any:
        nonlocal watches
        watches += 1
        if watches == 1:
            client.put(PODS, pod("b"))
            await client.delete(PODS, "a", "default", grace_seconds=0)
            raise ApiError({"code": 410, "reason": "Expired"})
        async for event in inner(*arguments, **options):
            yield event

    client.watch = watch  # type: ignore[method-assign]
    client.put(PODS, pod("a"))
    informer = Informer(client, PODS)
    task = asyncio.create_task(informer.run())
    await seen(informer, "b")
    assert informer.get("default", "a") is None
    task.cancel()


def ranked(name: str, *, node: str = "n1", phase: str = "Running", ready: bool = True, restarts: int = 0) -> Object:
    found = pod(name, phase=phase, containerStatuses=[{"restartCount": restarts}])
    found["spec"] = {"nodeName": node} if node else {}
    found["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    if ready:
        found["status"]["conditions"] = [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T01:00:00Z"}
        ]
    return found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ranked("x", node="", phase="Pending", ready=False), ranked("a", phase="Pending", ready=False)),
        (ranked("x", phase="Pending", ready=False), ranked("a", ready=False)),
        (ranked("x", ready=False), ranked("a")),
        (ranked("x", restarts=3), ranked("a")),
    ],
)
def test_the_pod_that_does_least_is_deleted_first(first: Object, second: Object) -> None:
    assert deletion_order([second, first], NOW)[0]["metadata"]["name"] == "x"


def test_a_replicaset_that_ends_creates_nothing_and_one_that_waits_looks_again() -> None:
    owner = {"uid": "r", "controller": True}
    replicaset: Object = {
        "metadata": {"uid": "r", "name": "web", "generation": 1},
        "spec": {"replicas": 2, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}}, "template": {}},
    }
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T11:59:57Z"}
    young = pod("a", conditions=[ready])
    young["metadata"].update(ownerReferences=[owner], uid="a")
    decision = decide(replicaset, [young], NOW)
    assert (decision.create, decision.look_again) == (1, 7.0)
    assert (decision.status["readyReplicas"], decision.status["availableReplicas"]) == (1, 0)
    replicaset["metadata"]["deletionTimestamp"] = "2026-01-01T11:59:59Z"
    assert decide(replicaset, [], NOW).create == 0


@pytest.mark.parametrize(
    ("expression", "labels", "expected"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, {"a": "2"}, True),
        ({"key": "a", "operator": "In", "values": ["1"]}, {}, False),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, {}, True),
        ({"key": "a", "operator": "Exists"}, {"a": ""}, True),
        ({"key": "a", "operator": "DoesNotExist"}, {"a": ""}, False),
    ],
)
def test_label_selectors(expression: Object, labels: dict[str, str], expected: bool) -> None:
    assert matches({"matchExpressions": [expression]}, labels) is expected


def test_an_absent_selector_selects_nothing() -> None:
    assert not matches(None, {"a": "b"}) and not matches_map({}, {"a": "b"}) and not matches_map(None, {})
    assert matches({}, {"a": "b"})


async def test_events_that_repeat_are_counted_and_old_ones_removed() -> None:
    client = FakeClient()
    recorder = Recorder(client)
    task = asyncio.create_task(recorder.run())
    about = client.put(PODS, pod("a"))
    for _ in range(3):
        recorder.event(about, "Warning", "BackOff", "again", component="test")
    recorder.event(about, "Normal", "Started", "other", component="test")
    await recorder.flush()
    counts = {event["reason"]: event["count"] for event in client.all(EVENTS)}
    assert counts == {"BackOff": 3, "Started": 1}
    assert client.all(EVENTS)[0]["involvedObject"]["uid"] == about["metadata"]["uid"]
    now = dt.datetime.now(dt.UTC)
    assert await remove_expired(client, now, dt.timedelta(hours=1)) == 0
    assert await remove_expired(client, now + dt.timedelta(hours=2), dt.timedelta(hours=1)) == 2
    task.cancel()
