"""Protobuf request bodies of Go clients, decoded into the JSON they stand for.

A body is `k8s\\0` and a `runtime.Unknown` (type, raw message). Messages are decoded by a table of fields of the
built-in types. Go writes zero values of plain members; they are dropped, as its JSON would drop them, but not those of
members that are pointers there, where zero says something (`replicas: 0`).
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kaos_ext.cluster.apiserver.data import table

MAGIC = b"k8s\x00"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_META_KINDS = frozenset({"DeleteOptions", "Status", "CreateOptions", "UpdateOptions", "PatchOptions", "ListOptions"})
_PACKAGES = {
    "internal.apiserver.k8s.io": "k8s.io.api.apiserverinternal",
    "": "k8s.io.api.core",
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
}
_INLINED = frozenset(
    {
        "localObjectReference",
        "ingressRuleValue",
        "volumeSource",
        "handler",
        "probeHandler",
        "ruleWithOperations",
        "rule",
        "persistentVolumeSource",
        "deviceConfiguration",
        "typeMeta",
        "ephemeralContainerCommon",
    }
)
_QUANTITY, _TIME, _MICROTIME = "k8s.io.apimachinery.pkg.api.resource.Quantity", f"{_META}.Time", f"{_META}.MicroTime"


class ProtobufError(ValueError):
    """A body that is not the message it says it is, or a type the table does not know."""


def decode(body: bytes) -> dict[str, Any]:
    """The object in a `k8s\\0` envelope, with its apiVersion and kind."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        return _decode(memoryview(body)[len(MAGIC) :])
    except (IndexError, UnicodeDecodeError) as error:
        raise ProtobufError(f"proto: unexpected end or text that is not UTF-8: {error}") from None


def _decode(body: memoryview) -> dict[str, Any]:
    api_version = kind = ""
    raw = memoryview(b"")
    for number, value in _fields(body):
        if number == 1 and isinstance(value, memoryview):
            for member, text in _fields(value):
                if member == 1 and isinstance(text, memoryview):
                    api_version = bytes(text).decode()
                elif member == 2 and isinstance(text, memoryview):
                    kind = bytes(text).decode()
        elif number == 2 and isinstance(value, memoryview):
            raw = value
    message = _message_of(api_version, kind)
    if message is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
    return {"apiVersion": api_version, "kind": kind, **_message(message, raw)}


def _message_of(api_version: str, kind: str) -> str | None:
    group, _, version = api_version.rpartition("/")
    messages = table("protobuf.json.gz")
    package = _PACKAGES.get(group) or f"k8s.io.api.{group.partition('.')[0]}"
    name = f"{package}.{version}.{kind}"
    if name not in messages and kind in _META_KINDS:
        name = f"{_META}.{kind}"
    return name if name in messages else None


@cache
def _members(message: str) -> dict[int, tuple[str, str, bool]]:
    """number → (name, full type, repeated)."""
    package = message.rpartition(".")[0]
    messages = table("protobuf.json.gz")

    def full(kind: str) -> str:
        if kind.startswith("map<"):
            key, _, value = kind[4:-1].partition(",")
            return f"map<{key},{full(value.strip())}>"
        kind = kind.lstrip(".")
        local = f"{package}.{kind}"
        return local if local in messages else kind

    return {int(number): (name, full(kind), bool(many)) for number, (name, kind, many) in messages[message].items()}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ProtobufError("proto: integer overflow")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"proto: illegal wireType {kind}")
        if at + size > end:
            raise ProtobufError("unexpected EOF")
        yield tag >> 3, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _message(name: str, data: memoryview) -> dict[str, Any]:
    members = _members(name)
    result: dict[str, Any] = {}
    for number, raw in _fields(data):
        member = members.get(number)
        if member is None:
            continue
        field, kind, repeated = member
        if kind.startswith("map<"):
            key, value = _entry(kind, raw)
            result.setdefault(field, {})[key] = value
            continue
        value = _value(kind, raw)
        if repeated:
            result.setdefault(field, []).append(value)
        elif field in _INLINED and isinstance(value, dict) and not _is_reference(name, field):
            result.update(value)
        elif value is not None and (value or isinstance(value, dict | list) or _zero_speaks(name, field, value)):
            result[field] = value
    return result


def _zero_speaks(message: str, field: str, value: Any) -> bool:
    """Whether zero was said by the client: a pointer in Go, or a number or flag that is always written."""
    type = message.replace("k8s.io.", "io.k8s.", 1).replace("_", "-")
    go: str = table("golang.json.gz").get(type, {}).get(field, "")
    return go.startswith("*") or (go.startswith("!") and value != "")


def _is_reference(message: str, field: str) -> bool:
    """Members that carry an inlined name but are real ones."""
    return field == "rule" and message.endswith(("JSONSchemaProps", "ValidationRule"))


def _entry(kind: str, raw: int | memoryview) -> tuple[str, Any]:
    value_kind = kind[4:-1].partition(",")[2]
    key, value = "", _zero(value_kind)
    if isinstance(raw, memoryview):
        for number, part in _fields(raw):
            if number == 1 and isinstance(part, memoryview):
                key = bytes(part).decode()
            elif number == 2:
                value = _value(value_kind, part)
    return key, value


def _zero(kind: str) -> Any:
    return "" if kind in ("string", "bytes") else 0 if kind.startswith(("int", "uint")) else None


def _value(kind: str, raw: int | memoryview) -> Any:
    if isinstance(raw, int):
        return bool(raw) if kind == "bool" else _signed(raw)
    if kind == "string":
        return bytes(raw).decode()
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind in ("double", "float"):
        (number,) = struct.unpack("<d" if kind == "double" else "<f", raw)
        return int(number) if number.is_integer() else number
    if kind in (_TIME, _MICROTIME):
        return _time(raw, micro=kind == _MICROTIME)
    last = kind.rpartition(".")[2]
    if last == "IntOrString":
        parts = dict(_fields(raw))
        text = parts.get(3, b"")
        return bytes(text).decode() if parts.get(1) and not isinstance(text, int) else _int32(parts.get(2, 0))
    if last == "Quantity":
        return next((bytes(part).decode() for _, part in _fields(raw) if not isinstance(part, int)), "")
    if last in ("RawExtension", "JSON", "FieldsV1"):
        text = next((bytes(part) for _, part in _fields(raw) if not isinstance(part, int)), b"")
        return json.loads(text) if text else None
    if last in ("Verbs", "ExtraValue"):
        return [bytes(part).decode() for _, part in _fields(raw) if not isinstance(part, int)]
    if last in _UNIONS:
        return _union(kind, raw)
    if kind not in table("protobuf.json.gz"):
        raise ProtobufError(f"a message of type {kind} is not known")
    return _message(kind, raw)


_UNIONS = frozenset({"JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"})


def _union(kind: str, raw: memoryview) -> Any:
    """A schema where JSON has a schema or something else: what is said stands in its place, without a name."""
    said = _message(kind, raw)
    if "schema" in said:
        return said["schema"]
    if kind.endswith("OrBool"):
        return bool(said.get("allows"))
    return said.get("jSONSchemas") or said.get("property") or []


def _int32(value: int | memoryview) -> int:
    return _signed(value) if isinstance(value, int) else 0


def _time(raw: memoryview, *, micro: bool) -> str | None:
    parts = {number: _int32(value) for number, value in _fields(raw)}
    if not parts:
        return None
    moment = datetime.fromtimestamp(parts.get(1, 0), UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{parts.get(2, 0) // 1000:06d}Z" if micro else f"{text}Z"
