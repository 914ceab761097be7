"""Getting and listing: selectors, pages over a frozen list, and what `resourceVersion` asks for.

A page's `continue` token names a revision and the last key given. The rest of that list is kept for a while as it was;
later the client is told 410, with a token that goes on in the present.
"""

from __future__ import annotations

import base64
import json
import time
from collections import OrderedDict
from dataclasses import dataclass

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.faces import face
from kaos_ext.cluster.apiserver.options import ListOptions
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.selectors import FieldSelector, LabelSelector, SelectorError
from kaos_ext.cluster.apiserver.storage import Collection, Storage, Stored

SNAPSHOTS = 64
SNAPSHOT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list or watch is about: a resource, one namespace or all, and selectors."""

    served: Served
    namespace: str | None
    labels: LabelSelector
    fields: FieldSelector
    name: str | None

    def matches(self, stored: Stored) -> bool:
        if self.namespace is not None and stored.namespace != self.namespace:
            return False
        if self.name is not None and stored.name != self.name:
            return False
        if self.labels and not self.labels.matches(stored.object["metadata"].get("labels")):
            return False
        return not self.fields or self.fields.matches(face(stored, self.served).object)


def scope_of(served: Served, namespace: str | None, labels: str, fields: str) -> Scope:
    try:
        by_labels, by_fields = LabelSelector.parse(labels), FieldSelector.parse(fields)
        if by_fields:
            definition = served.definition
            by_fields.check(
                served.group,
                served.kind,
                selectable=definition.selectable(served.version) if definition else (),
                custom=definition is not None,
            )
    except SelectorError as error:
        raise failures.bad_request(str(error)) from None
    return Scope(
        served,
        namespace if served.namespaced else None,
        by_labels,
        by_fields,
        by_fields.exact("metadata.name") if by_fields else None,
    )


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Stored]
    """In the faces of the scope's resource."""
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    items: list[Stored]
    until: float


class Reader:
    """Reads of one server's storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._snapshots: OrderedDict[tuple[str, int], _Snapshot] = OrderedDict()

    def collection(self, served: Served) -> Collection:
        return self._storage.collection(served.storage)

    def get(self, served: Served, namespace: str, name: str, resource_version: str = "") -> Stored:
        if resource_version:
            if not resource_version.isdecimal():
                raise failures.internal(_unreadable_version(resource_version))
            self._not_older(resource_version)
        stored = self.collection(served).get(namespace if served.namespaced else "", name)
        if stored is None:
            raise failures.not_found(served, name)
        return face(stored, served)

    def page(self, scope: Scope, options: ListOptions) -> Page:
        """The first or the next page of a list."""
        collection = self.collection(scope.served)
        revision, start, items = self._storage.revision, "", None
        if options.continue_token:
            if options.resource_version not in ("", "0"):
                raise failures.bad_request("specifying resource version is not allowed when using continue")
            revision, start, items = self._continued(collection, scope, options.continue_token)
        elif options.resource_version:
            asked = self._not_older(options.resource_version)
            if options.match == "Exact" and asked < revision:
                items, revision = self._at(collection, asked), asked
        if items is None:
            items = collection.scan(scope.namespace)
        return self._cut(scope, options, items, revision, start)

    def _cut(self, scope: Scope, options: ListOptions, items: list[Stored], revision: int, start: str) -> Page:
        plain = not scope.labels and not scope.fields
        chosen: list[Stored] = []
        for index, stored in enumerate(items):
            if start and _key(stored) <= start:
                continue
            if not scope.matches(stored):
                continue
            # Version 0 asks for whatever is at hand, and that is all of it.
            if options.limit and len(chosen) == options.limit and options.resource_version != "0":
                self._remember(scope.served.storage, revision, items)
                token = _token(revision, _key(chosen[-1]), scope.namespace)
                left = len(items) - index if plain else None
                return Page([face(one, scope.served) for one in chosen], revision, token, left)
            chosen.append(stored)
        return Page([face(one, scope.served) for one in chosen], revision)

    def _remember(self, storage: str, revision: int, items: list[Stored]) -> None:
        now = time.monotonic()
        known = self._snapshots.get((storage, revision))
        if known is None or known.until <= now:  # a page of a snapshot does not prolong its life
            self._snapshots[storage, revision] = _Snapshot(items, now + SNAPSHOT_SECONDS)
        while self._snapshots:
            key, oldest = next(iter(self._snapshots.items()))
            if len(self._snapshots) <= SNAPSHOTS and oldest.until > now:
                break
            del self._snapshots[key]

    def _continued(self, collection: Collection, scope: Scope, token: str) -> tuple[int, str, list[Stored] | None]:
        revision, start = _read_token(token, scope.namespace)
        if revision < 0:
            return self._storage.revision, start, None
        snapshot = self._snapshots.get((collection.id, revision))
        if snapshot is not None and snapshot.until > time.monotonic():
            return revision, start, snapshot.items
        if revision == self._storage.revision:
            return revision, start, None
        error = failures.expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list."
        )
        error.status["metadata"] = {"continue": _token(-1, start, scope.namespace)}
        raise error

    def _not_older(self, resource_version: str) -> int:
        asked = parse_revision(resource_version)
        if asked > self._storage.revision:
            raise failures.future_version(asked, self._storage.revision)
        return asked

    def _at(self, collection: Collection, revision: int) -> list[Stored]:
        """The collection as it was at an older revision, as far as the ring reaches back."""
        if revision < collection.evicted:
            raise failures.expired("The resourceVersion for the provided list is too old.")
        objects = {_key(stored): stored for stored in collection.scan()}
        for change in reversed(collection.ring):
            if change.revision <= revision:
                break
            key = _key(change.stored)
            if change.previous is None:
                objects.pop(key, None)
            else:
                objects[key] = change.previous
        return [objects[key] for key in sorted(objects)]


def parse_revision(text: str) -> int:
    if not text.isdecimal():
        raise failures.bad_request(f"invalid resource version: {_unreadable_version(text)}")
    return int(text)


def _unreadable_version(text: str) -> str:
    return f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'


def _key(stored: Stored) -> str:
    return f"{stored.namespace}/{stored.name}"


def _token(revision: int, last: str, namespace: str | None) -> str:
    """As the real server writes it: keys below the listed prefix, and a zero byte after the last one given."""
    start = last.partition("/")[2] if namespace is not None or last.startswith("/") else last
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": f"/{start}\u0000"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str, namespace: str | None) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("utf-8", "replace")
    except ValueError:
        raise failures.bad_request(
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"
        ) from None
    try:
        parsed = json.loads(text)
        if isinstance(parsed, dict) and parsed.get("v") != "meta.k8s.io/v1":
            raise failures.bad_request(
                "invalid continue token: continue key is not valid: server does not recognize this encoded version "
                f"{parsed.get('v', '')}"
            )
        revision, start = int(parsed["rv"]), str(parsed["start"]).strip("/\x00")
    except (ValueError, KeyError, TypeError):
        raise failures.bad_request(
            f"invalid continue token: continue key is not valid: invalid character {text[:1]!r} looking for beginning "
            "of value"
        ) from None
    if namespace is not None:
        start = f"{namespace}/{start}"
    elif "/" not in start:
        start = f"/{start}"
    return revision, start
