"""EndpointSlices and Endpoints follow pods and Services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaos_ext.cluster.controllers.endpoints import desired_endpoints, desired_slices, target_port
from kaos_ext.kube.objects import DEPLOYMENTS, ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES, Object

Make = Callable[..., Object]


def service(name: str = "web", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "uid": "s1", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], **spec},
    }


def pod(name: str, ip: str, *, ready: bool = True, port: int = 8000, terminating: bool = False) -> Object:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"u-{name}", "labels": {"app": "web"}}
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def test_a_slice_names_the_pod_and_its_own_port_number() -> None:
    (found,) = desired_slices(service(), [pod("a", "127.70.128.2")])
    assert found["ports"] == [{"name": "", "port": 8000, "protocol": "TCP"}]
    (entry,) = found["endpoints"]
    assert entry["addresses"] == ["127.70.128.2"]
    assert entry["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert entry["targetRef"] == {"kind": "Pod", "name": "a", "namespace": "default", "uid": "u-a"}
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert found["metadata"]["labels"]["team"] == "a"


def test_pods_with_other_numbers_for_a_named_port_get_a_slice_of_their_own() -> None:
    slices = desired_slices(service(), [pod("a", "127.70.128.2"), pod("b", "127.70.128.3", port=9000)])
    assert sorted(item["ports"][0]["port"] for item in slices) == [8000, 9000]


def test_a_pod_that_is_not_ready_or_ends_is_listed_but_gets_no_traffic() -> None:
    pods = [pod("a", "127.70.128.2", ready=False), pod("b", "127.70.128.3", terminating=True)]
    (found,) = desired_slices(service(), pods)
    assert [entry["conditions"] for entry in found["endpoints"]] == [
        {"ready": False, "serving": False, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]
    (subset,) = desired_endpoints(service(), pods)["subsets"]
    assert "addresses" not in subset
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["127.70.128.2"]


def test_not_ready_addresses_are_published_on_request() -> None:
    (found,) = desired_slices(service(publishNotReadyAddresses=True), [pod("a", "127.70.128.2", ready=False)])
    assert found["endpoints"][0]["conditions"]["ready"] is True


def test_pods_without_an_address_or_finished_are_no_endpoints() -> None:
    waiting, done = pod("a", ""), pod("b", "127.70.128.3")
    done["status"]["phase"] = "Succeeded"
    (found,) = desired_slices(service(), [waiting, done])
    assert found["endpoints"] == [] and desired_endpoints(service(), [waiting, done])["subsets"] == []


def test_a_target_port_is_a_number_a_name_or_the_port_itself() -> None:
    one = pod("a", "127.70.128.2")
    assert target_port({"port": 80}, one) == 80
    assert target_port({"port": 80, "targetPort": 8080}, one) == 8080
    assert target_port({"port": 80, "targetPort": "http"}, one) == 8000
    assert target_port({"port": 80, "targetPort": "grpc"}, one) is None


async def test_endpoints_come_and_go_with_the_pods_and_the_service(cluster: Any, make_deployment: Make) -> None:
    body = service()
    del body["metadata"]["uid"]
    await cluster.client.create(SERVICES, body, "default")
    await cluster.client.create(DEPLOYMENTS, make_deployment(2), "default")

    def addresses() -> set[str]:
        return {
            address
            for item in cluster.client.all(ENDPOINTSLICES)
            for entry in item["endpoints"]
            if entry["conditions"]["ready"]
            for address in entry["addresses"]
        }

    def pod_ips() -> set[str]:
        return {item["status"].get("podIP") for item in cluster.active()}

    await cluster.until(lambda: len(addresses()) == 2 and addresses() == pod_ips())
    await cluster.settle()
    (mirror,) = cluster.client.all(ENDPOINTS)
    assert {item["ip"] for item in mirror["subsets"][0]["addresses"]} == pod_ips()
    victim = cluster.client.all(PODS)[0]
    await cluster.make_ready(victim, ready=False)
    await cluster.until(lambda: len(addresses()) == 1)
    await cluster.client.delete(SERVICES, "web", "default")
    await cluster.until(lambda: not cluster.client.all(ENDPOINTSLICES) and not cluster.client.all(ENDPOINTS))


async def test_nothing_is_written_when_a_pod_changes_in_what_endpoints_do_not_show(
    cluster: Any, make_deployment: Make
) -> None:
    body = service()
    del body["metadata"]["uid"]
    await cluster.client.create(SERVICES, body, "default")
    await cluster.client.create(DEPLOYMENTS, make_deployment(1), "default")
    await cluster.until(lambda: cluster.client.all(ENDPOINTS) and cluster.client.all(ENDPOINTS)[0].get("subsets"))
    await cluster.settle()
    before = [cluster.client.count(verb, "endpointslices") for verb in ("create", "patch")]
    name = cluster.client.all(PODS)[0]["metadata"]["name"]
    await cluster.client.patch(PODS, name, {"metadata": {"annotations": {"a": "b"}}}, "default")
    await cluster.settle()
    assert [cluster.client.count(verb, "endpointslices") for verb in ("create", "patch")] == before
