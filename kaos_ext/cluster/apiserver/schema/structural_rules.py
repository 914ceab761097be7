"""The rules a CRD's schema must keep to be structural, so that it can prune, default and explain."""

from __future__ import annotations

import re
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.formats import go_pattern
from kaos_ext.cluster.apiserver.schema.values import compile_values

Object = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN = (
    "definitions",
    "dependencies",
    "patternProperties",
    "additionalItems",
    "deprecated",
    "discriminator",
    "id",
)
_VALUE_FORBIDDEN = (
    "description",
    "type",
    "default",
    "additionalProperties",
    "nullable",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
)


def schema_errors(schema: Object, path: str, *, root: bool = False) -> list[FieldError]:
    """The rules of a structural schema, each with its path in the CRD."""
    found: list[FieldError] = []
    _node(schema, path, found, root=root, inside_metadata=False)
    return found


def _node(node: Any, path: str, found: list[FieldError], *, root: bool, inside_metadata: bool) -> None:
    if not isinstance(node, dict):
        return
    kind = node.get("type") or ""
    int_or_string = bool(node.get("x-kubernetes-int-or-string"))
    keeps = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if root and not kind:
        found.append(errors.required(f"{path}.type", "must not be empty at the root"))
    elif root and kind != "object":
        found.append(errors.invalid(f"{path}.type", kind, "must be object at the root"))
    elif kind and kind not in _TYPES:
        found.append(errors.not_supported(f"{path}.type", kind, _TYPES))
    elif not kind and not root and not int_or_string and not keeps:
        found.append(errors.required(f"{path}.type", "must not be empty for specified object fields"))
    if int_or_string and kind:
        found.append(errors.invalid(f"{path}.type", kind, "must be empty if x-kubernetes-int-or-string is true"))
    if "$ref" in node:
        found.append(errors.forbidden(f"{path}.$ref", "$ref is not supported"))
    found.extend(
        errors.forbidden(f"{path}.{member}", f"{member} is not supported") for member in _FORBIDDEN if node.get(member)
    )
    if node.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        found.append(errors.forbidden(f"{path}.uniqueItems", why))
    if keeps is False and node.get("x-kubernetes-preserve-unknown-fields") is False:
        found.append(errors.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined"))
    additional = node.get("additionalProperties")
    if additional is not None and node.get("properties"):
        why = "additionalProperties and properties are mutual exclusive"
        found.append(errors.forbidden(f"{path}.additionalProperties", why))
    if kind == "array" and node.get("items") is None:
        found.append(errors.required(f"{path}.items", "must be specified"))
    if isinstance(node.get("items"), list):
        found.append(errors.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    pattern = node.get("pattern")
    if pattern:
        try:
            go_pattern(pattern)
        except re.error as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {_go_regexp(error, pattern)}"
            found.append(errors.invalid(f"{path}.pattern", pattern, why))
    _lists(node, path, found)
    if "default" in node and node["default"] is not None and not _has_error_below(found, path):
        _default(node, path, found)
    for name, child in sorted((node.get("properties") or {}).items()):
        below = f"{path}.properties[{name}]"
        if root and name == "metadata":
            _root_metadata(child, below, found)
        _node(child, below, found, root=False, inside_metadata=root and name == "metadata")
    if isinstance(additional, dict):
        _node(additional, f"{path}.additionalProperties", found, root=False, inside_metadata=False)
    if isinstance(node.get("items"), dict):
        _node(node["items"], f"{path}.items", found, root=False, inside_metadata=False)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, part in enumerate(node.get(keyword) or ()):
            if keyword != "oneOf" and int_or_string:
                continue
            _value_part(part, f"{path}.{keyword}[{index}]", found)
    if isinstance(node.get("not"), dict):
        _value_part(node["not"], f"{path}.not", found)


def _has_error_below(found: list[FieldError], path: str) -> bool:
    return any(error.path.startswith(path + ".") and error.path[len(path) + 1 :] in ("type",) for error in found)


def _value_part(part: Any, path: str, found: list[FieldError]) -> None:
    """Inside allOf, anyOf, oneOf and not only values may be limited, nothing declared."""
    if not isinstance(part, dict):
        return
    found.extend(
        errors.forbidden(f"{path}.{member}", "must be empty to be structural")
        for member in _VALUE_FORBIDDEN
        if part.get(member) and not (member == "type" and part.get("x-kubernetes-int-or-string"))
    )
    for name, child in (part.get("properties") or {}).items():
        _value_part(child, f"{path}.properties[{name}]", found)
    if isinstance(part.get("items"), dict):
        _value_part(part["items"], f"{path}.items", found)


def _root_metadata(node: Object, path: str, found: list[FieldError]) -> None:
    extra = set(node.get("properties") or ()) - {"name", "generateName"}
    if extra:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        found.append(errors.forbidden(path, why))


def _lists(node: Object, path: str, found: list[FieldError]) -> None:
    list_type = node.get("x-kubernetes-list-type")
    keys = node.get("x-kubernetes-list-map-keys") or []
    items = node.get("items") if isinstance(node.get("items"), dict) else {}
    assert isinstance(items, dict)
    if list_type is not None:
        if node.get("type") != "array":
            why = "must be array if x-kubernetes-list-type is specified"
            found.append(errors.invalid(f"{path}.type", node.get("type") or "", why))
        if list_type not in ("atomic", "set", "map"):
            found.append(errors.not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map")))
    if list_type == "map":
        if not keys:
            why = "must not be empty if x-kubernetes-list-type is map"
            found.append(errors.required(f"{path}.x-kubernetes-list-map-keys", why))
        if items.get("type") != "object":
            why = "must be object if parent array's x-kubernetes-list-type is map"
            found.append(errors.invalid(f"{path}.items.type", items.get("type") or "", why))
        for index, key in enumerate(keys):
            declared = (items.get("properties") or {}).get(key)
            if declared is None:
                why = "entries must all be names of item properties"
                found.append(errors.invalid(f"{path}.x-kubernetes-list-map-keys[{index}]", key, why))
                continue
            if key not in (items.get("required") or ()) and "default" not in declared:
                why = (
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
                    "property"
                )
                found.append(errors.required(f"{path}.items.properties[{key}].default", why))
    elif keys:
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        found.append(errors.invalid(f"{path}.x-kubernetes-list-type", list_type or "", why))
    map_type = node.get("x-kubernetes-map-type")
    if map_type is not None and map_type not in ("granular", "atomic"):
        found.append(errors.not_supported(f"{path}.x-kubernetes-map-type", map_type, ("granular", "atomic")))


def _default(node: Object, path: str, found: list[FieldError]) -> None:
    check = compile_values(node, {})
    wrong: list[FieldError] = []
    if check is not None:
        check(node["default"], "", wrong)
    for error in wrong:
        place = f"{path}.default" + (f".{error.path}" if error.path and not error.path.startswith("[") else error.path)
        found.append(FieldError(place, error.reason, error.message))


def _go_regexp(error: re.error, pattern: str) -> str:
    """Python's complaint about a pattern in Go's words, as near as it gets."""
    text = str(error.msg)
    if "missing )" in text or "unterminated subpattern" in text:
        return f"missing closing ): `{pattern}`"
    if "unterminated character set" in text:
        return f"missing closing ]: `{pattern[error.pos or 0 :]}`"
    if "nothing to repeat" in text:
        return f"missing argument to repetition operator: `{pattern[error.pos or 0 : (error.pos or 0) + 1]}`"
    if "unbalanced parenthesis" in text:
        return f"unexpected ): `{pattern}`"
    return f"{text}: `{pattern}`"
