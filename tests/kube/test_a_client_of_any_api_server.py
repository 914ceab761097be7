"""What the client sends and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest

from kaos_ext.cluster.client import Client
from kaos_ext.kube.discovery import KindUnknown
from kaos_ext.kube.objects import CONFIGMAPS, NAMESPACES, PODS, ApiError, Object, Propagation
from kaos_ext.kube.transport import Request, Unanswered
from kaos_ext.model.errors import NotReadyError, UnreachableError
from tests.kube.fake import FakeCluster, FakeResponse, status

HERE = "/api/v1/namespaces/here"


def pod(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}


def test_it_is_what_controllers_and_node_agents_ask_for() -> None:
    client: Client = FakeCluster().client()
    assert client is not None


async def test_a_namespace_left_out_is_the_contexts_for_one_object_and_all_for_a_list() -> None:
    cluster = FakeCluster()
    cluster.put(f"{HERE}/pods/a", pod("a"))
    cluster.put("/api/v1/namespaces/there/pods/b", pod("b"))
    kube = cluster.client()
    assert (await kube.get(PODS, "a"))["metadata"]["name"] == "a"
    assert [p["metadata"]["name"] for p in (await kube.list(PODS)).items] == ["a", "b"]
    assert [p["metadata"]["name"] for p in (await kube.list(PODS, "there")).items] == ["b"]
    assert (await kube.list(NAMESPACES)).items == []


async def test_apply_is_server_side_forced_strict_and_ours() -> None:
    cluster = FakeCluster()
    await cluster.client().apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    sent = cluster.writes[0]
    assert sent.path == f"{HERE}/configmaps/c"
    assert sent.headers["Content-Type"] == "application/apply-patch+yaml"
    assert sent.params == {"fieldManager": "kaos", "force": "true", "fieldValidation": "Strict"}


async def test_a_kind_the_server_does_not_have_says_which_was_meant() -> None:
    with pytest.raises(KindUnknown, match="no kind ConfigMop in v1") as caught:
        await FakeCluster().client().resource_of("v1", "ConfigMop")
    assert "ConfigMap" in caught.value.hint
    with pytest.raises(KindUnknown):
        await FakeCluster(installed=False).client().resource_of("kaos.tools/v1alpha1", "Agent")


async def test_discovery_is_asked_once() -> None:
    cluster = FakeCluster()
    kube = cluster.client()
    await kube.resource_of("v1", "Pod")
    await kube.resource_of("v1", "ConfigMap")
    assert len(cluster.requests) == 1


async def test_a_refusal_carries_the_servers_status_and_causes() -> None:
    causes = [{"field": "spec.model", "reason": "FieldValueRequired", "message": "Required value"}]
    cluster = FakeCluster(refuse=lambda request: status(422, "Invalid", "Agent is invalid", causes=causes))
    with pytest.raises(ApiError) as caught:
        await cluster.client().get(PODS, "a")
    assert (caught.value.code, caught.value.reason, caught.value.causes) == (422, "Invalid", causes)


async def test_a_refusal_without_a_status_still_says_what_came() -> None:
    cluster = FakeCluster(refuse=lambda request: FakeResponse(403, b"not you", "text/plain"))
    with pytest.raises(ApiError, match="not you") as caught:
        await cluster.client().get(PODS, "a")
    assert caught.value.code == 403


async def test_silence_names_the_server_the_context_and_the_next_step() -> None:
    def silent(request: Request) -> FakeResponse:
        raise Unanswered("Connection refused")

    with pytest.raises(UnreachableError, match="Connection refused") as caught:
        await FakeCluster(refuse=silent).client().get(PODS, "a")
    assert "kaos-default" in str(caught.value) and caught.value.hint == "kaos up"
    with pytest.raises(UnreachableError) as caught:
        await FakeCluster(refuse=silent).client(context="kaos-second").get(PODS, "a")
    assert caught.value.hint == "kaos up second"


async def test_pages_of_a_list_are_put_together() -> None:
    pages = {
        "": {"metadata": {"resourceVersion": "5", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]},
        "next": {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]},
    }

    def answer(request: Request) -> FakeResponse:
        page = {"kind": "PodList", "apiVersion": "v1", **pages[request.params.get("continue", "")]}
        return FakeResponse(200, json.dumps(page).encode())

    found = await FakeCluster(refuse=answer).client().list(PODS, "here")
    assert [item["metadata"]["name"] for item in found.items] == ["a", "b"]
    assert found.resource_version == "5" and found.items[0]["kind"] == "Pod"


async def test_following_goes_on_after_the_server_ends_the_watch_and_after_expiry() -> None:
    cluster = FakeCluster()
    cluster.put(f"{HERE}/pods/a", pod("a"))
    watches = 0

    def refuse(request: Request) -> FakeResponse | None:
        nonlocal watches
        if request.params.get("watch"):
            watches += 1
            if watches == 1:
                return FakeResponse(200, b"")
            if watches == 2:
                cluster.put(f"{HERE}/pods/b", pod("b"))
                cluster.remove(f"{HERE}/pods/a")
                return status(410, "Expired", "too old resource version")
        return None

    cluster.refuse = refuse
    seen = []
    async with asyncio.timeout(5), aclosing(cluster.client().follow(PODS, "here")) as changes:
        async for change in changes:
            seen.append((change.type.value, change.object["metadata"]["name"]))
            if len(seen) == 3:
                break
    assert seen == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


async def test_waiting_sees_a_change_that_comes_later_and_the_absence_of_an_object() -> None:
    cluster = FakeCluster()
    kube = cluster.client()
    waiting = asyncio.create_task(
        kube.wait(CONFIGMAPS, "c", "here", lambda item: bool(item and item.get("data")), timeout=5)
    )
    await asyncio.sleep(0)
    cluster.put(f"{HERE}/configmaps/c", {"metadata": {"name": "c"}})
    await asyncio.sleep(0)
    cluster.put(f"{HERE}/configmaps/c", {"metadata": {"name": "c"}, "data": {"a": "1"}})
    assert (await waiting or {})["data"] == {"a": "1"}
    gone = asyncio.create_task(kube.wait(CONFIGMAPS, "c", "here", lambda item: item is None, timeout=5))
    await asyncio.sleep(0)
    cluster.remove(f"{HERE}/configmaps/c")
    assert await gone is None


async def test_waiting_for_the_end_of_an_object_does_not_miss_one_that_ends_between_two_requests() -> None:
    cluster = FakeCluster()
    cluster.put(f"{HERE}/configmaps/c", {"metadata": {"name": "c"}})

    def refuse(request: Request) -> FakeResponse | None:
        if request.params.get("watch"):
            cluster.remove(f"{HERE}/configmaps/c")
            cluster.refuse = lambda request: None
        return None

    cluster.refuse = refuse
    assert await cluster.client().wait(CONFIGMAPS, "c", "here", lambda item: item is None, timeout=5) is None


async def test_waiting_too_long_is_an_error_that_says_how_long() -> None:
    with pytest.raises(NotReadyError, match=r"within 0\.05 s"):
        await FakeCluster().client().wait(CONFIGMAPS, "c", "here", lambda item: item is not None, timeout=0.05)


async def test_a_service_is_asked_through_the_api_server_from_outside_and_by_name_from_inside() -> None:
    cluster = FakeCluster()
    outside, inside = cluster.client(), cluster.client(inside=True)
    proxy = "/api/v1/namespaces/here/services/agent-a:8000/proxy"
    assert outside.service_url("agent-a", 8000) == f"https://127.0.0.1:6443{proxy}"
    assert inside.service_url("agent-a", 8000) == "http://agent-a.here.svc.cluster.local:8000"
    cluster.refuse = lambda request: FakeResponse(200, b"{}")
    await outside.service_request("GET", "agent-a", 8000, "/health")
    await inside.service_request("GET", "agent-a", 8000, "/health")
    assert [(r.path, r.url) for r in cluster.requests] == [
        (f"{proxy}/health", ""),
        ("", "http://agent-a.here.svc.cluster.local:8000/health"),
    ]


async def test_what_a_service_answers_is_the_callers_and_what_the_server_refuses_is_an_error() -> None:
    async def broken(request: Request, path: str) -> FakeResponse:
        return FakeResponse(500, b'{"error": "mine"}')

    cluster = FakeCluster(services={"agent-a": broken})
    answer = await cluster.client().service_request("GET", "agent-a", 8000, "/")
    assert (answer.status, await answer.read()) == (500, b'{"error": "mine"}')
    with pytest.raises(ApiError, match="no endpoints"):
        await cluster.client().service_request("GET", "agent-b", 8000, "/")


async def test_deleting_says_how_and_what_exactly() -> None:
    cluster = FakeCluster()
    cluster.put(f"{HERE}/pods/a", pod("a"))
    await cluster.client().delete(PODS, "a", propagation=Propagation.FOREGROUND, grace_seconds=0, uid="u")
    assert json.loads(cluster.writes[0].body or b"") == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
    }
