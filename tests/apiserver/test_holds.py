"""What the server puts on volumes, nodes and pods, and when it takes it off."""

from __future__ import annotations

import asyncio
from typing import Any

from .conftest import Http

CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
PODS = "/api/v1/namespaces/default/pods"
CLAIM = {
    "metadata": {"name": "c"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def user_of(claim: str) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}], "volumes": [volume]}}


async def gone(http: Http, path: str, made: dict[str, Any]) -> None:
    """Wait until the object goes that was made so."""
    version, name = made["metadata"]["resourceVersion"], made["metadata"]["name"]
    async with asyncio.timeout(5):
        async for event in http.watch(f"{path}?watch=1&resourceVersion={version}&fieldSelector=metadata.name={name}"):
            if event["type"] == "DELETED":
                return


async def test_a_claim_nobody_uses_goes_when_it_is_deleted(http: Http) -> None:
    made = (await http.post(CLAIMS, CLAIM)).body
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    await http("DELETE", f"{CLAIMS}/c")
    await gone(http, CLAIMS, made)
    assert (await http.get(f"{CLAIMS}/c")).status == 404


async def test_a_claim_in_use_waits_for_its_pods(http: Http) -> None:
    made = (await http.post(CLAIMS, CLAIM)).body
    assert (await http.post(PODS, user_of("c"))).status == 201
    await http("DELETE", f"{CLAIMS}/c")
    held = (await http.get(f"{CLAIMS}/c")).body["metadata"]
    assert held["deletionTimestamp"]
    assert held["finalizers"] == ["kubernetes.io/pvc-protection"]
    await http.merge(f"{PODS}/p/status", {"status": {"phase": "Succeeded"}})
    await gone(http, CLAIMS, made)


async def test_a_bound_volume_waits_for_its_claim(http: Http) -> None:
    volumes = "/api/v1/persistentvolumes"
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    made = (await http.post(volumes, {"metadata": {"name": "v"}, "spec": spec})).body
    await http.merge(f"{volumes}/v/status", {"status": {"phase": "Bound"}})
    await http("DELETE", f"{volumes}/v")
    assert (await http.get(f"{volumes}/v")).status == 200
    await http.merge(f"{volumes}/v/status", {"status": {"phase": "Released"}})
    await gone(http, volumes, made)


async def test_a_node_takes_pods_only_while_it_is_ready(http: Http) -> None:
    nodes = "/api/v1/nodes"
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    made = (await http.post(nodes, {"metadata": {"name": "n"}})).body
    assert made["spec"]["taints"] == [taint]

    async def becomes(status: str, taints: list[Any]) -> None:
        await http.merge(f"{nodes}/n/status", {"status": {"conditions": [{"type": "Ready", "status": status}]}})
        async with asyncio.timeout(5):
            async for event in http.watch(f"{nodes}?watch=1"):
                if (event["object"]["spec"].get("taints") or []) == taints:
                    return

    await becomes("True", [])
    await becomes("False", [taint])
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    other = (await http.post(nodes, {"metadata": {"name": "m"}, "status": ready})).body
    assert "taints" not in other["spec"]


async def test_priorities_of_the_system_are_there_and_an_unknown_one_is_refused(http: Http) -> None:
    listed = (await http.get("/apis/scheduling.k8s.io/v1/priorityclasses")).body["items"]
    assert {one["metadata"]["name"]: one["value"] for one in listed} == {
        "system-cluster-critical": 2000000000,
        "system-node-critical": 2000001000,
    }
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    pod["spec"]["priorityClassName"] = "gone"
    refused = await http.post(PODS, pod)
    assert refused.status == 403
    assert refused.body["message"] == 'pods "p" is forbidden: no PriorityClass with name gone was found'
    body = {"metadata": {"name": "usual"}, "value": 7, "globalDefault": True}
    await http.post("/apis/scheduling.k8s.io/v1/priorityclasses", body)
    del pod["spec"]["priorityClassName"]
    spec = (await http.post(PODS, pod)).body["spec"]
    assert (spec["priority"], spec["priorityClassName"]) == (7, "usual")


async def test_a_job_selects_its_own_pods(http: Http) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    made = (await http.post(jobs, {"metadata": {"name": "j"}, "spec": {"template": template}})).body
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
    assert made["metadata"]["labels"]["controller-uid"] == uid


async def test_who_makes_what_is_not_enforced_is_told_so(http: Http) -> None:
    limits = {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
    made = await http.post("/api/v1/namespaces/default/limitranges", limits)
    assert made.headers["Warning"] == '299 - "limit ranges are kept by this cluster, but not enforced"'
