"""A built-in object as Go would have read and would write it again.

`decode` refuses values of the wrong type in the words of Go's JSON decoder, brings quantities and times to their
canonical form, drops nulls and empty values that Go does not write (`paused: false`, `labels: {}`), and writes what Go
writes though nobody set it (`status: {}`, `resources: {}`). Unknown members go too; prune first to learn their paths.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kaos_ext.cluster.apiserver.schema import quantities
from kaos_ext.cluster.apiserver.schema.builtin import Kind, builtin_components, component_name, go_members

Decoder = Callable[[Any, str, str], Any]
"""(value, struct, path) → the value; `struct` and `path` are for messages."""

_RANGES = {"int32": 1 << 31, "int64": 1 << 63}
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class DecodeError(ValueError):
    """The body is no object of its kind; the message is Go's."""


def decode(gvk: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    """A new object; the kind must be a built-in one."""
    name = component_name(gvk)
    if name is None:
        return obj
    decoded: dict[str, Any] = _component(name)(obj, gvk[2], "")
    return decoded


def decode_metadata(metadata: Any) -> dict[str, Any]:
    """The metadata of a custom resource, which is Go's like every other."""
    decoded: dict[str, Any] = _component("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")(metadata, "ObjectMeta", "")
    return decoded


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _wrong(value: Any, struct: str, path: str, go: str) -> DecodeError:
    where = f"Go struct field {struct}.{path}" if path else "Go value"
    kind = _kind_of(value)
    if kind == "number" and go.startswith(("int", "uint")):
        kind = f"number {value}"
    return DecodeError(f"json: cannot unmarshal {kind} into {where} of type {go}")


@cache
def _component(name: str) -> Decoder:
    schema = builtin_components()[name]
    last = name.rpartition(".")[2]
    if last == "Quantity":
        return _quantity
    if last == "IntOrString":
        return _int_or_string
    if last in ("Time", "MicroTime"):
        return _micro_time if last == "MicroTime" else _time
    if "properties" not in schema:
        return _anything
    return _struct(name)


def _struct(name: str) -> Decoder:
    properties: dict[str, Any] = builtin_components()[name]["properties"]
    package, _, own = name.rpartition(".")
    version = package.rpartition(".")[2]
    flags = go_members(name)
    made: dict[str, tuple[Decoder, bool]] | None = None
    always: list[tuple[str, Any]] = []

    def members() -> dict[str, tuple[Decoder, bool]]:
        nonlocal made
        if made is None:  # only when first used: types may be recursive
            made = {}
            for member, schema in properties.items():
                go = flags.get(member, "")
                keeps_empty = go[:1] in ("*", "!") or member in ("apiVersion", "kind")
                made[member] = (_value(schema, _go_type(go.lstrip("*!"), version)), keeps_empty)
                if "!" in go[:2]:
                    always.append((member, None if go.startswith("*") else _empty(schema)))
        return made

    def read(value: Any, struct: str, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, struct, path, f"{version}.{own}")
        known = members()
        result: dict[str, Any] = {}
        for member, given in value.items():
            found = known.get(member)
            if found is None or given is None:
                continue
            decoder, keeps_empty = found
            decoded = decoder(given, own, f"{path}.{member}" if path else member)
            if decoded or keeps_empty or decoded is None:
                if decoded is not None:
                    result[member] = decoded
            elif isinstance(decoded, dict) and member == "metadata":
                result[member] = decoded
        for member, empty in always:
            if member not in result:
                result[member] = empty() if callable(empty) else empty
        return result

    return read


def _go_type(go: str, version: str) -> str:
    """With the package of a type of one's own."""
    found = re.fullmatch(r"((?:\[\]|map\[\w+\])*)\*?([A-Z]\w*)", go)
    if found:
        return f"{found[1]}{version}.{found[2]}"
    return go.replace("metav1.", "v1.")


def _empty(schema: dict[str, Any]) -> Any:
    target = str(schema.get("$ref") or "").rpartition("/")[2]
    if target and "properties" in builtin_components()[target]:
        return lambda: _component(target)({}, "", "")
    return {"string": "", "integer": 0, "number": 0, "boolean": False}.get(schema.get("type", ""))


def _value(schema: dict[str, Any], go: str) -> Decoder:
    target = str(schema.get("$ref") or "").rpartition("/")[2]
    if target:
        return _component(target)
    kind = schema.get("type")
    if kind == "string":
        return _bytes if schema.get("format") == "byte" else _text(go or "string")
    if kind == "integer":
        return _integer(go or schema.get("format") or "int64")
    if kind == "boolean":
        return _boolean
    if kind == "number":
        return _number
    if kind == "array":
        return _list(_value(schema.get("items") or {}, go.removeprefix("[]")), go or "[]interface {}")
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        each = _value(schema["additionalProperties"], re.sub(r"^map\[\w+\]", "", go))
        return _map(each, go or "map[string]string")
    return _anything


def _anything(value: Any, struct: str, path: str) -> Any:
    return value


def _text(go: str) -> Decoder:
    def read(value: Any, struct: str, path: str) -> Any:
        if not isinstance(value, str):
            raise _wrong(value, struct, path, go)
        return value

    return read


def _integer(go: str) -> Decoder:
    limit = _RANGES.get(go, 1 << 63)

    def read(value: Any, struct: str, path: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong(value, struct, path, go)
        if isinstance(value, float) and not value.is_integer():
            raise _wrong(value, struct, path, go)
        if not -limit <= value < limit:
            raise _wrong(value, struct, path, go)
        return int(value)

    return read


def _boolean(value: Any, struct: str, path: str) -> Any:
    if not isinstance(value, bool):
        raise _wrong(value, struct, path, "bool")
    return value


def _number(value: Any, struct: str, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, struct, path, "float64")
    return value


_LINE_ENDS = {ord("\r"): None, ord("\n"): None}
"""Where base64 may be broken."""


def _bytes(value: Any, struct: str, path: str) -> Any:
    if not isinstance(value, str):
        raise _wrong(value, struct, path, "[]uint8")
    try:
        base64.b64decode(value.translate(_LINE_ENDS), validate=True)
    except (binascii.Error, ValueError):
        bad = re.search(r"[^A-Za-z0-9+/\r\n]", value)
        at = bad.start() if bad else len(value) - len(value) % 4
        raise DecodeError(f"illegal base64 data at input byte {at}") from None
    return value.translate(_LINE_ENDS) if "\n" in value else value


def _list(each: Decoder, go: str) -> Decoder:
    def read(value: Any, struct: str, path: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, struct, path, go)
        return [each(item, struct, path) for item in value]

    return read


def _map(each: Decoder, go: str) -> Decoder:
    def read(value: Any, struct: str, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, struct, path, go)
        return {key: "" if item is None else each(item, struct, path) for key, item in value.items()}

    return read


def _quantity(value: Any, struct: str, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DecodeError(quantities.MALFORMED)
    try:
        return quantities.canonical(str(value))
    except quantities.QuantityError as error:
        raise DecodeError(str(error)) from None


def _int_or_string(value: Any, struct: str, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DecodeError(f"json: cannot unmarshal {_kind_of(value)} into Go value of type int32")
    return value


def _moment(value: Any, struct: str, path: str) -> tuple[datetime, str]:
    if not isinstance(value, str):
        raise _wrong(value, struct, path, "string")
    found = _TIME.fullmatch(value)
    try:
        if found is None:
            raise ValueError
        zone = "+00:00" if found[4] in "Zz" else found[4]
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").astimezone(UTC)
    except ValueError:
        layout = "2006-01-02T15:04:05Z07:00"
        raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"') from None
    return moment, (found[3] or "")[1:]


def _time(value: Any, struct: str, path: str) -> Any:
    return _moment(value, struct, path)[0].strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


def _micro_time(value: Any, struct: str, path: str) -> Any:
    if not value:
        return None
    moment, fraction = _moment(value, struct, path)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction[:6]:0<6}Z"
