"""kr8s, as its users call it: create, watch, change, apply and delete."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap

from tests.apiserver.conftest import Running, until


async def test_kr8s_creates_applies_watches_patches_and_deletes(running: Running, tmp_path: Path) -> None:
    api = await kr8s.asyncio.api(kubeconfig=str(running.write_kubeconfig(tmp_path / "kubeconfig")))
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "1"}}
    place = {"version": "v1", "base": "/api", "namespace": "default", "url": "configmaps/b"}
    headers, asked = {"Content-Type": "application/apply-patch+yaml"}, {"fieldManager": "kr8s"}
    async with api.call_api("PATCH", **place, headers=headers, params=asked, content=json.dumps(applied)) as answer:
        assert answer.json()["metadata"]["managedFields"][0]["operation"] == "Apply"
    made = await ConfigMap({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "1"}}, api=api)
    await made.create()
    assert await made.exists()
    seen: list[tuple[str, str]] = []

    async def watch() -> None:
        async for kind, shown in api.watch("configmaps", namespace="default", label_selector="x=y"):
            seen.append((kind, shown.raw["data"]["k"]))
            if kind == "DELETED":
                return

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(20):
        await until(lambda: seen)
        await made.patch({"data": {"k": "2"}})
        await made.refresh()
        assert made.raw["data"] == {"k": "2"}
        await made.delete()
        await watching
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
