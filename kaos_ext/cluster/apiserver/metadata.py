"""What the server itself writes into `metadata`: uids, times, generated names, the order of an object's keys."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from kaos_ext.kube.objects import Object

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MAX_GENERATED = 63 - 5


def timestamp(after_seconds: float = 0) -> str:
    return _written(int(time.time() + after_seconds))


@lru_cache(maxsize=4)
def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid() -> str:
    return str(uuid.uuid4())


def generated_name(base: str) -> str:
    return base[:MAX_GENERATED] + "".join(secrets.choice(_LETTERS) for _ in range(5))


def copied(value: Any) -> Any:
    """A deep copy of JSON, some times faster than `copy.deepcopy`."""
    kind = type(value)
    if kind is dict:
        return {key: copied(one) for key, one in value.items()}
    if kind is list:
        return [copied(one) for one in value]
    return value


def ordered(object: Object, kind: str, api_version: str) -> Object:
    """The object with `kind`, `apiVersion` and `metadata` first, as every stored object is written."""
    result: Object = {"kind": kind, "apiVersion": api_version, "metadata": object.get("metadata") or {}}
    for key, value in object.items():
        if key not in result:
            result[key] = value
    return result


def same_but_times(one: Object, other: Object) -> bool:
    """Whether nothing differs but the times of managed fields (and the resourceVersion)."""
    if one.keys() != other.keys():
        return False
    for key, value in one.items():
        if key == "metadata":
            if not _same_metadata(value, other["metadata"]):
                return False
        elif value != other[key]:
            return False
    return True


def _same_metadata(one: Object, other: Object) -> bool:
    ignored = ("resourceVersion", "managedFields")
    if {k: v for k, v in one.items() if k not in ignored} != {k: v for k, v in other.items() if k not in ignored}:
        return False
    return _timeless(one.get("managedFields") or ()) == _timeless(other.get("managedFields") or ())


def _timeless(entries: Iterable[Object]) -> list[Object]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def on_create(object: Object, namespace: str) -> None:
    """Metadata of a new object: what a client may not choose is chosen here."""
    metadata = object.setdefault("metadata", {})
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(key, None)
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = timestamp()


KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName")


def on_update(object: Object, old: Object) -> None:
    """Metadata of an update: what a client may not change stays (`uid` is checked by validation before)."""
    metadata, was = object["metadata"], old["metadata"]
    metadata.pop("selfLink", None)
    for key in KEPT:
        if key in was:
            metadata[key] = was[key]
        elif key != "deletionTimestamp":  # nobody deletes by an update; validation says so
            metadata.pop(key, None)


def with_metadata(object: Object, **changes: Any) -> Object:
    """A copy of the object whose metadata has these members; None takes one away."""
    meta = dict(object["metadata"])
    for key, value in changes.items():
        if value is None:
            meta.pop(key, None)
        else:
            meta[key] = value
    return {**object, "metadata": meta}
