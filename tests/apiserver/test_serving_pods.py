"""What can be done to Pods and Services beyond reading and writing them."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiohttp import web

from tests.apiserver.conftest import NETWORK, Http, Running

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


def binding(node: str) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}


async def test_a_pod_is_bound_to_one_node_once(http: Http) -> None:
    await http.post(PODS, pod())
    assert (await http.post(f"{PODS}/p/binding", binding("n1"))).status == 201
    bound = (await http.get(f"{PODS}/p")).body
    assert bound["spec"]["nodeName"] == "n1"
    assert [one["type"] for one in bound["status"]["conditions"]] == ["PodScheduled"]
    again = await http.post(f"{PODS}/p/binding", binding("n2"))
    assert again.status == 409
    assert (await http.get(f"{PODS}?fieldSelector=spec.nodeName%3Dn1")).body["items"]


async def test_a_bound_pod_has_its_grace_and_goes_when_the_node_says_so(http: Http) -> None:
    await http.post(PODS, pod(terminationGracePeriodSeconds=7))
    await http.post(f"{PODS}/p/binding", binding("n1"))
    marked = (await http("DELETE", f"{PODS}/p")).body
    assert marked["kind"] == "Pod"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    assert (await http.get(f"{PODS}/p")).status == 200
    await http("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
    assert (await http.get(f"{PODS}/p")).status == 404


async def test_a_pod_that_never_ran_goes_at_once(http: Http) -> None:
    await http.post(PODS, pod())
    await http("DELETE", f"{PODS}/p")
    assert (await http.get(f"{PODS}/p")).status == 404


async def test_an_evicted_pod_is_deleted(http: Http) -> None:
    await http.post(PODS, pod())
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await http.post(f"{PODS}/p/eviction", eviction)).status == 201
    assert (await http.get(f"{PODS}/p")).status == 404


async def test_logs_of_a_pod_that_does_not_exist(http: Http) -> None:
    assert (await http.get(f"{PODS}/nope/log")).body["reason"] == "NotFound"


async def test_services_get_addresses_of_the_clusters_range_and_give_them_back(http: Http, running: Running) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    made = (await http.post(SERVICES, service)).body
    address = made["spec"]["clusterIP"]
    assert address in {str(one) for one in NETWORK}
    taken = {"metadata": {"name": "t"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}}
    refused = await http.post(SERVICES, taken)
    assert (refused.status, "already allocated" in refused.body["message"]) == (422, True)
    await http("DELETE", f"{SERVICES}/s")
    assert (await http.post(SERVICES, taken)).body["spec"]["clusterIP"] == address


async def test_the_servers_own_service_leads_to_it(http: Http, running: Running) -> None:
    service = (await http.get(f"{SERVICES}/kubernetes")).body
    assert service["spec"]["clusterIP"] == "127.64.0.1"
    endpoints = (await http.get("/api/v1/namespaces/default/endpoints/kubernetes")).body
    assert endpoints["subsets"][0]["ports"][0]["port"] == running.server.port


async def test_logs_stream_from_the_node_that_runs_the_pod(http: Http, running: Running) -> None:
    asked: list[web.Request] = []
    more = asyncio.Event()

    async def kubelet(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await more.wait()
        await response.write(b"two\n")
        return response

    app = web.Application()
    app.router.add_get("/containerLogs/default/p/c", kubelet)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(running.pki.kubelet_certificate, running.pki.kubelet_key)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        node = {
            "metadata": {"name": "n1"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": runner.addresses[0][1]}},
            },
        }
        assert (await http.post("/api/v1/nodes", node)).status == 201
        await http.post(PODS, pod())
        assert (await http.get(f"{PODS}/p/log")).body == ""
        await http.post(f"{PODS}/p/binding", binding("n1"))
        url = f"{http.url}{PODS}/p/log?follow=true&tailLines=5"
        headers = {"Authorization": f"Bearer {http.token}"}
        async with http.session.get(url, headers=headers, ssl=http.context) as answer:
            assert answer.headers["Content-Type"] == "text/plain"
            assert await asyncio.wait_for(answer.content.readline(), 5) == b"one\n"
            more.set()
            assert await asyncio.wait_for(answer.content.readline(), 5) == b"two\n"
        assert dict(asked[0].query) == {"follow": "true", "tailLines": "5"}
        assert asked[0].headers["Authorization"] == f"Bearer {running.pki.kubelet_token}"
        wrong = await http.get(f"{PODS}/p/log?container=other")
        assert (wrong.status, wrong.body["message"]) == (400, "container other is not valid for pod p")
    finally:
        more.set()
        await runner.cleanup()
