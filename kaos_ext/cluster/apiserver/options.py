"""The options of requests: what the query string, the headers and a DeleteOptions body ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.identity import UserInfo, admin
from kaos_ext.cluster.apiserver.schema.errors import FieldError, forbidden, invalid, too_long
from kaos_ext.kube.objects import ApiError, Object

SELF = admin("system:apiserver")
TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def is_true(query: Mapping[str, str], key: str) -> bool:
    """Whether a switch is on: given, and neither `false` nor `0`."""
    value = query.get(key)
    return value is not None and value.lower() not in ("false", "0")


def unsupported(path: str, value: Any, supported: str) -> FieldError:
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {value}: supported values: {supported}")


@dataclass(slots=True)
class WriteOptions:
    """Of a create, update or patch; `warnings` collects what the answer's headers will say."""

    manager: str = "unknown"
    named_manager: bool = False
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False
    warnings: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    """What the body says twice, in the words of a refusal or warning."""
    text: str = ""
    """The body, where it is JSON that says something twice."""
    patched: bool = False
    """The object is what a patch made."""
    unreadable: Callable[[Object, str], ApiError] | None = None
    """How to refuse an object that is none of its kind, where that is not simply a bad request."""
    user: UserInfo = field(default_factory=lambda: SELF)
    """On whose behalf."""

    @property
    def strict(self) -> bool:
        return self.validation == "Strict"


def write_options(kind: str, query: Mapping[str, str], agent: str, user: UserInfo = SELF) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions, for the refusal's words."""
    complaints: list[FieldError] = []
    dry_run = query.get("dryRun", "")
    if dry_run and dry_run != "All":
        complaints.append(unsupported("dryRun", f'["{dry_run}"]', '"All"'))
    validation = query.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        complaints.append(unsupported("fieldValidation", f'"{validation}"', '"", "Ignore", "Strict", "Warn"'))
    manager = query.get("fieldManager", "")
    complaints += manager_complaints(manager)
    if complaints:
        raise failures.invalid("meta.k8s.io", kind, "", complaints)
    return WriteOptions(
        manager=manager or agent_name(agent),
        named_manager=bool(manager),
        dry_run=bool(dry_run),
        validation=validation or "Warn",
        force=is_true(query, "force"),
        user=user,
    )


def manager_complaints(manager: str) -> list[FieldError]:
    if len(manager.encode()) > 128:
        return [too_long("fieldManager", 128)]
    for place, letter in enumerate(manager):
        if not letter.isprintable():
            why = f"invalid character U+{ord(letter):04X} (at position {place})"
            shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in manager)
            return [FieldError("fieldManager", "FieldValueInvalid", f'Invalid value: "{shown}": {why}')]
    return []


def agent_name(agent: str) -> str:
    """The manager of a client that names none: its User-Agent up to the first slash."""
    return re.split(r"[/ ]", agent, maxsplit=1)[0][:128] or "unknown"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_seconds: int | None = None
    propagation: str = ""
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False
    user: UserInfo = SELF


def delete_options(query: Mapping[str, str], body: Object | None, user: UserInfo = SELF) -> DeleteOptions:
    """The body's words go before the query's."""
    body = body or {}
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = whole_number(query["gracePeriodSeconds"])
    propagation = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    orphan = body.get("orphanDependents")
    if orphan is None and "orphanDependents" in query:
        orphan = is_true(query, "orphanDependents")
    both = bool(propagation) and orphan is not None
    if not propagation and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    dry_run = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    complaints: list[FieldError] = []
    if both:
        why = "orphanDependents and deletionPropagation cannot be both set"
        complaints.append(invalid("propagationPolicy", propagation, why))
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        complaints.append(
            unsupported("propagationPolicy", f'"{propagation}"', '"Foreground", "Background", "Orphan", "nil"')
        )
    if dry_run and dry_run != ["All"]:
        shown = ", ".join(f'"{one}"' for one in dry_run)
        complaints.append(unsupported("dryRun", f"[{shown}]", '"All"'))
    if complaints:
        raise failures.invalid("meta.k8s.io", "DeleteOptions", "", complaints)
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace_seconds=grace,
        propagation=propagation,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=bool(dry_run),
        user=user,
    )


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise failures.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of a list or a watch."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout_seconds: int | None = None


def list_options(query: Mapping[str, str]) -> ListOptions:
    initial = query.get("sendInitialEvents")
    options = ListOptions(
        labels=query.get("labelSelector", ""),
        fields=query.get("fieldSelector", ""),
        limit=max(0, whole_number(query["limit"])) if query.get("limit") else 0,
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        watch=is_true(query, "watch"),
        bookmarks=is_true(query, "allowWatchBookmarks"),
        initial_events=None if initial is None else is_true(query, "sendInitialEvents"),
        timeout_seconds=whole_number(query["timeoutSeconds"]) if query.get("timeoutSeconds") else None,
    )
    complaints = _watch_complaints(options) if options.watch else _list_complaints(options)
    if complaints:
        raise failures.invalid("meta.k8s.io", "ListOptions", "", complaints)
    return options


def _watch_complaints(options: ListOptions) -> list[FieldError]:
    found: list[FieldError] = []
    if options.initial_events is not None:
        if options.match != "NotOlderThan":
            found.append(
                forbidden(
                    "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                )
            )
            if options.match:
                found.append(unsupported("resourceVersionMatch", f'"{options.match}"', '"NotOlderThan"'))
    elif options.match:
        found.append(
            forbidden(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        )
    if options.continue_token:
        found.append(forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    return found


def _list_complaints(options: ListOptions) -> list[FieldError]:
    found: list[FieldError] = []
    path = "resourceVersionMatch"
    if options.match:
        if not options.resource_version:
            found.append(forbidden(path, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_token:
            found.append(forbidden(path, "resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in ("Exact", "NotOlderThan"):
            found.append(unsupported(path, f'"{options.match}"', '"Exact", "NotOlderThan", ""'))
        elif options.match == "Exact" and options.resource_version == "0":
            found.append(forbidden(path, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.initial_events is not None:
        found.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found
