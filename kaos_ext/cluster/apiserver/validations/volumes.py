"""Volumes of a Pod: one source each, with what that source needs."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.validations.parts import part_name_errors

Object = dict[str, Any]

_SOURCES_BY_NAME = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}
_SOURCES = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
"""The order in which a volume's sources are looked at."""


def _inside(place: str, path: str) -> list[FieldError]:
    """A path in a volume that does not lead out of it."""
    if not place:
        return [errors.required(path)]
    if place.startswith("/"):
        return [errors.invalid(path, place, "must be a relative path")]
    if ".." in place.split("/"):
        return [errors.invalid(path, place, "must not contain '..'")]
    return []


def volume_errors(volumes: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        found += part_name_errors(volume, here, names)
        sources = [key for key in volume if key != "name" and volume[key] is not None]
        sources.sort(key=lambda source: _SOURCES.index(source) if source in _SOURCES else len(_SOURCES))
        if not sources:
            found.append(errors.required(here, "must specify a volume type"))
        found += [errors.forbidden(f"{here}.{key}", "may not specify more than 1 volume type") for key in sources[1:]]
        for key in ("configMap", "secret"):
            for at, item in enumerate((volume.get(key) or {}).get("items") or ()):
                found += _inside(item.get("path") or "", f"{here}.{key}.items[{at}].path")
        for key, member in _SOURCES_BY_NAME.items():
            if volume.get(key) is not None and not volume[key].get(member):
                found.append(errors.required(f"{here}.{key}.{member}"))
        host = volume.get("hostPath")
        if host is not None and not host.get("path"):
            found.append(errors.required(f"{here}.hostPath.path"))
    return found
