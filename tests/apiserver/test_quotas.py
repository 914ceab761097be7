"""Resource quotas: nothing goes over them, not even two at once, and their status tells what is used."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kaos_ext.cluster.apiserver.quota.usage import counts, usage_of, written

from .conftest import CMS, Http, config_map, serve_widgets

QUOTAS = "/api/v1/namespaces/default/resourcequotas"
PODS = "/api/v1/namespaces/default/pods"
Object = dict[str, Any]


async def limit(http: Http, name: str = "q", **spec: Any) -> None:
    made = await http.post(QUOTAS, {"metadata": {"name": name}, "spec": spec})
    assert made.status == 201, made.body


async def status_of(http: Http, wanted: dict[str, str], name: str = "q") -> None:
    """Wait until the quota's status says this is used."""
    async with asyncio.timeout(5):
        async for event in http.watch(f"{QUOTAS}?watch=1&fieldSelector=metadata.name={name}"):
            if event["object"].get("status", {}).get("used") == wanted:
                return


def pod(name: str, requests: dict[str, str] | None = None, **spec: Any) -> Object:
    resources = {"requests": requests, "limits": requests} if requests else {}
    container = {"name": "c", "image": "x", "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def test_what_goes_over_a_quota_is_refused(http: Http) -> None:
    present = len((await http.get(CMS)).body["items"])
    await limit(http, hard={"configmaps": str(present + 1)})
    assert (await http.post(CMS, config_map("a"))).status == 201
    refused = await http.post(CMS, config_map("b"))
    assert refused.status == 403
    assert refused.body["message"] == (
        f'configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps={present + 1}, '
        f"limited: configmaps={present + 1}"
    )
    await http("DELETE", f"{CMS}/a")
    assert (await http.post(CMS, config_map("b"))).status == 201


async def test_the_last_place_is_taken_once(http: Http) -> None:
    await limit(http, hard={"count/secrets": "3"})
    secrets = [http.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": f"s{i}"}}) for i in range(12)]
    made = [one.status for one in await asyncio.gather(*secrets)]
    assert sorted(made) == [201] * 3 + [403] * 9


async def test_a_dry_run_is_judged_and_takes_nothing(http: Http) -> None:
    await limit(http, hard={"count/secrets": "1"})
    path = "/api/v1/namespaces/default/secrets"
    assert (await http.post(f"{path}?dryRun=All", {"metadata": {"name": "a"}})).status == 201
    assert (await http.post(path, {"metadata": {"name": "a"}})).status == 201
    assert (await http.post(f"{path}?dryRun=All", {"metadata": {"name": "b"}})).status == 403


async def test_other_namespaces_are_not_concerned(http: Http) -> None:
    await limit(http, hard={"count/secrets": "0"})
    assert (await http.post("/api/v1/namespaces/kube-system/secrets", {"metadata": {"name": "a"}})).status == 201


async def test_custom_resources_count(http: Http) -> None:
    await serve_widgets(http)
    await limit(http, hard={"count/widgets.example.dev": "1"})
    path = "/apis/example.dev/v1/namespaces/default/widgets"
    body = {"apiVersion": "example.dev/v1", "kind": "Widget", "spec": {"size": 1}}
    assert (await http.post(path, {**body, "metadata": {"name": "a"}})).status == 201
    await status_of(http, {"count/widgets.example.dev": "1"})
    assert (await http.post(path, {**body, "metadata": {"name": "b"}})).status == 403


async def test_pods_are_counted_by_what_they_ask_for(http: Http) -> None:
    await limit(http, hard={"requests.cpu": "1", "limits.memory": "1Gi"})
    silent = await http.post(PODS, pod("a"))
    assert silent.status == 403
    assert silent.body["message"] == (
        'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
    )
    assert (await http.post(PODS, pod("a", {"cpu": "600m", "memory": "512Mi"}))).status == 201
    refused = await http.post(PODS, pod("b", {"cpu": "500m", "memory": "1Mi"}))
    assert refused.body["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: '
        "requests.cpu=1"
    )
    await status_of(http, {"requests.cpu": "600m", "limits.memory": "512Mi"})


async def test_a_pod_that_has_ended_uses_nothing(http: Http) -> None:
    await limit(http, hard={"pods": "1"})
    assert (await http.post(PODS, pod("a"))).status == 201
    assert (await http.post(PODS, pod("b"))).status == 403
    await http.merge(f"{PODS}/a/status", {"status": {"phase": "Succeeded"}})
    assert (await http.post(PODS, pod("b"))).status == 201
    await status_of(http, {"pods": "1"})


async def test_the_status_follows_what_is_used(http: Http) -> None:
    await limit(http, hard={"services": "5", "services.nodeports": "5"})
    await status_of(http, {"services": "1", "services.nodeports": "0"})
    spec = {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "b"}]}
    spec["ports"][0]["name"] = "a"  # type: ignore[index]
    made = await http.post("/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": spec})
    assert made.status == 201, made.body
    await status_of(http, {"services": "2", "services.nodeports": "2"})
    await http("DELETE", "/api/v1/namespaces/default/services/s")
    await status_of(http, {"services": "1", "services.nodeports": "0"})


async def test_a_changed_limit_holds_at_once_and_shows_in_the_status(http: Http) -> None:
    await limit(http, hard={"count/secrets": "0"})
    await http.merge(f"{QUOTAS}/q", {"spec": {"hard": {"count/secrets": "1"}}})
    assert (await http.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "a"}})).status == 201
    await status_of(http, {"count/secrets": "1"})
    shown = (await http.get(f"{QUOTAS}/q")).body["status"]
    assert shown == {"hard": {"count/secrets": "1"}, "used": {"count/secrets": "1"}}


@pytest.mark.parametrize(
    ("scopes", "spec", "counted"),
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, True),
        ({"scopes": ["Terminating"]}, {}, False),
        ({"scopes": ["NotTerminating"]}, {}, True),
        ({"scopes": ["BestEffort"]}, {}, True),
        ({"scopes": ["NotBestEffort"]}, {}, False),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}},
         {"priorityClassName": "high"}, True),
        ({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, {}, False),
    ],
)  # fmt: skip
def test_a_scope_says_which_pods_count(scopes: Object, spec: Object, counted: bool) -> None:
    assert counts({"spec": scopes}, "/pods", pod("p", **spec)) is counted


def test_init_containers_count_where_they_ask_for_more() -> None:
    object = pod("p", {"cpu": "100m"})
    object["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "300m"}}}]
    used = usage_of("/pods", object)
    assert {key: written(used[key], key) for key in ("pods", "cpu", "requests.cpu", "limits.cpu")} == {
        "pods": "1",
        "cpu": "300m",
        "requests.cpu": "300m",
        "limits.cpu": "100m",
    }


def test_claims_count_by_size_and_class() -> None:
    claim = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}}}
    used = usage_of("/persistentvolumeclaims", claim)
    assert {key: written(size, key) for key, size in used.items()} == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "2Gi",
        "fast.storageclass.storage.k8s.io/requests.storage": "2Gi",
        "fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
    }
