"""OpenAPI v2 of what is served: the schemas alone, as JSON and in the protobuf form that older clients ask for.

Made from the schemas of v3. What v2 cannot say is left out, as a real server leaves it out: alternatives, and the
insides of what may be null or has unknown fields.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

Object = dict[str, Any]
PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_AS = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""The older name, which clients ask by; `@` may not be in a media type, so the answer has the newer."""
_LEFT_OUT = frozenset({"oneOf", "anyOf", "not", "nullable", "x-kubernetes-validations"})
_GVK = "x-kubernetes-group-version-kind"
_DROPPED_INSIDES = ("items", "properties")


def document(schemas: Mapping[str, Object]) -> Object:
    """A v2 document with these schemas of v3 as its definitions."""
    definitions = {name: _kind(schema) for name, schema in sorted(schemas.items())}
    info = {"title": "Kubernetes", "version": "v1.36.3"}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": definitions}


def _kind(schema: Object) -> Object:
    """Of a kind with unknown fields nothing is said: clients of v2 take any member they know for all there are."""
    if _GVK in schema and schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object", _GVK: schema[_GVK]}
    return _schema(schema)


def _schema(schema: Object) -> Object:
    made: Object = {}
    for key, value in schema.items():
        if key in _LEFT_OUT:
            continue
        if key == "$ref":
            made[key] = value.replace("#/components/schemas/", "#/definitions/")
        elif key == "allOf":
            if len(value) == 1 and "$ref" in value[0]:  # how v3 puts words beside a reference
                made["$ref"] = value[0]["$ref"].replace("#/components/schemas/", "#/definitions/")
        elif key == "properties":
            made[key] = {name: _schema(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            made[key] = _schema(value)
        else:
            made[key] = value
    if "$ref" in made:
        return {key: made[key] for key in ("$ref", "description") if key in made}
    if schema.get("nullable"):
        made = {key: value for key, value in made.items() if key not in ("type", "additionalProperties")}
    if schema.get("nullable") or schema.get("x-kubernetes-preserve-unknown-fields"):
        made = {key: value for key, value in made.items() if key not in _DROPPED_INSIDES}
    if "properties" in made and "required" in made:
        inner = schema.get("properties") or {}
        made["required"] = [name for name in made["required"] if not inner.get(name, {}).get("nullable")]
        if not made["required"]:
            del made["required"]
    return made


def protobuf(document: Object) -> bytes:
    """A gnostic `openapi.v2.Document`."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    definitions = b"".join(_named(1, name, _encoded(one)) for name, one in document["definitions"].items())
    return _text(1, document["swagger"]) + _bytes(2, info) + _bytes(8, b"") + _bytes(9, definitions)


_TEXTS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_DOUBLES = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_FLAGS = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16}
_COUNTS = {
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "maxProperties": 17,
    "minProperties": 18,
}


def _encoded(schema: Object) -> bytes:
    return b"".join(_members(schema))


def _members(schema: Object) -> Iterator[bytes]:
    for key, value in schema.items():
        if key in _TEXTS:
            yield _text(_TEXTS[key], value)
        elif key in _DOUBLES:
            yield _tag(_DOUBLES[key], 1) + struct.pack("<d", value)
        elif key in _FLAGS:
            yield _number(_FLAGS[key], int(value))
        elif key in _COUNTS:
            yield _number(_COUNTS[key], value)
        elif key in ("default", "example"):
            yield _bytes(5 if key == "default" else 30, _any(value))
        elif key == "required":
            yield from (_text(19, name) for name in value)
        elif key == "enum":
            yield from (_bytes(20, _any(one)) for one in value)
        elif key == "additionalProperties":
            yield _bytes(21, _bytes(1, _encoded(value)) if isinstance(value, dict) else _number(2, int(value)))
        elif key == "type":
            yield _bytes(22, _text(1, value))
        elif key == "items":
            yield _bytes(23, _bytes(1, _encoded(value)))
        elif key == "properties":
            yield _bytes(25, b"".join(_named(1, name, _encoded(child)) for name, child in value.items()))
        elif key == "externalDocs":
            parts = [_text(number, value[part]) for number, part in ((1, "description"), (2, "url")) if part in value]
            yield _bytes(29, b"".join(parts))
        elif key.startswith("x-"):
            yield _named(31, key, _any(value))


def _any(value: Any) -> bytes:
    return _text(2, json.dumps(value))


def _named(number: int, name: str, value: bytes) -> bytes:
    return _bytes(number, _text(1, name) + _bytes(2, value))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _tag(number, 0) + _varint(int(value))


def _bytes(number: int, value: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())
