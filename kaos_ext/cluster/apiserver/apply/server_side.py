"""Server-side apply and the tracking of updates: who owns which field after a write.

    server_side_apply   merges what a manager applies, takes out what it applied before and nobody else owns,
                        refuses (`ApplyConflict`) to change what others own unless forced
    track_update        after any other write: the writer owns what it changed, others lose that

Managers are entries of `metadata.managedFields`: an applier is known by name and subresource, an updater by name,
subresource and version. An apply that changes nothing leaves the times of its entry alone.

Call both with objects as decoded and defaulted, before anything else (admission, allocation) adds to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from kaos_ext.cluster.apiserver.apply import fields, merging
from kaos_ext.cluster.apiserver.apply.fields import EMPTY, FieldSet, Path
from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.schema.types import TypeMap

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
_BEFORE = "before-first-apply"
_ANCIENT = "ancient-changes"
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class ManagerId(NamedTuple):
    """What tells managers apart; `api_version` is empty for appliers."""

    manager: str
    operation: str
    api_version: str
    subresource: str

    def __str__(self) -> str:
        text = f'"{self.manager}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass(frozen=True, slots=True)
class Managed:
    """One manager's fields."""

    fields: FieldSet
    api_version: str
    time: str | None = None


Managers = dict[ManagerId, Managed]


class ApplyConflict(Exception):
    """An apply would change fields that others own: (manager, field) pairs; answer 409, reason Conflict."""

    def __init__(self, conflicts: Sequence[tuple[ManagerId, Path]]) -> None:
        self.conflicts = tuple(conflicts)
        self.message = _conflict_message(self.conflicts)
        self.causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {manager}",
                "field": fields.path_text(path),
            }
            for manager, path in self.conflicts
        ]
        super().__init__(self.message)


def _members_first(path: Path) -> tuple[tuple[bool, str], ...]:
    """The order in which sets of fields are walked: at each place what ends there, then what goes on below."""
    return tuple((depth < len(path) - 1, element) for depth, element in enumerate(path))


def _conflict_message(conflicts: Sequence[tuple[ManagerId, Path]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {fields.path_text(path)}"
    by_manager: dict[str, list[str]] = {}
    for manager, path in conflicts:
        by_manager.setdefault(str(manager), []).append(f"- {fields.path_text(path)}")
    parts = [f"conflicts with {manager}:\n" + "\n".join(paths) for manager, paths in sorted(by_manager.items())]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(parts)


def decode_managers(entries: Iterable[dict[str, Any]] | None) -> Managers:
    """`metadata.managedFields` read; entries that say nothing (`[{}]` clears) are left out."""
    managers: Managers = {}
    for entry in entries or ():
        if not entry.get("operation") or entry.get("fieldsV1") is None:
            continue
        operation, version = entry["operation"], entry.get("apiVersion") or ""
        key = ManagerId(
            entry.get("manager") or "unknown",
            operation,
            version if operation == UPDATE else "",
            entry.get("subresource") or "",
        )
        found = Managed(fields.from_v1(entry["fieldsV1"]), version, entry.get("time"))
        if key in managers:
            found = replace(found, fields=found.fields | managers[key].fields)
        managers[key] = found
    return managers


def encode_managers(managers: Managers) -> list[dict[str, Any]]:
    """Appliers first, then by time, name, version, as the real server orders them."""
    ordered = sorted(
        ((key, managed) for key, managed in managers.items() if managed.fields),
        key=lambda pair: (
            pair[0].operation,
            pair[1].time or "",
            pair[0].manager,
            pair[1].api_version,
            pair[0].subresource,
        ),
    )
    return [_entry(key, managed) for key, managed in ordered]


def _entry(key: ManagerId, managed: Managed) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "manager": key.manager,
        "operation": key.operation,
        "apiVersion": managed.api_version,
    }
    if managed.time:
        entry["time"] = managed.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields.to_v1(managed.fields)}
    if key.subresource:
        entry["subresource"] = key.subresource
    return entry


def _moment(now: datetime | str) -> str:
    return now if isinstance(now, str) else now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _without_managed(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata") or {}
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _with_managers(obj: dict[str, Any], managers: Managers) -> dict[str, Any]:
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    if entries := encode_managers(managers):
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def _reset(owned: FieldSet, subresource: str) -> FieldSet:
    """Without the fields that a write to this (sub)resource cannot change."""
    if subresource == "status":
        return frozenset(path for path in owned if path[0] != "f:spec" and path[:2] != ("f:metadata", "f:labels"))
    if subresource == "scale":
        return frozenset(path for path in owned if path[0] == "f:spec")
    return frozenset(path for path in owned if path[0] != "f:status")


def server_side_apply(
    live: dict[str, Any] | None,
    applied: dict[str, Any],
    *,
    manager: str,
    force: bool,
    type: TypeMap | None,
    subresource: str = "",
    now: datetime | str,
    api_version: str,
    empty: dict[str, Any] | None = None,
    status_subresource: bool = True,
) -> dict[str, Any]:
    """The live object (None to create) with `applied` merged in and its managedFields brought up to date.

    `empty` is what an object of the kind is before anything is set (`schema.builtin.zero`; nothing for custom ones).
    `status_subresource` says that the kind keeps its status for writes to `/status`.
    """
    check_applied(applied, type)
    before = _without_managed(live) if live is not None else dict(empty or {})
    managers = decode_managers(((live or {}).get("metadata") or {}).get("managedFields"))
    if live is not None and not managers:
        everything = _changes({**(empty or {})}, before, type)
        everything = _reset(everything, "") if status_subresource else everything
        if everything:
            managers[ManagerId(_BEFORE, UPDATE, api_version, "")] = Managed(everything, api_version, _moment(now))
    key = ManagerId(manager, APPLY, "", subresource)
    previous = managers.get(key)
    said = fields.strip(fields.fields_of(applied, type))
    said = _reset(said, subresource) if status_subresource or subresource else said
    managers[key] = Managed(said, api_version, previous.time if previous else None)
    merged = merging.merge(before, applied, type)
    after = _pruned(merged, managers, previous.fields if previous else EMPTY, type)
    difference = fields.compare(before, after, type)
    changed = fields.strip(frozenset(difference.added | difference.modified))
    if status_subresource or subresource:
        changed = _reset(changed, subresource)
    conflicts = [
        (other, path)
        for other in sorted(managers)
        if other != key
        for path in sorted(managers[other].fields & changed, key=_members_first)
    ]
    if conflicts and manager == _KUBECTL:
        noted = _noted(before, type)
        conflicts = [(other, path) for other, path in conflicts if path not in noted]
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    for other, managed in list(managers.items()):
        lost = (changed if other != key else EMPTY) | difference.removed
        managers[other] = replace(managed, fields=managed.fields - lost)
    if not difference.same or live is None:
        managers[key] = replace(managers[key], time=_moment(now))
    after = _with_managers(after, managers)
    if manager == _KUBECTL and live is not None:
        _keep_last_applied(after, applied)
    return after


def _noted(live: dict[str, Any], type: TypeMap | None) -> FieldSet:
    """What kubectl noted of its last client-side apply: its own, which it takes over from that manager unasked."""
    note = ((live.get("metadata") or {}).get("annotations") or {}).get(_LAST_APPLIED)
    try:
        applied = json.loads(note or "")
    except ValueError:
        return EMPTY
    return fields.fields_of(applied, type) if isinstance(applied, dict) else EMPTY


def _keep_last_applied(after: dict[str, Any], applied: dict[str, Any]) -> None:
    """kubectl's own note of what it applied last follows, so that one may go back to client-side apply."""
    annotations = after["metadata"].get("annotations") or {}
    if _LAST_APPLIED not in annotations:
        return
    metadata = dict(applied.get("metadata") or {})
    if _LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    noted = json.dumps({**applied, "metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    after["metadata"]["annotations"] = {**annotations, _LAST_APPLIED: noted + "\n"}


def check_applied(applied: dict[str, Any], type: TypeMap | None) -> None:
    """Refuse what cannot be applied: managedFields, undeclared members, items that have the same key."""
    metadata = applied.get("metadata") or {}
    if metadata.get("managedFields") is not None:
        raise PatchError(400, "metadata.managedFields must be nil")
    wrong = merging.problems(applied, type)
    if wrong:
        group, _, version = str(applied.get("apiVersion") or "").rpartition("/")
        what = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        text = wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in wrong)
        raise PatchError(
            500,
            f"failed to create typed patch object ({what}; {group}/{version}, Kind={applied.get('kind')}): {text}",
        )


def _pruned(merged: dict[str, Any], managers: Managers, last: FieldSet, type: TypeMap | None) -> dict[str, Any]:
    """Without what this manager applied before, does not any more, and no manager owns."""
    if not last:
        return merged
    last = fields.with_named_members(last, type)
    pruned = merging.remove(merged, last, type)
    owned: FieldSet = EMPTY.union(*(managed.fields for managed in managers.values()))
    everything = fields.with_named_members(fields.fields_of(merged, type), type)
    kept = fields.with_named_members(fields.fields_of(pruned, type), type)
    pruned = merging.remove(merged, everything - (kept | fields.with_named_members(owned, type)), type)
    kept = fields.with_named_members(fields.fields_of(pruned, type), type)
    return merging.remove(merged, (everything - kept) & last, type)


def _changes(old: dict[str, Any], new: dict[str, Any], type: TypeMap | None) -> FieldSet:
    difference = fields.compare(old, new, type)
    return fields.strip(frozenset(difference.added | difference.modified))


def track_update(
    old: dict[str, Any] | None,
    new: dict[str, Any],
    *,
    manager: str,
    operation: str = UPDATE,
    type: TypeMap | None,
    subresource: str = "",
    now: datetime | str,
    api_version: str,
    empty: dict[str, Any] | None = None,
    status_subresource: bool = True,
) -> list[dict[str, Any]]:
    """The managedFields after `old` (None when created) became `new` by a write that is no apply.

    A writer that sends managedFields of its own replaces them; `[{}]` or `[]` clears them, and then nothing is tracked
    until the next apply.
    """
    given = (new.get("metadata") or {}).get("managedFields")
    entries = ((old or {}).get("metadata") or {}).get("managedFields") if old is not None else None
    if given is not None and given != entries:
        entries = given
        if old is not None and not decode_managers(given):
            return []
    managers = decode_managers(entries)
    if old is not None and not managers:
        return []
    before = _without_managed(old) if old is not None else dict(empty or {})
    difference = fields.compare(before, _without_managed(new), type)
    changed = fields.strip(frozenset(difference.added | difference.modified))
    for other, managed in list(managers.items()):
        managers[other] = replace(managed, fields=managed.fields - changed - difference.removed)
    taken = _reset(changed, subresource) if status_subresource or subresource else changed
    if taken:
        key = ManagerId(manager, operation, api_version if operation == UPDATE else "", subresource)
        own = managers[key].fields if key in managers else EMPTY
        managers[key] = Managed(own | taken, api_version, _moment(now))
        before_own = decode_managers(entries).get(key)
        if before_own is not None:  # what it owned and changed again is its own still
            managers[key] = replace(managers[key], fields=own | taken | (before_own.fields - difference.removed))
    return encode_managers(_capped(managers))


def _capped(managers: Managers) -> Managers:
    """At most ten updaters: the oldest are folded into one."""
    updaters = sorted(
        (key for key in managers if key.operation == UPDATE and managers[key].fields),
        key=lambda key: managers[key].time or "",
    )
    surplus = len(updaters) - MAX_UPDATERS
    if surplus <= 0:
        return managers
    folded = [key for key in updaters if not key.subresource][: surplus + 1]
    if len(folded) < 2:
        return managers
    result = {key: managed for key, managed in managers.items() if key not in folded}
    version = managers[folded[-1]].api_version
    result[ManagerId(_ANCIENT, UPDATE, version, "")] = Managed(
        EMPTY.union(*(managers[key].fields for key in folded)), version, managers[folded[-1]].time
    )
    return result
