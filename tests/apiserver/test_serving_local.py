"""The in-process client: the rules of the wire, without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaos_ext.kube.objects import CONFIGMAPS, NAMESPACES, PODS, SERVICEACCOUNTS, ApiError, PatchType, Propagation
from tests.apiserver.conftest import CMS, Running, config_map

if TYPE_CHECKING:
    from kaos_ext.cluster.client import Client


async def test_it_writes_what_http_reads(running: Running) -> None:
    client: Client = running.server.client("system:tester")
    made = await client.create(CONFIGMAPS, config_map("a", data={"x": "1"}), "default")
    assert (await running.http.get(f"{CMS}/a")).body == made
    assert made["metadata"]["managedFields"][0]["manager"] == "tester"
    await client.patch(CONFIGMAPS, "a", {"data": {"x": "2"}}, "default")
    assert (await client.get(CONFIGMAPS, "a", "default"))["data"] == {"x": "2"}
    await client.delete(CONFIGMAPS, "a", "default")
    assert (await running.http.get(f"{CMS}/a")).status == 404


async def test_it_is_refused_what_everyone_is_refused(running: Running) -> None:
    client = running.server.client()
    with pytest.raises(ApiError, match='namespaces "nope" not found'):
        await client.create(CONFIGMAPS, config_map("a"), "nope")
    with pytest.raises(ApiError) as invalid:
        await client.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": []}}, "default")
    assert invalid.value.code == 422
    with pytest.raises(ApiError) as forbidden:
        await client.delete(NAMESPACES, "kube-system")
    assert forbidden.value.code == 403


async def test_what_it_gives_can_be_changed_without_harm(running: Running) -> None:
    client = running.server.client()
    await client.create(CONFIGMAPS, config_map("a", data={"x": "1"}), "default")
    for taken in (
        await client.get(CONFIGMAPS, "a", "default"),
        (await client.list(CONFIGMAPS, "default", fields="metadata.name=a")).items[0],
        (await anext(client.watch(CONFIGMAPS, "default", fields="metadata.name=a"))).object,
    ):
        taken["data"]["x"] = "spoiled"
        taken["metadata"].clear()
    assert (await client.get(CONFIGMAPS, "a", "default"))["data"] == {"x": "1"}


async def test_what_it_is_given_stays_the_callers(running: Running) -> None:
    client = running.server.client()
    mine = config_map("a", data={"x": "1"})
    await client.create(CONFIGMAPS, mine, "default")
    assert mine == {"metadata": {"name": "a"}, "data": {"x": "1"}}


async def test_a_patch_against_an_old_version_is_a_conflict(running: Running) -> None:
    client = running.server.client()
    made = await client.create(CONFIGMAPS, config_map("a"), "default")
    await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, "default")
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    with pytest.raises(ApiError) as conflict:
        await client.patch(CONFIGMAPS, "a", stale, "default")
    assert (conflict.value.code, conflict.value.reason) == (409, "Conflict")


async def test_it_applies_by_its_own_name_and_forces_when_told(running: Running) -> None:
    client = running.server.client()
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    await client.patch(CONFIGMAPS, "a", applied, "default", type=PatchType.APPLY, field_manager="one")
    other = {**applied, "data": {"x": "2"}}
    with pytest.raises(ApiError, match='conflict with "one"'):
        await client.patch(CONFIGMAPS, "a", other, "default", type=PatchType.APPLY, field_manager="two")
    forced = await client.patch(
        CONFIGMAPS, "a", other, "default", type=PatchType.APPLY, field_manager="two", force=True
    )
    assert forced["data"] == {"x": "2"}


async def test_subresources_are_reached(running: Running) -> None:
    client = running.server.client()
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "u"}}, "default")
    issued = await client.create(SERVICEACCOUNTS, {"spec": {}}, "default", name="u", subresource="token")
    assert issued["status"]["token"]
    await client.create(NAMESPACES, {"metadata": {"name": "n"}})
    marked = await client.delete(NAMESPACES, "n", propagation=Propagation.BACKGROUND)
    marked["spec"]["finalizers"] = []
    await client.create(NAMESPACES, marked, name="n", subresource="finalize")
    with pytest.raises(ApiError) as gone:
        await client.get(NAMESPACES, "n")
    assert gone.value.code == 404
