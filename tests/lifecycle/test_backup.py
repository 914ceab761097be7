"""A running cluster is saved at one moment and comes back with everything: objects, identities, volumes, workloads."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster.backup import restore, save
from kaos_ext.cluster.backup.relocate import GAP
from kaos_ext.cluster.config import ClusterConfig, load_config
from kaos_ext.cluster.lifecycle import start_cluster, stop_cluster
from kaos_ext.kube.objects import CONFIGMAPS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, SERVICES
from kaos_ext.model.errors import KaosError
from tests.lifecycle.conftest import IMAGES, until
from tests.lifecycle.test_clusters import Api, serving

pytestmark = pytest.mark.process


class Writers:
    """Threads that create config maps one after the other; what was acknowledged at which version."""

    def __init__(self, api: Api, threads: int = 3) -> None:
        self.acknowledged: dict[str, int] = {}
        self._api = api
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _write(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            name = f"w{thread}-{number}"
            made = self._api.create(CONFIGMAPS, {"metadata": {"name": name}})
            self.acknowledged[name] = int(made["metadata"]["resourceVersion"])
            number += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def names(api: Api) -> set[str]:
    return {item["metadata"]["name"] for item in api.items(CONFIGMAPS)}


def token_of(api: Api) -> str:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    return str(api.call("POST", path, {"spec": {}})["status"]["token"])


def who(config: ClusterConfig, token: str) -> str:
    """Whom the server takes the bearer of a token for."""
    api = Api(config)
    api._token = token
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    review = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    return str(review["status"]["userInfo"]["username"])


async def test_a_backup_under_load_is_the_cluster_at_one_version(home: Path, tmp_path: Path) -> None:
    config = (await start_cluster(images=IMAGES)).config
    api = Api(config)
    writers = Writers(api)
    try:
        await until(lambda: len(writers.acknowledged) >= 50, "there is load")
        saved = await asyncio.to_thread(save, config, tmp_path / "a")
        enough = len(writers.acknowledged) + 30
        await until(lambda: len(writers.acknowledged) >= enough, "writes go on after it")
    finally:
        await asyncio.to_thread(writers.stop)
    revision = saved.manifest.revision
    wanted = {name for name, version in writers.acknowledged.items() if version <= revision}
    assert 50 <= len(wanted) < len(writers.acknowledged)
    assert int(api.call("GET", "/api/v1/configmaps")["metadata"]["resourceVersion"]) > revision
    token = token_of(api)
    await stop_cluster(delete_state=True)

    await asyncio.to_thread(restore, tmp_path / "a")
    again = (await start_cluster(images=IMAGES)).config
    assert (again.port, again.octet) == (config.port, config.octet)
    api = Api(again)
    found = {name for name in names(api) if name.startswith("w")}
    assert found == wanted, "all that was acknowledged up to that version, and nothing after it"
    assert who(again, token) == "system:serviceaccount:default:default", "identities are the same"

    made = api.create(CONFIGMAPS, {"metadata": {"name": "after"}})
    assert int(made["metadata"]["resourceVersion"]) > revision + GAP
    for version in (revision - 5, revision, max(writers.acknowledged.values())):
        event = api.call("GET", f"/api/v1/namespaces/default/configmaps?watch=1&resourceVersion={version}")
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    await stop_cluster()


async def test_a_copy_runs_beside_the_original_with_its_volumes_and_workloads(home: Path, tmp_path: Path) -> None:
    original = (await start_cluster(images=IMAGES)).config
    api = Api(original)
    api.deploy()
    await serving(api)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.create(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "state"}, "spec": claim})
    (folder,) = await until(lambda: list(original.volumes.glob("default-state-*")), "the claim has its folder")
    (folder / "memory").write_text("what the agent remembers")
    await until(lambda: api.items(PERSISTENTVOLUMECLAIMS)[0]["status"].get("phase") == "Bound", "it is bound")
    await asyncio.to_thread(save, original, tmp_path / "a")
    await asyncio.to_thread(restore, tmp_path / "a", "copy")

    copy = (await start_cluster("copy", images=IMAGES)).config
    assert copy.port != original.port and copy.octet != original.octet
    theirs = Api(copy)
    (volume,) = theirs.call("GET", PERSISTENTVOLUMES.path())["items"]
    path = Path(volume["spec"]["hostPath"]["path"])
    assert path.parent == copy.volumes and (path / "memory").read_text() == "what the agent remembers"
    process = await serving(theirs)
    assert process.pid != (await serving(api)).pid, "each runs its own"
    address = theirs.call("GET", SERVICES.path("default", "server"))["spec"]["clusterIP"]
    assert address.startswith(f"127.{copy.octet}.")
    nodes = [item["metadata"]["name"] for item in theirs.call("GET", "/api/v1/nodes")["items"]]
    assert nodes == ["kaos-default"], "one node, under its old name"
    theirs.call("DELETE", PERSISTENTVOLUMECLAIMS.path("default", "state"))
    await until(lambda: not list(copy.volumes.glob("default-state-*")), "the copy's volume goes with its claim")
    assert (folder / "memory").exists(), "the original's does not"
    await asyncio.gather(stop_cluster("copy"), stop_cluster())


async def kaos(*words: str, cwd: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "kaos"),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ.copy(),
        cwd=cwd,
    )
    out, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None and b"Traceback" not in said
    return process.returncode, out.decode(), said.decode()


async def test_the_verbs_of_a_shell(home: Path, tmp_path: Path) -> None:
    await start_cluster(images=IMAGES)
    backups = tmp_path / "backups"
    backups.mkdir()
    status, out, said = await kaos("backup", "backups", "--json", cwd=tmp_path)
    assert status == 0, said
    told: dict[str, Any] = json.loads(out)
    file = tmp_path / told["file"]
    assert file.parent == backups and file.name.startswith("default-") and file.name.endswith(".kaos.tar.gz")
    assert int(told["resource_version"]) > 0 and told["bytes"] == file.stat().st_size
    assert "backup: " in said, "progress is not where results go"

    status, out, said = await kaos("backup", str(file), cwd=tmp_path)
    assert (status, out) == (1, "") and "--force" in said
    status, out, said = await kaos("backup", str(file), "--force", cwd=tmp_path)
    assert status == 0 and "Saved cluster 'default'" in out and f"kaos restore {file}" in out
    status, out, said = await kaos("backup", "x", "nosuch", cwd=tmp_path)
    assert (status, out) == (2, "") and "there is no cluster `nosuch`" in said
    status, out, said = await kaos("backup", "no/such/folder/x", cwd=tmp_path)
    assert (status, out) == (2, "") and "mkdir" in said

    status, out, said = await kaos("restore", str(file), cwd=tmp_path)
    assert (status, out) == (1, "") and "already" in said and f"kaos restore {file} default-2" in said
    status, out, said = await kaos("restore", str(file), "--check", "--json", cwd=tmp_path)
    assert status == 0 and json.loads(out)["restored"] is False
    status, out, said = await kaos("restore", str(file), "Not-A-Name", cwd=tmp_path)
    assert (status, out) == (2, "")
    torn = tmp_path / "torn"
    torn.write_bytes(file.read_bytes()[:-2000])
    status, out, said = await kaos("restore", str(torn), "other", cwd=tmp_path)
    assert (status, out) == (1, "") and "cut off or damaged" in said
    status, out, said = await kaos("restore", str(file), "other", cwd=tmp_path)
    assert status == 0 and "kaos up other" in out
    assert load_config(home / "clusters" / "other").host == "kaos-default"
    await stop_cluster()


async def test_what_cannot_be_seen_without_the_token_stays_so(home: Path, tmp_path: Path) -> None:
    """A restored cluster is no more open than the saved one was."""
    config = (await start_cluster(images=IMAGES)).config
    await asyncio.to_thread(save, config, tmp_path / "a")
    await stop_cluster(delete_state=True)
    made = await asyncio.to_thread(restore, tmp_path / "a")
    keys = [path for path in made.config.pki.iterdir() if path.suffix in (".key", ".token")]
    assert keys and all(path.stat().st_mode & 0o077 == 0 for path in (*keys, made.config.database))
    again = (await start_cluster(images=IMAGES)).config
    with pytest.raises(urllib.error.HTTPError) as refused:
        who(again, "not-the-token")
    assert refused.value.code == 401
    await stop_cluster()


@pytest.mark.parametrize("damage", ["a page", "all of it"])
async def test_a_damaged_store_is_told_with_the_way_to_a_backup(home: Path, tmp_path: Path, damage: str) -> None:
    config = (await start_cluster(images=IMAGES)).config
    await stop_cluster()
    content = bytearray(config.database.read_bytes())
    start = 8192 if damage == "a page" else 0
    content[start : start + 4096] = b"x" * 4096
    config.database.write_bytes(content)
    with pytest.raises(KaosError, match="store of cluster 'default' is damaged") as caught:
        await start_cluster(images=IMAGES)
    assert "kaos restore FILE default-2" in caught.value.hint and str(config.volumes) in caught.value.hint
    assert config.database.read_bytes() == content, "nothing was mended behind anybody's back"
    with pytest.raises(KaosError, match="damaged"):
        await asyncio.to_thread(save, config, tmp_path / "a")
    assert not any(path.name.startswith((".a", "a")) for path in await asyncio.to_thread(lambda: [*tmp_path.iterdir()]))
