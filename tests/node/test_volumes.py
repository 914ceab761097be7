"""Volumes on disk: whole, atomic, and where a container looks for them."""

from __future__ import annotations

import base64
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from kaos_ext.cluster.node.addresses import PodAddresses
from kaos_ext.cluster.node.volumes import File, MountError, Payload, PayloadContext, materialise, payload, write_payload

OBJECTS = {
    ("configmap", "c"): {"data": {"a": "1", "b": "2"}, "binaryData": {"raw": base64.b64encode(b"\xff").decode()}},
    ("secret", "s"): {"data": {"key": base64.b64encode(b"hush").decode()}},
}
CONTEXT = PayloadContext(
    {"metadata": {"name": "p", "namespace": "n", "labels": {"l": "v"}}, "spec": {}},
    lambda kind, name: OBJECTS.get((kind, name)),
    {},
    {"cpu": "2"},
    lambda source: b"the token",
)


def contents(volume: dict[str, Any]) -> dict[str, bytes]:
    files = payload(volume, CONTEXT)
    assert files is not None
    return {path: file.content for path, file in files.items()}


def test_a_configmap_shows_all_its_keys_or_the_items_asked_for() -> None:
    assert contents({"configMap": {"name": "c"}}) == {"a": b"1", "b": b"2", "raw": b"\xff"}
    items = [{"key": "a", "path": "deep/name"}]
    assert contents({"configMap": {"name": "c", "items": items}}) == {"deep/name": b"1"}


def test_what_is_missing_is_an_error_unless_it_is_optional() -> None:
    with pytest.raises(MountError, match='configmap "x" not found'):
        contents({"configMap": {"name": "x"}})
    with pytest.raises(MountError, match="references non-existent secret key: no"):
        contents({"secret": {"secretName": "s", "items": [{"key": "no", "path": "p"}]}})
    assert contents({"configMap": {"name": "x", "optional": True}}) == {}


def test_an_item_cannot_leave_its_volume() -> None:
    for path in ("../x", "/x", "a/../../x"):
        with pytest.raises(MountError, match="leaves its volume"):
            contents({"configMap": {"name": "c", "items": [{"key": "a", "path": path}]}})


def test_a_projected_volume_joins_its_sources() -> None:
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "ca.crt"}]}},
        {"secret": {"name": "s"}},
        {"serviceAccountToken": {"path": "token"}},
        {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    assert contents({"projected": {"sources": sources}}) == {
        "ca.crt": b"1",
        "key": b"hush",
        "token": b"the token",
        "ns": b"n",
    }


def files(**texts: str) -> Payload:
    return {name: File(text.encode(), 0o644) for name, text in texts.items()}


def test_an_update_shows_all_of_the_new_and_moves_one_link(tmp_path: Path) -> None:
    volume = tmp_path / "v"
    assert write_payload(volume, files(a="1", b="1"))
    before = (volume / "..data").readlink()
    assert not write_payload(volume, files(a="1", b="1"))
    assert (volume / "..data").readlink() == before
    held = (volume / "a").open()
    assert write_payload(volume, files(a="2", c="2"))
    assert held.read() == "1", "a file that is open stays what it was"
    assert sorted(path.name for path in volume.iterdir() if not path.name.startswith("..")) == ["a", "c"]
    assert (volume / "a").read_text() == "2"
    assert len(list(volume.glob("..20*"))) == 1
    held.close()


def test_a_mount_path_leads_to_its_volume_and_sub_paths_into_it(tmp_path: Path) -> None:
    volumes, root = tmp_path / "volumes", tmp_path / "root"
    write_payload(volumes / "conf", files(a="1"))
    (volumes / "data").mkdir()
    mounts = [
        {"name": "data", "mountPath": "/var/lib/x"},
        {"name": "data", "mountPath": "/var/lib/x/nested", "subPath": "inner"},
        {"name": "conf", "mountPath": "/etc/conf"},
        {"name": "conf", "mountPath": "/etc/one", "subPath": "a"},
        {"name": "data", "mountPath": "/by-name", "subPathExpr": "$(NAME)"},
    ]
    for _ in range(2):
        materialise(root, volumes, {"volumeMounts": mounts}, {"NAME": "me"})
    (root / "var/lib/x/file").write_text("kept")
    assert (volumes / "data/file").read_text() == "kept"
    assert (root / "etc/conf/a").read_text() == (root / "etc/one").read_text() == "1"
    assert (root / "by-name").resolve() == volumes / "data" / "me"
    assert (root / "var/lib/x/nested").resolve() == volumes / "data" / "inner"


def test_addresses_are_unique_kept_by_their_pods_and_not_reused_at_once() -> None:
    addresses = PodAddresses(IPv4Network("127.9.128.0/17"))
    assert addresses.keep("127.9.128.7", "old")
    first, second = addresses.take("a"), addresses.take("b")
    assert len({first, second, "127.9.128.7"}) == 3
    addresses.release(first, "a")
    assert addresses.take("c") != first
    assert not addresses.keep("127.9.128.7", "other")
    assert not addresses.keep("10.0.0.1", "other")
