"""What a body must be to be stored.

It belongs to the path it was sent to, has the shape of its kind (unknown fields, defaults), says whose its fields are,
and is valid. None of this looks at anything stored but the object as it was.
"""

from __future__ import annotations

import json

from kaos_ext.cluster.apiserver import bodies, failures, rules
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.decoding import DecodeError
from kaos_ext.cluster.apiserver.schema.errors import invalid
from kaos_ext.kube.objects import Object

_SHOWN = 30
"""Letters of a body that a refusal repeats."""


def check_body(served: Served, object: Object, namespace: str, name: str, options: WriteOptions) -> None:
    """Does the body belong to the path it was sent to?"""
    problem = rules.head_problem(served, object)
    if problem:
        raise failures.bad_request(rules.cannot_be_handled(served, problem))
    meta = object.get("metadata")
    if meta is None:
        meta = object["metadata"] = {}
    kind, api_version = object.get("kind"), object.get("apiVersion")
    if kind and kind != served.kind:
        if options.unreadable is not None and not served.custom:
            raise options.unreadable(object, rules.unregistered(str(kind), str(api_version)))
        if served.custom:
            raise failures.invalid(
                served.group, str(kind), str(meta.get("name") or ""), [invalid("kind", kind, f"must be {served.kind}")]
            )
        raise failures.bad_request(rules.foreign(object, served))
    if served.custom and options.patched and api_version != served.api_version:
        why = invalid("apiVersion", api_version, f"must be {served.api_version}")
        raise failures.invalid(served.group, served.kind, str(meta.get("name") or ""), [why])
    if api_version != served.api_version and (api_version or served.custom):
        if not served.custom and str(api_version).rpartition("/")[0] == served.group:
            words = rules.unregistered(served.kind, str(api_version))
            if options.unreadable is not None:
                raise options.unreadable(object, words)
            version = str(api_version).rpartition("/")[2]
            raise failures.bad_request(
                f'{served.kind} in version "{version}" cannot be handled as a {served.kind}: {words}'
            )
        raise failures.bad_request(
            f"the API version in the data ({api_version or ''}) does not match the expected API version "
            f"({served.api_version})"
        )
    if served.custom and not kind and not options.patched:
        text = json.dumps({key: one for key, one in object.items() if key != "kind"})
        cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
        raise failures.bad_request(
            f"the object provided is unrecognized (must be of type {served.kind}): Object 'Kind' is missing in "
            f"'{text}' ({cut})"
        )
    object["kind"], object["apiVersion"] = served.kind, served.api_version
    given = meta.get("namespace")
    if served.namespaced and given and given != namespace:
        raise failures.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name and meta.get("name") != name:
        if meta.get("name"):
            raise failures.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            )
        raise failures.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )


def shaped(served: Served, object: Object, options: WriteOptions, *, quiet: bool = False) -> Object:
    """The object with its defaults and without what it has too much, which is warned of or refused unless `quiet`."""
    unknown: list[str] | None = None if quiet or options.validation == "Ignore" else []
    try:
        made = rules.shape(served, object, unknown=unknown)
    except DecodeError as error:
        if options.unreadable is not None:
            raise options.unreadable(object, str(error)) from None
        raise failures.bad_request(rules.cannot_be_handled(served, str(error))) from None
    words = [] if quiet else [*options.duplicates, *rules.unknown_words(unknown or ())]
    if unknown and options.text and served.definition is None:
        # The decoder of a built-in kind finds both at once; of a custom one the schema finds what is unknown, later.
        words = bodies.in_order(options.text, words)
    if words:
        if options.strict:
            raise failures.bad_request(rules.cannot_be_handled(served, rules.strict_error(words)))
        options.warnings += words
    return made


def track(served: Served, old: Object | None, new: Object, options: WriteOptions, subresource: str) -> None:
    """Write down whose fields the new object has."""
    managed = rules.managed_fields(served, old, new, options.manager, subresource)
    if managed:
        new["metadata"]["managedFields"] = managed
    else:
        new["metadata"].pop("managedFields", None)


def refuse(served: Served, new: Object, old: Object | None, subresource: str) -> None:
    """Raise what is wrong with the new object, if anything is."""
    complaints = rules.complaints(served, new, old, subresource)
    if complaints:
        group = "" if served.storage == "/events" else served.group
        raise failures.invalid(group, served.kind, new["metadata"].get("name") or "", complaints)
