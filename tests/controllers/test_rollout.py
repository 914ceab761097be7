"""The decisions of a rollout, with numbers: how much may come, how much may go."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.cluster.controllers.rollout import Scale, limits, new_replicaset, plan, template_hash
from kaos_ext.cluster.controllers.rollout_status import observe
from kaos_ext.kube.objects import Object

NOW = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)


def deployment(
    replicas: int, surge: int | str = 1, unavailable: int | str = 0, image: str = "2", **more: Any
) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            **more,
        },
    }


def replicaset(image: str, replicas: int, available: int, desired: int, revision: int) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"web-{image}",
            "uid": image,
            "generation": 1,
            "creationTimestamp": f"2026-01-01T00:00:0{revision}Z",
            "annotations": {
                "deployment.kubernetes.io/revision": str(revision),
                "deployment.kubernetes.io/desired-replicas": str(desired),
            },
        },
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {"app": "web", "pod-template-hash": image}},
                "spec": {"containers": [{"image": image}]},
            },
        },
        "status": {
            "replicas": replicas,
            "availableReplicas": available,
            "readyReplicas": available,
            "observedGeneration": 1,
        },
    }


def sizes(scales: tuple[Scale, ...]) -> dict[str, int]:
    return {
        s.replicaset["metadata"]["uid"]: s.replicas for s in scales if s.replicaset["spec"]["replicas"] != s.replicas
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", (1, 1)),
        (3, "25%", "25%", (1, 0)),
        (10, "30%", "15%", (3, 1)),
        (1, 0, 0, (0, 1)),
        (2, 5, 9, (5, 2)),
    ],
)
def test_shares_round_surge_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert limits(deployment(replicas, surge, unavailable)) == expected


def test_the_first_step_makes_a_set_with_the_room_there_is() -> None:
    step = plan(deployment(4), [replicaset("1", 4, 4, 4, 1)], 4)
    assert step.create is not None and step.create["spec"]["replicas"] == 1
    assert step.revision == "2" and step.create["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_old_pods_go_only_when_new_ones_are_available() -> None:
    old, new = replicaset("1", 4, 4, 4, 1), replicaset("2", 1, 0, 4, 2)
    assert sizes(plan(deployment(4), [old, new], 4).scale) == {}
    new["status"]["availableReplicas"] = 1
    assert sizes(plan(deployment(4), [old, new], 4).scale) == {"1": 3}


def test_old_pods_that_do_not_work_go_first() -> None:
    worse, better = replicaset("0", 2, 0, 4, 1), replicaset("1", 2, 2, 4, 2)
    new = replicaset("2", 1, 1, 4, 3)
    assert sizes(plan(deployment(4), [better, worse, new], 4).scale) == {"0": 1}


def test_a_new_size_in_the_middle_of_a_rollout_is_shared_in_proportion() -> None:
    old, new = replicaset("1", 6, 6, 8, 1), replicaset("2", 3, 3, 8, 2)
    assert sizes(plan(deployment(16), [old, new], 6).scale) == {"1": 11, "2": 6}


def test_recreate_stops_everything_before_it_starts_anything() -> None:
    recreate = deployment(2)
    recreate["spec"]["strategy"] = {"type": "Recreate"}
    step = plan(recreate, [replicaset("1", 2, 2, 2, 1)], 2)
    assert step.create is not None and step.create["spec"]["replicas"] == 0
    assert sizes(step.scale) == {"1": 0}
    new = replicaset("2", 0, 0, 2, 2)
    assert sizes(plan(recreate, [replicaset("1", 0, 0, 2, 1), new], 1).scale) == {}
    assert sizes(plan(recreate, [replicaset("1", 0, 0, 2, 1), new], 0).scale) == {"2": 2}


def test_annotations_of_the_deployment_reach_the_set_but_not_kubectls_own() -> None:
    one = deployment(1)
    one["metadata"]["annotations"] = {"team": "a", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    annotations = new_replicaset(one, [], "1", 1)["metadata"]["annotations"]
    assert annotations["team"] == "a"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in annotations


def test_a_hash_depends_on_the_template_and_on_collisions_only() -> None:
    template = deployment(1)["spec"]["template"]
    assert template_hash(template) == template_hash(dict(reversed(template.items())))
    assert (
        template_hash(template)
        != template_hash(template, 1)
        != template_hash(deployment(1, image="3")["spec"]["template"])
    )


@given(
    replicas=st.integers(0, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    old=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=3),
    new=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
def test_no_step_asks_for_too_many_or_gives_up_what_must_stay(
    replicas: int, surge: int, unavailable: int, old: list[tuple[int, int]], new: tuple[int, int]
) -> None:
    one = deployment(replicas, surge, unavailable)
    sets = [replicaset(f"o{i}", size, min(size, up), replicas, i + 1) for i, (size, up) in enumerate(old)]
    current = replicaset("2", new[0], min(new), replicas, 9)
    before = {rs["metadata"]["uid"]: rs["spec"]["replicas"] for rs in [*sets, current]}
    step = plan(one, [*sets, current], sum(size for size, _ in old))
    after = before | sizes(step.scale)
    real_surge, real_unavailable = limits(one)
    assert sum(after.values()) <= max(sum(before.values()), replicas + real_surge)
    available = {rs["metadata"]["uid"]: rs["status"]["availableReplicas"] for rs in [*sets, current]}
    kept = sum(min(available[uid], after[uid]) for uid in after)
    assert kept >= min(sum(available.values()), replicas - real_unavailable)
    assert after["2"] <= max(replicas, 0) and all(size >= 0 for size in after.values())


@given(
    replicas=st.integers(1, 10),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 3),
    start=st.integers(1, 10),
)
def test_every_rollout_comes_to_its_end(replicas: int, surge: int, unavailable: int, start: int) -> None:
    one = deployment(replicas, surge, unavailable)
    old, new = replicaset("1", start, start, start, 1), replicaset("2", 0, 0, start, 2)
    for _ in range(100):
        step = plan(one, [old, new], old["spec"]["replicas"])
        if not step.scale:
            break
        for scale in step.scale:
            scale.replicaset["spec"]["replicas"] = scale.replicas
            scale.replicaset["metadata"]["annotations"].update(scale.annotations)
            scale.replicaset["status"].update(replicas=scale.replicas, availableReplicas=scale.replicas)
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, replicas)


def reason(observed: dict[str, Any], type: str) -> tuple[str, str]:
    found = next(item for item in observed["conditions"] if item["type"] == type)
    return found["status"], found["reason"]


def test_progress_is_told_from_the_new_set_to_the_end() -> None:
    one = deployment(2, progressDeadlineSeconds=10)
    observed = observe(one, [replicaset("2", 2, 0, 2, 1)], NOW, created="web-2")
    assert reason(observed.status, "Progressing") == ("True", "NewReplicaSetCreated")
    assert reason(observed.status, "Available") == ("False", "MinimumReplicasUnavailable")
    assert observed.look_again is not None and observed.look_again <= 11
    one["status"] = observed.status
    observed = observe(one, [replicaset("2", 2, 1, 2, 1)], NOW)
    assert reason(observed.status, "Progressing") == ("True", "ReplicaSetUpdated")
    one["status"] = observed.status
    observed = observe(one, [replicaset("2", 2, 2, 2, 1)], NOW)
    assert reason(observed.status, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert reason(observed.status, "Available") == ("True", "MinimumReplicasAvailable")
    assert observed.look_again is None


def test_a_rollout_that_does_not_move_misses_its_deadline_and_recovers_when_it_moves() -> None:
    one = deployment(1, progressDeadlineSeconds=10)
    stuck = replicaset("2", 1, 0, 1, 1)
    one["status"] = observe(one, [stuck], NOW, created="web-2").status
    later = NOW + dt.timedelta(seconds=11)
    one["status"] = observe(one, [stuck], later).status
    assert reason(one["status"], "Progressing") == ("False", "ProgressDeadlineExceeded")
    assert observe(one, [stuck], later + dt.timedelta(hours=1)).look_again is None
    assert reason(observe(one, [replicaset("2", 1, 1, 1, 1)], later).status, "Progressing")[0] == "True"


def test_pods_lost_after_the_rollout_are_no_rollout() -> None:
    one = deployment(1, progressDeadlineSeconds=10)
    one["status"] = observe(one, [replicaset("2", 1, 1, 1, 1)], NOW).status
    one["status"] = observe(one, [replicaset("2", 1, 0, 1, 1)], NOW + dt.timedelta(hours=1)).status
    assert reason(one["status"], "Progressing") == ("True", "NewReplicaSetAvailable")
    assert reason(one["status"], "Available")[0] == "False"
