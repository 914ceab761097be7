"""Answers as bytes: objects as they are stored, lists by joining them, Tables and bare metadata on demand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.negotiate import YAML, Wanted
from kaos_ext.cluster.apiserver.reads import Page
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import invalid
from kaos_ext.cluster.apiserver.storage import Stored, encode
from kaos_ext.cluster.apiserver.watch import Bookmark, Event
from kaos_ext.kube.objects import Object

_META = "meta.k8s.io/v1"


def partial(object: Object, *, version: str = "v1") -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": object["metadata"],
    }


def table(served: Served, objects: list[Object], include: str, version: str, metadata: Object) -> Object:
    from kaos_ext.cluster.apiserver.wire.table import table_for

    if include not in ("", "None", "Metadata", "Object"):
        why = invalid("includeObject", include, "must be 'Metadata', 'Object', 'None', or empty")
        raise failures.bad_request(f"Unable to convert to Table as requested: {why}")
    columns = served.definition.version(served.version).columns if served.definition is not None else None
    made: Object = table_for(served.resource, objects, columns, datetime.now(UTC), include or "Metadata")
    made["apiVersion"] = f"meta.k8s.io/{version}"
    made["metadata"] = metadata
    if include in ("", "Metadata"):
        for row in made["rows"]:
            row["object"]["apiVersion"] = made["apiVersion"]
    return made


def one(served: Served, stored: Stored, wanted: Wanted, include: str = "") -> bytes:
    """One object, in the form that was asked for."""
    if wanted.form == "Table" and stored.object.get("kind") == served.kind:
        version = {"resourceVersion": stored.object["metadata"].get("resourceVersion", "")}
        return dumped(table(served, [stored.object], include, wanted.version, version), wanted)
    if wanted.form == "PartialObjectMetadata" and stored.object.get("kind") == served.kind:
        return dumped(partial(stored.object, version=wanted.version), wanted)
    return stored.encoded if wanted.media != YAML else dumped(stored.object, wanted)


def listed(served: Served, page: Page, wanted: Wanted, include: str = "") -> bytes:
    metadata: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    elif served.custom and not wanted.form:
        metadata["continue"] = ""
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    if wanted.form == "Table":
        objects = [stored.object for stored in page.items]
        return dumped(table(served, objects, include, wanted.version, metadata), wanted)
    if wanted.form:
        items = [partial(stored.object, version=wanted.version) for stored in page.items]
        kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{wanted.version}"
        return dumped({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}, wanted)
    body = _joined(served, page.items, metadata)
    return body if wanted.media != YAML else dumped(json.loads(body), wanted)


def _joined(served: Served, items: list[Stored], metadata: Object) -> bytes:
    head = encode({"kind": served.list_kind, "apiVersion": served.api_version, "metadata": metadata})[:-1]
    bodies = [stored.encoded for stored in items]
    if not served.custom:
        # Items of typed lists carry neither kind nor apiVersion; every stored object begins with them.
        prefix = encode({"kind": served.kind, "apiVersion": served.api_version})[:-1] + b","
        cut = len(prefix)
        bodies = [b"{" + body[cut:] if body.startswith(prefix) else body for body in bodies]
    return head + b',"items":[' + b",".join(bodies) + b"]}"


def dumped(value: Any, wanted: Wanted) -> bytes:
    if wanted.media != YAML:
        return encode(value)
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: bytes = yaml.dump(value, Dumper=dumper, default_flow_style=False, allow_unicode=True, encoding="utf-8")
    return text


class Frames:
    """Encodes one watcher's events; what watchers share is encoded once."""

    def __init__(self, served: Served, wanted: Wanted, include: str) -> None:
        self._served = served
        self._wanted = wanted
        self._include = include
        self._columns_sent = False

    def frame(self, event: Event) -> bytes:
        if isinstance(event, Bookmark):
            return self._bookmark(event)
        if self._wanted.form == "Table":
            return self._table(event.kind, event.stored)
        shared = event.change.frames if event.change is not None else None
        if shared is None:
            shared = {}
        key = (self._served, self._wanted.form, event.kind)
        found = shared.get(key)
        if found is None:
            body = encode(partial(event.stored.object)) if self._wanted.form else event.stored.encoded
            found = shared[key] = b'{"type":"' + event.kind.encode() + b'","object":' + body + b"}\n"
        return found

    def _table(self, kind: str, stored: Stored) -> bytes:
        metadata = {"resourceVersion": stored.object["metadata"]["resourceVersion"]}
        made = table(self._served, [stored.object], self._include, self._wanted.version, metadata)
        if self._columns_sent:
            made["columnDefinitions"] = None
        self._columns_sent = True
        return encode({"type": kind, "object": made}) + b"\n"

    def _bookmark(self, event: Bookmark) -> bytes:
        metadata: Object = {"resourceVersion": str(event.revision)}
        if self._served.custom:
            metadata["creationTimestamp"] = None
        if event.initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind, api_version = self._served.kind, self._served.api_version
        empty: Object = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self._wanted.form == "Table":
            object: Object = {
                "kind": "Table",
                "apiVersion": _META,
                "metadata": {"resourceVersion": str(event.revision)},
                "columnDefinitions": None,
                "rows": table(self._served, [empty], "Metadata", self._wanted.version, {})["rows"],
            }
        elif self._wanted.form:
            object = {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": metadata}
        else:
            object = empty
        return encode({"type": "BOOKMARK", "object": object}) + b"\n"
