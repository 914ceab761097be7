"""The types that a schema gives to `self` and what is below it, and how large such values can grow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REQUEST_BYTES = 3 * 1024 * 1024
_RESERVED = frozenset(
    (
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    )
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_FORMATS = {"date": "timestamp", "date-time": "timestamp", "duration": "duration", "byte": "bytes"}
_FORMAT_SIZES = {"date": 10, "date-time": 25, "duration": 32}


@dataclass(frozen=True, slots=True)
class Type:
    """`dyn` is any; `fields` those of an object, `element` that of lists and maps; `limit` the largest size."""

    kind: str
    fields: Mapping[str, Type] = field(default_factory=dict)
    element: Type | None = None
    limit: int = 1


DYN = Type("dyn", limit=1000)
BOOL, INT, DOUBLE, STRING = Type("bool"), Type("int"), Type("double"), Type("string", limit=REQUEST_BYTES)
_NAMES = {
    "apiVersion": STRING,
    "kind": STRING,
    "metadata": Type("object", {"name": STRING, "generateName": STRING}),
}


def type_of(schema: Mapping[str, Any], *, root: bool = False) -> Type:
    """The type of a schema's values."""
    if schema.get("x-kubernetes-int-or-string"):
        return DYN
    kind = schema.get("type") or ""
    if kind == "object":
        return _object(schema, root or bool(schema.get("x-kubernetes-embedded-resource")))
    if kind == "array":
        items = schema.get("items") or {}
        limit = schema.get("maxItems")
        if limit is None:
            limit = (REQUEST_BYTES - 2) // (smallest(items) + 1)
        return Type("list", element=type_of(items), limit=limit)
    if kind == "string":
        return _string(schema)
    return {"integer": INT, "number": DOUBLE, "boolean": BOOL}.get(kind, DYN)


def _object(schema: Mapping[str, Any], named: bool) -> Type:
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        limit = schema.get("maxProperties")
        if limit is None:
            limit = (REQUEST_BYTES - 2) // (smallest(additional) + 6)
        return Type("map", element=type_of(additional), limit=limit)
    if additional is True:
        return Type("map", element=DYN, limit=REQUEST_BYTES // 6)
    properties = schema.get("properties")
    if not properties and not named and schema.get("x-kubernetes-preserve-unknown-fields"):
        return DYN
    fields = {escaped(name): type_of(one) for name, one in (properties or {}).items()}
    return Type("object", {**fields, **_NAMES} if named else fields)


def _string(schema: Mapping[str, Any]) -> Type:
    form = schema.get("format") or ""
    if form in _FORMAT_SIZES:
        return Type(_FORMATS[form], limit=_FORMAT_SIZES[form])
    kind = _FORMATS.get(form, "string")
    if schema.get("maxLength") is not None:
        return Type(kind, limit=max(0, schema["maxLength"]) * (1 if kind == "bytes" else 4))
    if schema.get("enum"):
        return Type(kind, limit=max(len(str(one)) for one in schema["enum"]))
    return Type(kind, limit=REQUEST_BYTES - 2)


def smallest(schema: Mapping[str, Any]) -> int:
    """The fewest bytes a value takes in a request."""
    kind = schema.get("type")
    if kind == "string":
        return 2
    if kind == "boolean":
        return 4
    if kind == "object":
        size = 2
        properties = schema.get("properties") or {}
        for name in schema.get("required") or ():
            if name in properties and "default" not in properties[name]:
                size += len(name) + 4 + smallest(properties[name])
        return size
    return 2 if kind == "array" else 1


def escaped(name: str) -> str:
    """A property's name as CEL can write it."""
    if name in _RESERVED:
        return f"__{name}__"
    if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) and "__" not in name:
        return name
    return re.sub(r"__|[.\-/]", lambda found: dict(_ESCAPES)[found[0]], name)
