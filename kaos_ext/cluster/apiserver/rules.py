"""What is known of each kind: its schema, its defaults, its validation, the types of its fields.

The one place where the serving half asks the pure half; everything here is loaded when a kind is first written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kaos_ext.cluster.apiserver import failures, validation
from kaos_ext.cluster.apiserver.apply.server_side import track_update
from kaos_ext.cluster.apiserver.defaults import prepare
from kaos_ext.cluster.apiserver.metadata import timestamp
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema import builtin
from kaos_ext.cluster.apiserver.schema.decoding import DecodeError, decode, decode_metadata
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.ratcheting import ratcheted
from kaos_ext.kube.objects import Object


def shape(served: Served, object: Object, *, unknown: list[str] | None = None) -> Object:
    """A body as the kind has it: unknown fields dropped, values read as Go reads them, defaults filled in.

    The paths of what was dropped go to `unknown`, if somebody wants to know. DecodeError says that the body is no
    object of this kind at all (a number where a string belongs).
    """
    if served.definition is None:
        if unknown is not None:
            unknown += unknown_fields(served, object)
        prepared: Object = prepare(gvk(served), object)
        return prepared
    if unknown is not None:
        unknown += unknown_fields(served, object)
    object["metadata"] = decode_metadata(object["metadata"])
    served.definition.shape(served.version, object)
    return object


def complaints(served: Served, new: Object, old: Object | None, subresource: str) -> list[FieldError]:
    """What is wrong with the fields of a new object, or of a change of an old one."""
    if subresource == "binding":
        return []
    found = validation.complaints(gvk(served), new, old, subresource)
    if served.definition is not None:
        version = served.definition.version(served.version)
        wrong = version.schema.validate(new)
        if wrong and old is not None:
            wrong = ratcheted(wrong, new, old, version.openapi)
        found += wrong or version.judge(new, old)
    return found


def managed_fields(
    served: Served, old: Object | None, new: Object, manager: str, subresource: str
) -> list[dict[str, Any]]:
    """Who owns which field after an update by `manager`."""
    return track_update(
        old,
        new,
        manager=manager,
        type=type_of(served),
        subresource=subresource,
        now=timestamp(),
        api_version=served.api_version,
        empty=empty(served),
        status_subresource=served.has("status"),
    )


def empty(served: Served) -> Object | None:
    """What an object of the kind is before anyone sets anything."""
    return None if served.definition is not None else builtin.zero(gvk(served))


def gvk(served: Served) -> tuple[str, str, str]:
    return (served.group, served.version, served.kind)


def foreign(object: Object, served: Served) -> str:
    """The words for a body of another kind."""
    api_version, kind = object.get("apiVersion") or served.api_version, object["kind"]
    package = "v1" if "/" not in api_version else api_version.replace("/", "")
    version = api_version.rpartition("/")[2]
    internal = served.group.split(".")[0] or "core"
    return (
        f'{kind} in version "{version}" cannot be handled as a {served.kind}: converting ({package}.{kind}) to '
        f"({internal}.{served.kind}): unknown conversion"
    )


def cannot_be_handled(served: Served, why: str) -> str:
    return f'{served.kind} in version "{served.version}" cannot be handled as a {served.kind}: {why}'


def unregistered(kind: str, api_version: str) -> str:
    return f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:111"'


def unknown_words(paths: Iterable[str]) -> list[str]:
    return [f'unknown field "{path}"' for path in paths]


def strict_error(words: Iterable[str]) -> str:
    return "strict decoding error: " + ", ".join(words)


def read(gvk: tuple[str, str, str], object: Object) -> Object:
    """A body of a kind that is not stored, read as Go reads it."""
    try:
        return decode(gvk, object)
    except DecodeError as error:
        kind, version = gvk[2], gvk[1]
        why = f'{kind} in version "{version}" cannot be handled as a {kind}: {error}'
        raise failures.bad_request(why) from None


def head_problem(served: Served, object: Object) -> str:
    """What is wrong with the parts of a body that are looked at before it is read as a whole; empty when nothing."""
    meta = object.get("metadata")
    for where, value, type in (
        ("kind", object.get("kind"), str),
        ("apiVersion", object.get("apiVersion"), str),
        ("metadata", meta, dict),
        *((f"metadata.{key}", meta.get(key), str) for key in _NAMES if isinstance(meta, dict)),
    ):
        if value is not None and not isinstance(value, type):
            go = "v1.ObjectMeta" if type is dict else "string"
            return f"json: cannot unmarshal {_go_kind(value)} into Go struct field {served.kind}.{where} of type {go}"
    return ""


_NAMES = ("name", "generateName", "namespace", "uid", "resourceVersion")


def _go_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "number"


def type_of(served: Served) -> Any:
    """How objects of this kind merge: which lists are keyed by what."""
    if served.definition is not None:
        return served.definition.version(served.version).type
    return builtin.typed(gvk(served))


def unknown_fields(served: Served, object: Object) -> list[str]:
    """The paths `shape` would drop, in the order of the body."""
    if served.definition is not None:
        found = served.definition.version(served.version).schema.unknown_fields(object)
    else:
        schema = builtin.compiled(gvk(served))
        found = schema.unknown_fields(object) if schema is not None else []
    if len(found) > 1:
        places = {path: index for index, path in enumerate(_paths(object, ""))}
        found.sort(key=lambda path: places.get(path, len(places)))
    return found


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            below = f"{path}.{key}" if path else key
            yield below
            yield from _paths(one, below)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _paths(one, f"{path}[{index}]")
