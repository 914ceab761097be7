"""A whole cluster on a disk that gets full: it waits, goes on by itself when there is space, and loses nothing."""

from __future__ import annotations

import asyncio
import subprocess
import urllib.error
from pathlib import Path

import pytest

from kaos_ext.cluster import spawn
from kaos_ext.cluster.lifecycle import ClusterState, cluster_status, start_cluster, stop_cluster
from kaos_ext.kube.objects import CONFIGMAPS, PODS
from tests.lifecycle.conftest import IMAGES, until
from tests.lifecycle.test_clusters import Api, daemon, serving
from tests.lifecycle.test_places import FULL

pytestmark = pytest.mark.process


async def test_a_cluster_on_a_full_disk_waits_for_space_and_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, flag = tmp_path / "full.so", tmp_path / "full"
    await asyncio.to_thread(
        subprocess.run, ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(FULL), "-ldl"], check=True
    )
    preload = {"LD_PRELOAD": str(library), "FULL_ROOT": str(home), "FULL_WHILE": str(flag)}
    inherited = spawn._environment
    monkeypatch.setattr(spawn, "_environment", lambda: inherited() | preload)
    config = (await start_cluster(images=IMAGES)).config
    pid = daemon(config).pid
    api = Api(config)
    api.deploy()
    server = await serving(api)

    flag.touch()
    acknowledged = []
    with pytest.raises(urllib.error.HTTPError) as refused:
        for number in range(3000):
            api.create(CONFIGMAPS, {"metadata": {"name": f"c{number}"}, "data": {"x": "y" * 5000}})
            acknowledged.append(f"c{number}")
    assert refused.value.code == 500 and b"database space exceeded" in refused.value.read()
    assert (await cluster_status()).state is ClusterState.RUNNING
    assert {item["metadata"]["name"] for item in api.items(CONFIGMAPS)} >= set(acknowledged)
    assert (await serving(api)).pid == server.pid, "what runs goes on"
    server.kill()  # its restart cannot be written down now

    flag.unlink()
    api.call("PATCH", "/apis/apps/v1/namespaces/default/deployments/server", {"spec": {"replicas": 2}})

    def both_run() -> bool:
        pods = api.items(PODS)
        return len(pods) == 2 and all(pod["status"].get("phase") == "Running" for pod in pods)

    await until(both_run, "both pods run", 30)
    await serving(api)
    assert daemon(config).pid == pid, "and nothing was restarted"
    assert {item["metadata"]["name"] for item in api.items(CONFIGMAPS)} >= set(acknowledged)
    await stop_cluster()
