"""Owners and dependents, in every way to delete; namespaces; claims; what every namespace has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster.controllers.contents import Item
from kaos_ext.cluster.controllers.garbage import Owner, Verdict, verdict
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    STORAGECLASSES,
    Object,
    Propagation,
    Resource,
)

GADGETS = Resource("example.org", "v1", "gadgets", "Gadget")


def item(*owners: str, finalizers: tuple[str, ...] = ()) -> Item:
    references = tuple({"uid": uid} for uid in owners)
    return Item(CONFIGMAPS, ("default", "x"), "x", "1", references, finalizers, deleting=False)


@pytest.mark.parametrize(
    ("owners", "dependents", "expected"),
    [
        ({"a": Owner.THERE}, False, Verdict()),
        ({"a": Owner.GONE}, False, Verdict(delete=Propagation.BACKGROUND)),
        ({"a": Owner.GONE, "b": Owner.THERE}, False, Verdict(drop=("a",))),
        ({"a": Owner.WAITING}, True, Verdict(delete=Propagation.FOREGROUND)),
        ({"a": Owner.WAITING}, False, Verdict(delete=Propagation.BACKGROUND)),
        ({"a": Owner.WAITING, "b": Owner.THERE}, True, Verdict(drop=("a",))),
    ],
)
def test_what_happens_to_a_dependent(owners: dict[str, Owner], dependents: bool, expected: Verdict) -> None:
    assert verdict(item(*owners), owners, has_dependents=dependents) == expected


def test_what_a_finalizer_asks_for_is_kept_when_the_collector_deletes() -> None:
    one = item("a", finalizers=("orphan",))
    assert verdict(one, {"a": Owner.GONE}, has_dependents=True) == Verdict(delete=Propagation.ORPHAN)


def config(name: str, *owners: Object, block: bool = True) -> Object:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": block,
        }
        for owner in owners
    ]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": references}}


def names(cluster: Any, resource: Resource) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.client.all(resource)} - {"kube-root-ca.crt"}


def child(cluster: Any) -> Object:
    """Metadata of the ConfigMap `child`; empty when it is gone."""
    found = [one["metadata"] for one in cluster.client.all(CONFIGMAPS) if one["metadata"]["name"] == "child"]
    return found[0] if found else {}


def mode(path: Path) -> int | None:
    """Permissions of a folder; None when there is none."""
    return path.stat().st_mode & 0o777 if path.is_dir() else None


async def widget(cluster: Any, widgets: Resource, name: str = "w", namespace: str = "default") -> Object:
    body = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {}}
    return await cluster.client.create(widgets, body, namespace)


async def test_background_takes_dependents_of_a_custom_resource_down_the_chain(cluster: Any, widgets: Resource) -> None:
    owner = await widget(cluster, widgets)
    middle = await cluster.client.create(CONFIGMAPS, config("child", owner), "default")
    await cluster.client.create(CONFIGMAPS, config("grandchild", middle), "default")
    await cluster.settle()
    await cluster.client.delete(widgets, "w", "default", propagation=Propagation.BACKGROUND)
    assert names(cluster, widgets) == set()
    await cluster.until(lambda: not names(cluster, CONFIGMAPS))


async def test_foreground_keeps_the_owner_until_what_blocks_it_is_gone(cluster: Any, widgets: Resource) -> None:
    owner = await widget(cluster, widgets)
    held = config("child", owner)
    held["metadata"]["finalizers"] = ["example.org/hold"]
    await cluster.client.create(CONFIGMAPS, held, "default")
    await cluster.client.delete(widgets, "w", "default", propagation=Propagation.FOREGROUND)
    await cluster.until(lambda: child(cluster).get("deletionTimestamp"))
    await cluster.settle()
    assert names(cluster, widgets) == {"w"}
    await cluster.client.patch(CONFIGMAPS, "child", {"metadata": {"finalizers": None}}, "default")
    await cluster.until(lambda: not names(cluster, widgets))


async def test_a_circle_of_owners_holds_nobody_in_the_foreground(cluster: Any) -> None:
    first = await cluster.client.create(CONFIGMAPS, config("first"), "default")
    second = await cluster.client.create(CONFIGMAPS, config("second", first), "default")
    third = await cluster.client.create(CONFIGMAPS, config("third", second), "default")
    closing = {"metadata": {"ownerReferences": config("first", third)["metadata"]["ownerReferences"]}}
    await cluster.client.patch(CONFIGMAPS, "first", closing, "default")
    await cluster.settle()
    await cluster.client.delete(CONFIGMAPS, "first", "default", propagation=Propagation.FOREGROUND)
    await cluster.until(lambda: not names(cluster, CONFIGMAPS))


async def test_orphan_leaves_dependents_without_an_owner(cluster: Any, widgets: Resource) -> None:
    owner = await widget(cluster, widgets)
    await cluster.client.create(CONFIGMAPS, config("child", owner), "default")
    await cluster.settle()
    await cluster.client.delete(widgets, "w", "default", propagation=Propagation.ORPHAN)
    await cluster.until(lambda: not names(cluster, widgets))
    await cluster.settle()
    left = await cluster.client.get(CONFIGMAPS, "child", "default")
    assert not left["metadata"].get("ownerReferences") and not left["metadata"].get("deletionTimestamp")


async def test_one_living_owner_is_enough(cluster: Any, widgets: Resource) -> None:
    first, second = await widget(cluster, widgets, "a"), await widget(cluster, widgets, "b")
    await cluster.client.create(CONFIGMAPS, config("child", first, second), "default")
    await cluster.settle()
    await cluster.client.delete(widgets, "a", "default")
    await cluster.until(lambda: len(child(cluster)["ownerReferences"]) == 1)
    await cluster.client.delete(widgets, "b", "default")
    await cluster.until(lambda: not names(cluster, CONFIGMAPS))


async def test_an_object_whose_owner_never_was_goes(cluster: Any, widgets: Resource) -> None:
    owner = await widget(cluster, widgets)
    owner["metadata"]["uid"] = "another"
    await cluster.client.create(CONFIGMAPS, config("child", owner), "default")
    await cluster.until(lambda: not names(cluster, CONFIGMAPS))
    assert names(cluster, widgets) == {"w"}


async def test_an_owner_of_a_kind_that_nobody_serves_costs_nobody_its_life(cluster: Any) -> None:
    ghost = {"apiVersion": "gone.example/v1", "kind": "Ghost", "metadata": {"name": "g", "uid": "g"}}
    await cluster.client.create(CONFIGMAPS, config("child", ghost), "default")
    await cluster.settle()
    assert names(cluster, CONFIGMAPS) == {"child"}


async def test_a_kind_defined_while_running_is_followed_too(cluster: Any) -> None:
    cluster.resources.append(GADGETS)
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "g"}}
    await cluster.client.create(CUSTOMRESOURCEDEFINITIONS, crd)
    await cluster.settle()
    body = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"}}
    owner = await cluster.client.create(GADGETS, body, "default")
    await cluster.client.create(SECRETS, config("child", owner), "default")
    await cluster.settle()
    await cluster.client.delete(GADGETS, "g", "default")
    await cluster.until(lambda: not names(cluster, SECRETS))


async def namespace(cluster: Any, name: str = "lab") -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": ["kubernetes"]},
    }
    await cluster.client.create(NAMESPACES, body)
    await cluster.until(lambda: cluster.client.all(SERVICEACCOUNTS, name))


async def test_every_namespace_gets_its_account_and_the_authority_and_keeps_them(cluster: Any) -> None:
    await namespace(cluster)
    ca = await cluster.until(lambda: cluster.client.all(CONFIGMAPS, "lab"))
    assert (ca[0]["metadata"]["name"], ca[0]["data"]) == ("kube-root-ca.crt", {"ca.crt": "the CA"})
    await cluster.client.delete(SERVICEACCOUNTS, "default", "lab")
    await cluster.client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, "lab")
    await cluster.until(lambda: cluster.client.all(SERVICEACCOUNTS, "lab"))
    await cluster.until(lambda: cluster.client.all(CONFIGMAPS, "lab")[0]["data"]["ca.crt"] == "the CA")


async def test_a_namespace_goes_when_all_it_holds_is_gone(cluster: Any, widgets: Resource) -> None:
    await namespace(cluster)
    await widget(cluster, widgets, namespace="lab")
    held = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "finalizers": ["example.org/hold"]}}
    await cluster.client.create(SECRETS, held, "lab")
    await cluster.client.delete(NAMESPACES, "lab")
    await cluster.until(lambda: "SomeFinalizersRemain" in str(cluster.client.all(NAMESPACES)))
    assert names(cluster, widgets) == set()
    lab = await cluster.client.get(NAMESPACES, "lab")
    messages = {item["type"]: item["message"] for item in lab["status"]["conditions"]}
    assert messages["NamespaceContentRemaining"] == "Some resources are remaining: secrets. has 1 resource instances"
    assert "example.org/hold in 1 resource instances" in messages["NamespaceFinalizersRemaining"]
    await cluster.client.patch(SECRETS, "s", {"metadata": {"finalizers": None}}, "lab")
    await cluster.until(lambda: names(cluster, NAMESPACES) == {"default"})


def claim(name: str = "data", **spec: Any) -> Object:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted}


def user_of(name: str) -> Object:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "user"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes},
    }


async def bound(cluster: Any) -> Object:
    await cluster.until(lambda: cluster.client.all(PERSISTENTVOLUMECLAIMS)[0].get("status", {}).get("phase") == "Bound")
    await cluster.settle()
    return cluster.client.all(PERSISTENTVOLUMECLAIMS)[0]


async def test_a_claim_is_bound_to_a_folder_that_goes_with_it(cluster: Any, tmp_path: Path) -> None:
    assert names(cluster, STORAGECLASSES) == {"kaos-local"}
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim(), "default")
    stored = await bound(cluster)
    (volume,) = cluster.client.all(PERSISTENTVOLUMES)
    path = Path(volume["spec"]["hostPath"]["path"])
    assert path == tmp_path / "volumes" / f"default-data-{stored['metadata']['uid']}"
    assert mode(path) == 0o700
    assert stored["spec"]["volumeName"] == volume["metadata"]["name"]
    assert stored["status"]["capacity"] == {"storage": "1Gi"} and volume["status"]["phase"] == "Bound"
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
    await cluster.until(lambda: not cluster.client.all(PERSISTENTVOLUMES))
    assert mode(path) is None


async def test_a_claim_in_use_waits_for_its_pod_and_the_pod_for_its_claim(cluster: Any) -> None:
    await cluster.client.create(PODS, user_of("data"), "default")
    await cluster.settle()
    assert not cluster.client.all(PODS)[0]["spec"].get("nodeName")
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim(), "default")
    await cluster.until(lambda: cluster.client.all(PODS)[0]["spec"].get("nodeName"))
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
    await cluster.settle()
    assert names(cluster, PERSISTENTVOLUMECLAIMS) == {"data"}
    await cluster.client.delete(PODS, "user", "default")
    await cluster.until(lambda: not cluster.client.all(PERSISTENTVOLUMES))


async def test_a_claim_that_wants_no_class_is_left_alone(cluster: Any) -> None:
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim(storageClassName=""), "default")
    await cluster.settle()
    assert not cluster.client.all(PERSISTENTVOLUMES)


async def test_a_folder_of_somebody_else_is_never_removed(cluster: Any, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "mine"},
        "spec": {"hostPath": {"path": str(precious)}, "persistentVolumeReclaimPolicy": "Delete"},
    }
    await cluster.client.create(PERSISTENTVOLUMES, volume)
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim(volumeName="mine", storageClassName=""), "default")
    await bound(cluster)
    await cluster.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
    await cluster.until(lambda: not cluster.client.all(PERSISTENTVOLUMES))
    assert mode(precious) is not None


async def test_a_namespace_that_ends_gets_no_new_pods_and_nobody_complains(
    cluster: Any, make_deployment: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await namespace(cluster)
    body = make_deployment(3)
    body["metadata"]["namespace"] = "lab"
    await cluster.client.create(DEPLOYMENTS, body, "lab")
    await cluster.until(lambda: len(cluster.active("lab")) == 3)
    await cluster.client.delete(NAMESPACES, "lab")
    await cluster.until(lambda: names(cluster, NAMESPACES) == {"default"})
    assert cluster.client.all(PODS) == []
    assert not [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
