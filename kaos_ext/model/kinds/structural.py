"""From a pydantic model to a structural schema: references inlined, nulls and titles gone, defaults kept.

A structural schema has one type per node, no `$ref`, and `anyOf` only to say int-or-string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]
Rules = Mapping[str, Sequence[tuple[str, str]]]

_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
)
_NUMBERS = {"minimum", "maximum"}


def structural_schema(model: type[BaseModel], rules: Rules | None = None) -> Json:
    """The `openAPIV3Schema` of one version of a CustomResourceDefinition."""
    schema = model.model_json_schema(by_alias=True)
    result = _node(schema, schema.get("$defs", {}))
    for path, checks in (rules or {}).items():
        node = result
        for name in path.split("."):
            node = node["properties"][name]
        node["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in checks]
    return result


def _node(schema: Json, definitions: Json) -> Json:
    schema = _resolve(schema, definitions)
    if schema.get("x-kubernetes-int-or-string"):
        return schema
    result: Json = {}
    for key in _KEPT:
        if key in schema and not (key == "default" and schema[key] is None):
            value = schema[key]
            result[key] = int(value) if key in _NUMBERS and schema.get("type") == "integer" else value
    result |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    if "properties" in schema:
        result["properties"] = {name: _node(part, definitions) for name, part in schema["properties"].items()}
        if required := schema.get("required"):
            result["required"] = list(required)
    elif isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _node(schema["additionalProperties"], definitions)
    if "items" in schema:
        result["items"] = _node(schema["items"], definitions)
    if "type" not in result:
        raise ValueError(f"not structural: {schema}")
    return result


def _resolve(schema: Json, definitions: Json) -> Json:
    """Follow references and drop the null of an optional; what stands beside a reference wins over it."""
    schema = dict(schema)
    while True:
        if "$ref" in schema:
            target = definitions[schema.pop("$ref").rsplit("/", 1)[1]]
        elif "anyOf" in schema and not schema.get("x-kubernetes-int-or-string"):
            branches = [branch for branch in schema.pop("anyOf") if branch.get("type") != "null"]
            if len(branches) != 1:
                raise ValueError(f"not structural: {schema} is one of {branches}")
            target = branches[0]
        else:
            return schema
        schema = {**target, **schema}
