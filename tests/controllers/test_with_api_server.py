"""The controllers on the real API server, in one process: what the fake may not tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster import compose
from kaos_ext.cluster.client import Client
from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.pki import ensure_pki
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
    SERVICES,
    ApiError,
    Object,
    Propagation,
    Resource,
)

WIDGETS = Resource("example.org", "v1", "widgets", "Widget")
CRD: Object = {
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    config = ClusterConfig(root=tmp_path, name="test", port=0, octet=190)
    pki = ensure_pki(config)
    server = compose.api_server(config, pki)
    await server.start()
    controllers = await compose.controllers(server, config, pki)
    client = server.client()
    await client.create(NODES, {"metadata": {"name": "n1"}})
    ready = {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}]}
    await client.patch(NODES, "n1", {"status": ready}, subresource="status")
    await until(client, SERVICEACCOUNTS, lambda found: "default" in found)
    yield client
    await controllers.stop()
    await server.stop()


async def until(
    client: Client, resource: Resource, condition: Callable[[dict[str, Object]], Any], namespace: str | None = "default"
) -> Any:
    """Wait until the objects (by name) are as wanted."""
    deadline = time.monotonic() + 10
    while True:
        try:
            listed = await client.list(resource, namespace if resource.namespaced else None)
            found = {item["metadata"]["name"]: item for item in listed.items}
        except ApiError as error:
            if error.code != 404:
                raise
            found = {}
        if answer := condition(found):
            return answer
        assert time.monotonic() < deadline, f"{resource.plural} are {sorted(found)}"
        await asyncio.sleep(0.001)


def create(client: Client, resource: Resource, body: Object, namespace: str = "default") -> Any:
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    return client.create(resource, whole, namespace if resource.namespaced else None)


def deployment(replicas: int = 1, **spec: Any) -> Object:
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": "test/web", "ports": [{"name": "http", "containerPort": 8000}]}]
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"metadata": {"name": "web"}, "spec": spec}


async def make_ready(client: Client, pod: Object, address: str) -> None:
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
    metadata = pod["metadata"]
    await client.patch(PODS, metadata["name"], {"status": status}, metadata["namespace"], subresource="status")


async def test_a_deployment_becomes_bound_pods_within_moments(client: Client) -> None:
    began = time.monotonic()
    await create(client, DEPLOYMENTS, deployment(3))
    pods = await until(
        client,
        PODS,
        lambda found: len(found) == 3 and all(pod["spec"].get("nodeName") for pod in found.values()) and found,
    )
    assert time.monotonic() - began < 2
    for number, pod in enumerate(pods.values()):
        await make_ready(client, pod, f"127.190.128.{number + 1}")
    stored = await until(
        client,
        DEPLOYMENTS,
        lambda found: (found["web"].get("status") or {}).get("availableReplicas") == 3 and found["web"],
    )
    reasons = {item["type"]: item["reason"] for item in stored["status"]["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    (replicaset,) = (await until(client, REPLICASETS, lambda found: found)).values()
    assert replicaset["status"]["readyReplicas"] == 3


async def test_a_stored_template_is_recognised_whatever_defaults_the_server_adds(client: Client) -> None:
    await create(client, DEPLOYMENTS, deployment(1, strategy={"type": "Recreate"}))
    await until(client, REPLICASETS, lambda found: len(found) == 1)
    for number in range(3):
        await client.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"n": str(number)}}}, "default")
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}}, "default")
    await until(client, PODS, lambda found: len(found) == 2)
    assert len((await client.list(REPLICASETS, "default")).items) == 1


async def test_endpoints_reach_the_pods_of_a_service(client: Client) -> None:
    await create(
        client,
        SERVICES,
        {
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    )
    await create(client, DEPLOYMENTS, deployment(1))
    pods = await until(client, PODS, lambda found: found)
    await make_ready(client, next(iter(pods.values())), "127.190.128.7")

    def ready(found: dict[str, Object]) -> Any:
        ours = [item for name, item in found.items() if name.startswith("web-")]
        return ours and ours[0].get("endpoints") and ours[0]

    found = await until(client, ENDPOINTSLICES, ready)
    assert found["endpoints"][0]["addresses"] == ["127.190.128.7"] and found["ports"][0]["port"] == 8000
    mirror = await until(client, ENDPOINTS, lambda all: all["web"].get("subsets") and all["web"])
    assert mirror["subsets"][0]["addresses"][0]["targetRef"]["name"] == next(iter(pods))


@pytest.mark.parametrize("propagation", [Propagation.BACKGROUND, Propagation.FOREGROUND])
async def test_what_a_custom_resource_owns_goes_with_it(client: Client, propagation: Propagation) -> None:
    await create(client, CUSTOMRESOURCEDEFINITIONS, CRD)

    async def widget() -> Object:
        deadline = time.monotonic() + 10
        while True:
            try:
                found: Object = await create(client, WIDGETS, {"metadata": {"name": "w"}})
                return found
            except ApiError as error:
                if error.code != 404 or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.001)

    owner = await widget()
    reference = {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "name": "w",
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    owned = deployment(1)
    owned["metadata"]["ownerReferences"] = [reference]
    await create(client, DEPLOYMENTS, owned)
    await until(client, PODS, lambda found: len(found) == 1)
    await client.delete(WIDGETS, "w", "default", propagation=propagation)

    async def end_pods() -> None:
        """The node's part: a pod that is told to end, ends."""
        while True:
            for pod in (await client.list(PODS, "default")).items:
                if pod["metadata"].get("deletionTimestamp"):
                    await client.delete(PODS, pod["metadata"]["name"], "default", grace_seconds=0)
            await asyncio.sleep(0.001)

    node = asyncio.create_task(end_pods())
    for resource in (PODS, REPLICASETS, DEPLOYMENTS, WIDGETS):
        await until(client, resource, lambda found: not found)
    node.cancel()


async def test_an_orphaned_dependent_stays(client: Client) -> None:
    await create(client, DEPLOYMENTS, deployment(1))
    await until(client, PODS, lambda found: len(found) == 1)
    await client.delete(DEPLOYMENTS, "web", "default", propagation=Propagation.ORPHAN)
    await until(client, DEPLOYMENTS, lambda found: not found)
    (replicaset,) = (await client.list(REPLICASETS, "default")).items
    assert not replicaset["metadata"].get("ownerReferences")
    assert len((await client.list(PODS, "default")).items) == 1


async def test_a_namespace_goes_with_all_it_holds_and_frees_the_volume(client: Client, tmp_path: Path) -> None:
    await create(client, CUSTOMRESOURCEDEFINITIONS, CRD)
    await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}})
    await until(client, CONFIGMAPS, lambda found: "kube-root-ca.crt" in found, "lab")
    await until(client, CUSTOMRESOURCEDEFINITIONS, lambda found: "Established" in str(found))
    await create(client, WIDGETS, {"metadata": {"name": "w"}}, "lab")
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await create(client, PERSISTENTVOLUMECLAIMS, claim, "lab")
    await until(
        client,
        PERSISTENTVOLUMECLAIMS,
        lambda found: found["data"]["status"].get("phase") == "Bound",
        "lab",
    )
    assert len(folders(tmp_path)) == 1
    await client.delete(NAMESPACES, "lab")
    await until(client, NAMESPACES, lambda found: "lab" not in found)
    await until(client, PERSISTENTVOLUMES, lambda found: not found)
    assert folders(tmp_path) == []
    assert (await client.list(WIDGETS)).items == []


def folders(root: Path) -> list[Path]:
    return list((root / "volumes").iterdir())


async def test_what_is_done_to_a_deployment_is_told_in_events(client: Client) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "told"}, "spec": spec}, "default")
    async with asyncio.timeout(10):
        while True:
            events = (await client.list(EVENTS, "default", fields="involvedObject.kind=Deployment")).items
            if any(event["reason"] == "ScalingReplicaSet" for event in events):
                return
            await asyncio.sleep(0.01)
