"""The user's kubeconfig: our entries come and go, everything else stays byte for byte."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.kubeconfig import add_context, current_context, remove_context, write_private_kubeconfig
from kaos_ext.cluster.pki import ensure_pki
from kaos_ext.model.errors import KaosError

OTHERS = """\
# my clusters
apiVersion: v1
kind: Config
clusters:
# the production one
- cluster:
    server: https://prod.example   # never touch
  name: prod
# the end of the clusters
contexts:
- context: {cluster: prod, user: me}
  name: prod
users:
- name: me
  user:
    token: "0123"
# which one I use
current-context: prod # today
preferences: {}
"""


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterConfig:
    config = ClusterConfig(root=tmp_path / "state", name="dev", port=18443, octet=70)
    config.root.mkdir()
    ensure_pki(config)
    return config


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "user" / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_first_context_makes_a_private_file_and_removing_it_leaves_no_context(
    cluster: ClusterConfig, kubeconfig: Path
) -> None:
    change = add_context(cluster)
    assert (change.context, change.previous) == ("kaos-dev", "")
    assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
    document = yaml.safe_load(kubeconfig.read_text())
    assert document["current-context"] == "kaos-dev"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:18443"
    assert document["contexts"][0]["context"] == {"cluster": "kaos-dev", "namespace": "default", "user": "kaos-dev"}

    assert remove_context(cluster).context == ""
    document = yaml.safe_load(kubeconfig.read_text())
    assert not document["clusters"] and not document["contexts"] and not document["users"]
    assert not document["current-context"]


def test_other_entries_and_comments_survive_coming_and_going(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, OTHERS)
    assert add_context(cluster).previous == "prod"
    text = kubeconfig.read_text()
    assert yaml.safe_load(text)["current-context"] == "kaos-dev"
    for comment in ("# my clusters", "# the production one", "# never touch", "# the end of the clusters"):
        assert comment in text
    change = remove_context(cluster)
    assert (change.context, change.previous) == ("prod", "kaos-dev")
    assert kubeconfig.read_text() == OTHERS.replace(" # today", "")


def test_adding_twice_changes_nothing_and_keeps_the_first_memory(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, OTHERS)
    add_context(cluster)
    once = kubeconfig.read_text()
    assert add_context(cluster).previous == "kaos-dev"
    assert kubeconfig.read_text() == once
    assert remove_context(cluster).context == "prod"


def test_a_context_the_user_chose_meanwhile_stays_current(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, OTHERS)
    add_context(cluster)
    kubeconfig.write_text(kubeconfig.read_text().replace("current-context: kaos-dev", "current-context: prod"))
    change = remove_context(cluster)
    assert (change.context, change.previous) == ("prod", "prod")


def test_a_remembered_context_that_is_gone_is_not_restored(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, OTHERS)
    add_context(cluster)
    document = yaml.safe_load(kubeconfig.read_text())
    document["contexts"] = [entry for entry in document["contexts"] if entry["name"] != "prod"]
    kubeconfig.write_text(yaml.safe_dump(document))
    assert remove_context(cluster).context == ""


@pytest.mark.parametrize(
    "text",
    [
        '{"apiVersion": "v1", "clusters": [{"name": "prod", "cluster": {"server": "https://p"}}], "contexts": []}',
        "apiVersion: v1\nclusters: []\ncontexts: null\nusers: []\ncurrent-context: ''\n",
        "apiVersion: v1\nclusters:\n  - name: prod\n    cluster:\n      server: https://p\n",
        "# nothing yet\n",
        "",
    ],
)
def test_every_style_of_file_is_understood(cluster: ClusterConfig, kubeconfig: Path, text: str) -> None:
    write(kubeconfig, text)
    before = yaml.safe_load(text) or {}
    add_context(cluster)
    document = yaml.safe_load(kubeconfig.read_text())
    assert [entry["name"] for entry in document["clusters"]][-1] == "kaos-dev"
    assert document["current-context"] == "kaos-dev"
    remove_context(cluster)
    document = yaml.safe_load(kubeconfig.read_text())
    assert (document.get("clusters") or []) == (before.get("clusters") or [])


def test_a_list_of_files_is_edited_as_kubectl_would(
    cluster: ClusterConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, first, second = (tmp_path / name for name in ("missing", "first", "second"))
    first.write_text("apiVersion: v1\nkind: Config\n")
    second.write_text(OTHERS)
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, (missing, first, second))))
    add_context(cluster)
    assert not missing.exists()
    assert yaml.safe_load(first.read_text())["users"][0]["name"] == "kaos-dev"
    assert yaml.safe_load(second.read_text())["current-context"] == "kaos-dev"
    assert current_context() == "kaos-dev"
    remove_context(cluster)
    assert second.read_text() == OTHERS.replace(" # today", "")
    assert current_context() == "prod"


def test_a_link_stays_a_link(cluster: ClusterConfig, kubeconfig: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(OTHERS)
    kubeconfig.parent.mkdir()
    kubeconfig.symlink_to(real)
    add_context(cluster)
    assert kubeconfig.is_symlink()
    assert "kaos-dev" in real.read_text()


def test_a_damaged_file_is_refused_and_left_alone(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, "clusters: [")
    with pytest.raises(KaosError, match="not valid YAML"):
        add_context(cluster)
    assert kubeconfig.read_text() == "clusters: ["
    assert not list(kubeconfig.parent.glob("*.lock"))


def test_another_writer_is_waited_for(
    cluster: ClusterConfig, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kubeconfig, OTHERS)
    monkeypatch.setattr("kaos_ext.cluster.kubeconfig.LOCK_WAIT_SECONDS", 0.05)
    lock = kubeconfig.with_name("config.lock")
    lock.touch()
    with pytest.raises(KaosError, match="being changed by another program"):
        add_context(cluster)
    assert kubeconfig.read_text() == OTHERS
    lock.unlink()
    assert add_context(cluster).context == "kaos-dev"


def test_the_clusters_own_file_is_private(cluster: ClusterConfig) -> None:
    path = write_private_kubeconfig(cluster)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text())["current-context"] == "kaos-dev"


def test_switching_back_keeps_the_namespace_its_user_chose(cluster: ClusterConfig, kubeconfig: Path) -> None:
    write(kubeconfig, OTHERS)
    add_context(cluster)
    text = kubeconfig.read_text().replace("namespace: default", "namespace: mine")
    write(kubeconfig, text.replace("current-context: kaos-dev", "current-context: prod"))
    assert add_context(cluster).previous == "prod"
    document = yaml.safe_load(kubeconfig.read_text())
    chosen = next(entry for entry in document["contexts"] if entry["name"] == "kaos-dev")
    assert chosen["context"] == {"cluster": "kaos-dev", "namespace": "mine", "user": "kaos-dev"}
    assert document["current-context"] == "kaos-dev"


def test_the_clusters_own_file_keeps_a_chosen_namespace_and_is_made_anew_when_damaged(cluster: ClusterConfig) -> None:
    path = write_private_kubeconfig(cluster)
    fresh = path.read_text()
    chosen = fresh.replace("namespace: default", "namespace: mine")
    path.write_text(chosen)
    write_private_kubeconfig(cluster)
    assert path.read_text() == chosen != fresh
    path.write_text("clusters: [")
    write_private_kubeconfig(cluster)
    assert path.read_text() == fresh
