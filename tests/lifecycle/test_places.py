"""Where a cluster's state cannot be: on a network, on a full disk, in the format of a later version."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaos_ext import __version__
from kaos_ext.cluster import config as config_module
from kaos_ext.cluster.config import ClusterConfig, load_config, write_private
from kaos_ext.cluster.lifecycle import start_cluster
from kaos_ext.model.errors import KaosError
from kaos_ext.store import place
from tests.lifecycle.conftest import processes

FULL = Path(__file__).parents[1] / "apiserver" / "programs" / "full.c"


def config_in(folder: Path) -> ClusterConfig:
    return ClusterConfig(root=folder, name="default", port=18000, octet=64)


def there(path: Path) -> bool:
    return path.exists()


async def test_a_network_file_system_is_refused_with_the_way_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {tmp_path} rw - nfs4 server:/export rw\n")
    real = place.network_mount
    monkeypatch.setattr(place, "network_mount", lambda path: real(path, table))
    with pytest.raises(KaosError) as caught:
        await start_cluster()
    assert "server:/export" in caught.value.message and "nfs4" in caught.value.message
    assert "KAOS_HOME" in caught.value.hint
    assert not there(home), "nothing is made where nothing may be"
    monkeypatch.setenv("KAOS_ALLOW_NETWORK_HOME", "1")
    config_module.check_place(home)


async def test_the_state_of_a_later_version_is_refused_untouched_and_both_versions_are_named(home: Path) -> None:
    root = home / "clusters" / "default"
    root.mkdir(parents=True)
    content = json.dumps({"name": "default", "port": 1, "octet": 64, "format": 9, "written_by": "9.0", "new": 1})
    (root / "config.json").write_text(content)
    with pytest.raises(KaosError) as caught:
        await start_cluster()
    for word in ("format 9", "kaos 9.0", f"kaos {__version__}", "up to 1"):
        assert word in caught.value.message
    assert "upgrade" in caught.value.hint
    assert (root / "config.json").read_text() == content
    assert [path.name for path in root.iterdir()] == ["config.json"]


def test_a_config_says_its_format_and_who_wrote_it_and_one_from_before_is_read(tmp_path: Path) -> None:
    config_in(tmp_path).save()
    data = json.loads((tmp_path / "config.json").read_text())
    assert (data.pop("format"), data.pop("written_by")) == (1, __version__)
    assert load_config(tmp_path) == config_in(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert load_config(tmp_path) == config_in(tmp_path)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_private(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KaosError, match="No space left on device") as caught:
        write_private(path, b"new")
    assert "free some space" in caught.value.hint
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.process
async def test_up_on_a_full_disk_says_so_and_leaves_nothing_half_made(home: Path, tmp_path: Path) -> None:
    """First the disk of the state is full, then that of the kubeconfig; with space the same command succeeds."""
    library, flag = tmp_path / "full.so", tmp_path / "full"
    await asyncio.to_thread(
        subprocess.run, ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(FULL), "-ldl"], check=True
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    kubeconfig = elsewhere / "config"
    original = "apiVersion: v1\nkind: Config\n# kept\ncurrent-context: mine\n"
    kubeconfig.write_text(original)

    async def up(root: Path) -> tuple[int, str]:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "FULL_ROOT": str(root), "FULL_WHILE": str(flag)}
        environment["LD_PRELOAD"] = str(library)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", "import sys; from kaos_ext.cli.main import main; sys.exit(main())", "up"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, said.decode()

    flag.touch()
    status, said = await up(home)
    assert status == 1 and "Traceback" not in said
    assert "cannot be written" in said and "free some space" in said
    assert not there(home / "clusters" / "default"), "no half of a cluster"

    status, said = await up(elsewhere)
    assert status == 1 and "Traceback" not in said
    assert str(kubeconfig) in said and "free some space" in said
    assert kubeconfig.read_text() == original
    assert [path.name for path in elsewhere.iterdir()] == ["config"]
    assert processes(home), "the cluster itself runs: only its context is not in the file"

    flag.unlink()
    status, said = await up(elsewhere)
    assert status == 0, said
    assert "current-context: kaos-default" in kubeconfig.read_text() and "# kept" in kubeconfig.read_text()
    from kaos_ext.cluster.lifecycle import stop_cluster

    await stop_cluster()
