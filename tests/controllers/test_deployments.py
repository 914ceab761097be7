"""Deployments, ReplicaSets and the scheduler together, against an API server in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaos_ext.kube.objects import DEPLOYMENTS, EVENTS, NODES, PODS, REPLICASETS, ApiError, Object, Propagation

Make = Callable[..., Object]


def condition(object: Object, type: str) -> dict[str, Any]:
    return next(item for item in object["status"]["conditions"] if item["type"] == type)


def web(cluster: Any) -> Object:
    return next(iter(cluster.client.all(DEPLOYMENTS)))


def available(cluster: Any, count: int) -> Callable[[], bool]:
    def holds() -> bool:
        deployment = web(cluster)
        status = deployment.get("status") or {}
        return bool(
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("availableReplicas", 0) == count
            and status.get("updatedReplicas", 0) == count
            and status.get("replicas", 0) == count
        )

    return holds


async def change(cluster: Any, spec: Object) -> None:
    await cluster.client.patch(DEPLOYMENTS, "web", {"spec": spec}, "default")


def image(version: str) -> Object:
    return {"template": {"spec": {"containers": [{"name": "c", "image": f"web:{version}"}]}}}


async def test_a_deployment_becomes_bound_pods_and_says_so(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(3), "default")
    await cluster.until(available(cluster, 3))
    await cluster.settle()
    pods = cluster.client.all(PODS)
    assert len(pods) == 3 and all(pod["spec"]["nodeName"] == "n1" for pod in pods)
    (replicaset,) = cluster.client.all(REPLICASETS)
    digest = replicaset["metadata"]["labels"]["pod-template-hash"]
    assert replicaset["metadata"]["name"] == f"web-{digest}"
    assert all(pod["metadata"]["name"].startswith(f"web-{digest}-") for pod in pods)
    assert all(pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": digest} for pod in pods)
    assert pods[0]["metadata"]["ownerReferences"][0]["uid"] == replicaset["metadata"]["uid"]
    deployment = web(cluster)
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert condition(deployment, "Available")["reason"] == "MinimumReplicasAvailable"
    progressing = condition(deployment, "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("True", "NewReplicaSetAvailable")
    assert progressing["message"] == f'ReplicaSet "web-{digest}" has successfully progressed.'
    assert "unavailableReplicas" not in deployment["status"]
    await cluster.controllers.shared.recorder.flush()
    events = {event["reason"]: event["message"] for event in cluster.client.all(EVENTS)}
    assert events["ScalingReplicaSet"] == f"Scaled up replica set web-{digest} from 0 to 3"
    assert events["SuccessfulCreate"].startswith(f"Created pod: web-{digest}-")
    assert events["Scheduled"].endswith("to n1")


async def test_exactly_the_asked_number_is_created_however_far_the_copies_lag(
    cluster: Any, make_deployment: Make
) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(20), "default")
    await cluster.until(available(cluster, 20))
    await cluster.settle()
    assert cluster.client.count("create", "pods") == 20
    await change(cluster, {"replicas": 4})
    await cluster.until(available(cluster, 4))
    await cluster.settle()
    assert cluster.client.count("delete", "pods") == 16
    assert cluster.client.count("create", "pods") == 20


async def test_a_pod_that_goes_is_replaced_once(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(2), "default")
    await cluster.until(available(cluster, 2))
    victim = cluster.client.all(PODS)[0]["metadata"]["name"]
    await cluster.client.delete(PODS, victim, "default")
    await cluster.until(lambda: len(cluster.active()) == 2 and victim not in str(cluster.active()))
    await cluster.settle()
    assert cluster.client.count("create", "pods") == 3


async def test_a_rolling_update_never_has_too_many_nor_too_few(cluster: Any, make_deployment: Make) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await cluster.client.create(DEPLOYMENTS, make_deployment(4, strategy=strategy), "default")
    await cluster.until(available(cluster, 4))
    start = len(cluster.client.log)
    await change(cluster, image("2"))
    await cluster.until(available(cluster, 4))
    live = {}
    for _, type, resource, object in cluster.client.log:
        if resource != PODS:
            continue
        gone = type == "DELETED" or object["metadata"].get("deletionTimestamp")
        ready = any(c["status"] == "True" for c in object["status"].get("conditions", ()))
        live[object["metadata"]["name"]] = None if gone else ready
        if cluster.client.log.index((_, type, resource, object)) >= start:
            present = [value for value in live.values() if value is not None]
            assert len(present) <= 5
            assert sum(present) >= 4
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.client.all(PODS)} == {"web:2"}
    old, new = sorted(cluster.client.all(REPLICASETS), key=lambda rs: int(rs["metadata"]["uid"].split("-")[1]))
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, 4)
    assert web(cluster)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


async def test_recreate_starts_the_new_pod_only_when_the_old_one_is_gone(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1, strategy={"type": "Recreate"}), "default")
    await cluster.until(available(cluster, 1))
    cluster.obey = False
    (old,) = cluster.client.all(PODS)
    await change(cluster, image("2"))
    await cluster.until(lambda: cluster.client.all(PODS)[0]["metadata"].get("deletionTimestamp"))
    await cluster.settle()
    assert len(cluster.client.all(PODS)) == 1
    cluster.obey = True
    cluster.client.remove(PODS, cluster.client.objects[PODS, "default", old["metadata"]["name"]])
    await cluster.until(available(cluster, 1))
    (new,) = cluster.client.all(PODS)
    assert new["spec"]["containers"][0]["image"] == "web:2"


async def test_ten_changes_in_a_row_end_with_the_last_one_only(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1, strategy={"type": "Recreate"}), "default")
    for version in range(2, 12):
        await change(cluster, image(str(version)))
    await cluster.until(available(cluster, 1))
    await cluster.settle()
    (pod,) = cluster.client.all(PODS)
    assert pod["spec"]["containers"][0]["image"] == "web:11"
    assert sum(rs["spec"]["replicas"] for rs in cluster.client.all(REPLICASETS)) == 1


async def test_the_old_template_brings_back_its_replicaset_with_a_new_revision(
    cluster: Any, make_deployment: Make
) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(2), "default")
    await cluster.until(available(cluster, 2))
    (first,) = cluster.client.all(REPLICASETS)
    await change(cluster, image("2"))
    await cluster.until(lambda: len(cluster.client.all(REPLICASETS)) == 2 and available(cluster, 2)())
    await change(cluster, {"template": make_deployment()["spec"]["template"]})
    await cluster.until(lambda: web(cluster)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3")
    await cluster.until(available(cluster, 2))
    assert len(cluster.client.all(REPLICASETS)) == 2
    again = next(rs for rs in cluster.client.all(REPLICASETS) if rs["metadata"]["uid"] == first["metadata"]["uid"])
    assert again["spec"]["replicas"] == 2
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


async def test_history_is_kept_up_to_its_limit(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1, revisionHistoryLimit=1), "default")
    for version in ("2", "3", "4"):
        await cluster.until(available(cluster, 1))
        await change(cluster, image(version))
    await cluster.until(available(cluster, 1))
    await cluster.until(lambda: len(cluster.client.all(REPLICASETS)) == 2, "only one old ReplicaSet is left")
    images = {rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in cluster.client.all(REPLICASETS)}
    assert images == {"web:3", "web:4"}


async def test_a_paused_deployment_scales_but_does_not_roll(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(available(cluster, 1))
    await change(cluster, {"paused": True, "replicas": 2, **image("2")})
    await cluster.until(lambda: len(cluster.active()) == 2)
    await cluster.settle()
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.active()} == {"web:1"}
    assert condition(web(cluster), "Progressing")["reason"] == "DeploymentPaused"
    await change(cluster, {"paused": None})
    await cluster.until(available(cluster, 2))
    assert {pod["spec"]["containers"][0]["image"] for pod in cluster.active()} == {"web:2"}


async def test_a_refused_template_is_a_condition_with_the_reason(cluster: Any, make_deployment: Make) -> None:
    forbidden = ApiError({"code": 403, "reason": "Forbidden", "message": "hostPath is not allowed"})
    cluster.client.refuse = lambda verb, resource, object: (
        forbidden if verb == "create" and resource == PODS and "metadata" in object else None
    )
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(lambda: "ReplicaFailure" in str(web(cluster).get("status")))
    failure = condition(web(cluster), "ReplicaFailure")
    assert (failure["reason"], failure["message"]) == ("FailedCreate", "hostPath is not allowed")
    assert condition(web(cluster), "Available")["status"] == "False"
    cluster.client.refuse = lambda verb, resource, object: None
    await cluster.until(available(cluster, 1))
    await cluster.until(lambda: "ReplicaFailure" not in str(web(cluster).get("status")))


async def test_matching_pods_are_adopted_and_relabelled_ones_released(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(available(cluster, 1))
    (pod,) = cluster.client.all(PODS)
    await cluster.client.patch(PODS, pod["metadata"]["name"], {"metadata": {"labels": {"app": "debug"}}}, "default")
    await cluster.until(lambda: len(cluster.active()) == 2)
    released = await cluster.client.get(PODS, pod["metadata"]["name"], "default")
    assert not released["metadata"].get("ownerReferences")
    await cluster.client.patch(PODS, pod["metadata"]["name"], {"metadata": {"labels": {"app": "web"}}}, "default")
    await cluster.until(lambda: len(cluster.active()) == 1, "the adopted one is one too many")


async def test_deleting_a_deployment_takes_its_replicasets_and_pods(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(2), "default")
    await cluster.until(available(cluster, 2))
    await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation=Propagation.BACKGROUND)
    await cluster.until(lambda: not cluster.client.all(PODS) and not cluster.client.all(REPLICASETS))


async def test_a_pod_without_a_node_says_why_and_is_bound_when_one_comes(cluster: Any, make_deployment: Make) -> None:
    await cluster.client.delete(NODES, "n1")
    await cluster.settle()
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(lambda: cluster.active() and "conditions" in cluster.active()[0]["status"])
    scheduled = condition(cluster.active()[0], "PodScheduled")
    assert (scheduled["reason"], scheduled["message"]) == ("Unschedulable", "no nodes available to schedule pods")
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    cluster.client.put(NODES, {"metadata": {"name": "n2"}, "spec": {}, "status": ready})
    await cluster.until(available(cluster, 1))


async def test_min_ready_seconds_reach_the_replicaset_and_delay_availability(
    cluster: Any, make_deployment: Make
) -> None:
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(available(cluster, 1))
    await change(cluster, {"minReadySeconds": 3600})
    await cluster.until(lambda: web(cluster)["status"].get("unavailableReplicas") == 1)
    (replicaset,) = cluster.client.all(REPLICASETS)
    assert replicaset["spec"]["minReadySeconds"] == 3600
    assert condition(web(cluster), "Progressing")["reason"] == "NewReplicaSetAvailable"
    await change(cluster, {"minReadySeconds": 0})
    await cluster.until(available(cluster, 1))
