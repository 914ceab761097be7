"""A pod's volumes on disk, without mounts.

    pods/<uid>/volumes/<name>/        what a volume holds (a claim: a link to the claim's folder)
    pods/<uid>/root/<container>/…     the container's root: each mountPath is a link to its volume

Volumes made of API objects are written as the kubelet writes them: the files lie in a hidden timestamped folder,
`..data` links to it, and an update moves that one link, so a reader sees all of the old or all of the new.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from kaos_ext.cluster.node.env import ContainerConfigError, configmap_data, pod_field, resource_field, secret_data
from kaos_ext.kube.objects import Object
from kaos_ext.model.errors import KaosError

_DATA = "..data"


class MountError(KaosError):
    """A volume cannot be given to the pod (yet)."""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int


Payload = dict[str, File]
Lookup = Callable[[str, str], Object | None]
"""Finds `configmap` or `secret` of the pod's namespace by name."""


@dataclass(frozen=True, slots=True)
class PayloadContext:
    pod: Object
    find: Lookup
    facts: Mapping[str, str]
    capacity: Mapping[str, str]
    token: Callable[[Mapping[str, Any]], bytes]


def payload(volume: Mapping[str, Any], context: PayloadContext) -> Payload | None:
    """The files of a volume that is made of API objects; None for other volumes."""
    if source := volume.get("configMap"):
        return _object_files("configmap", source["name"], source, context)
    if source := volume.get("secret"):
        return _object_files("secret", source["secretName"], source, context)
    if source := volume.get("downwardAPI"):
        return _downward(source, int(source.get("defaultMode", 0o644)), context)
    if source := volume.get("projected"):
        mode = int(source.get("defaultMode", 0o644))
        files: Payload = {}
        for part in source.get("sources") or []:
            files |= _projected(part, mode, context)
        return files
    return None


def _projected(part: Mapping[str, Any], mode: int, context: PayloadContext) -> Payload:
    if source := part.get("configMap"):
        return _object_files("configmap", source["name"], {"defaultMode": mode, **source}, context)
    if source := part.get("secret"):
        return _object_files("secret", source["name"], {"defaultMode": mode, **source}, context)
    if source := part.get("downwardAPI"):
        return _downward(source, mode, context)
    if source := part.get("serviceAccountToken"):
        return {_inside(source["path"]): File(context.token(source), 0o600)}
    raise MountError(f"this node has no projected volume source of the kind {next(iter(part), 'none')}")


def _object_files(kind: str, name: str, source: Mapping[str, Any], context: PayloadContext) -> Payload:
    found = context.find(kind, name)
    optional = bool(source.get("optional"))
    if found is None:
        if optional:
            return {}
        raise MountError(f'{kind} "{name}" not found')
    data = configmap_data(found) if kind == "configmap" else secret_data(found)
    mode = int(source.get("defaultMode", 0o644))
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    files: Payload = {}
    for item in items:
        if item["key"] in data:
            files[_inside(item["path"])] = File(data[item["key"]], int(item.get("mode") or mode))
        elif not optional:
            raise MountError(f"references non-existent {kind} key: {item['key']}")
    return files


def _downward(source: Mapping[str, Any], mode: int, context: PayloadContext) -> Payload:
    files: Payload = {}
    for item in source.get("items") or []:
        try:
            if reference := item.get("fieldRef"):
                text = pod_field(context.pod, reference["fieldPath"], context.facts)
            else:
                text = resource_field(context.pod, {}, item["resourceFieldRef"], context.capacity)
        except ContainerConfigError as error:
            raise MountError(error.message) from error
        files[_inside(item["path"])] = File(text.encode(), int(item.get("mode") or mode))
    return files


def _inside(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts or not path:
        raise MountError(f"path {path!r} leaves its volume")
    return path


def write_payload(folder: Path, files: Payload) -> bool:
    """Make the folder show exactly these files, atomically; True when something changed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    current = folder / _DATA
    if current.is_symlink() and _read_payload(current.resolve()) == files:
        return False
    fresh = folder / datetime.now(UTC).strftime("..%Y_%m_%d_%H_%M_%S.%f")
    for path, file in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    fresh.mkdir(exist_ok=True)
    old = current.resolve() if current.is_symlink() else None
    temporary = folder / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.replace(current)
    shown = {PurePosixPath(path).parts[0] for path in files}
    for name in shown:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(f"{_DATA}/{name}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.is_symlink() and entry.name not in shown:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _read_payload(folder: Path) -> Payload:
    files: Payload = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(folder))] = File(path.read_bytes(), path.stat().st_mode & 0o777)
    return files


def link_claim(target: Path, source: Path) -> None:
    """A claim's volume: a link to the claim's folder."""
    source.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.is_symlink() and target.readlink() == source:
        return
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def materialise(root: Path, volumes: Path, container: Mapping[str, Any], env: Mapping[str, str]) -> None:
    """Make a container's root show its mounts: each mountPath a link to its volume or a path in it."""
    from kaos_ext.cluster.node.env import expand

    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    (root / "tmp").mkdir(exist_ok=True)
    for mount in sorted(container.get("volumeMounts") or [], key=lambda each: len(each["mountPath"])):
        target = volumes / mount["name"]
        inner = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
        if inner:
            target = target / _inside(inner)
            if not target.exists() and not os.path.lexists(target):
                target.mkdir(parents=True, exist_ok=True)
        link = root / mount["mountPath"].strip("/")
        if link.is_symlink():
            if link.readlink() == target:
                continue
            link.unlink()
        elif link.is_dir():
            link.rmdir()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
