"""Value validation of a structural schema, compiled: each keyword becomes a check, each node a list of checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.embedded import embedded_metadata_errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.formats import FORMATS, go_pattern

Check = Callable[[Any, str, list[FieldError]], None]

_IMPLICIT = frozenset({"apiVersion", "kind", "metadata"})


def type_name(value: Any) -> str:
    """The JSON type of a value, as messages name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


_IS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


def compile_values(
    node: Mapping[str, Any],
    components: Mapping[str, Any],
    *,
    resource: bool = False,
    shared: dict[str, list[Check | None]] | None = None,
) -> Check | None:
    """One check for the whole node, None when every value will do."""
    return _Values(components, {} if shared is None else shared).node(node, resource)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1, 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


class _Values:
    def __init__(self, components: Mapping[str, Any], shared: dict[str, list[Check | None]]) -> None:
        self.components = components
        self.shared = shared

    def node(self, node: Mapping[str, Any], resource: bool = False) -> Check | None:
        target = node.get("$ref")
        if isinstance(target, str):
            return self._reference(target.rpartition("/")[2])
        resource = resource or bool(node.get("x-kubernetes-embedded-resource"))
        checks = [
            check
            for check in (
                _of_number(node),
                _of_string(node),
                self._of_array(node),
                self._of_object(node, resource),
                _of_enum(node),
                *self._of_logic(node),
            )
            if check is not None
        ]
        if node.get("x-kubernetes-embedded-resource"):
            checks.append(_embedded)
        kinds = node.get("type")
        types = [kinds] if isinstance(kinds, str) and kinds else list(kinds or ())
        if node.get("x-kubernetes-int-or-string"):
            types = ["integer", "string"]
        nullable = bool(node.get("nullable")) or "null" in types
        right = [_IS[one] for one in types if one in _IS]
        named = ",".join(types)
        if not right and not checks:
            return None

        def check(value: Any, path: str, found: list[FieldError]) -> None:
            if value is None and nullable:
                return
            if right and not any(is_right(value) for is_right in right):
                actual = type_name(value)
                found.append(errors.type_invalid(path, actual, f'{path} in body must be of type {named}: "{actual}"'))
                return
            for one in checks:
                one(value, path, found)

        if len(right) == 1 and not checks:
            return _of_type(right[0], named, nullable)
        return check

    def _reference(self, target: str) -> Check | None:
        slot = self.shared.get(target)
        if slot is None:
            slot = self.shared[target] = [None]
            slot[0] = self.node(self.components.get(target) or {})
            return slot[0]
        if slot[0] is not None:
            return slot[0]
        waiting = slot

        def later(value: Any, path: str, found: list[FieldError]) -> None:
            if waiting[0] is not None:
                waiting[0](value, path, found)

        return later

    def _of_array(self, node: Mapping[str, Any]) -> Check | None:
        items = node.get("items")
        each = self.node(items) if isinstance(items, Mapping) else None
        most, least = node.get("maxItems"), node.get("minItems")
        kind = node.get("x-kubernetes-list-type")
        keys: list[str] | None = list(node.get("x-kubernetes-list-map-keys") or ()) if kind == "map" else None
        unique = kind == "set" or keys is not None or bool(node.get("uniqueItems"))
        defaults = {
            key: child["default"]
            for key, child in ((items or {}).get("properties") or {}).items()
            if keys and key in keys and "default" in child
        }
        if each is None and most is None and least is None and not unique:
            return None

        def check(value: Any, path: str, found: list[FieldError]) -> None:
            if not isinstance(value, list):
                return
            if most is not None and len(value) > most:
                found.append(errors.too_many(path, len(value), most))
                return
            if least is not None and len(value) < least:
                found.append(errors.invalid(path, len(value), f"{path} in body should have at least {least} items"))
            if each is not None:
                for index, child in enumerate(value):
                    each(child, f"{path}[{index}]", found)
            if unique:
                _duplicates(value, keys, defaults, path, found)

        return check

    def _of_object(self, node: Mapping[str, Any], resource: bool) -> Check | None:
        properties: Mapping[str, Any] = node.get("properties") or {}
        children = {
            key: made
            for key, child in properties.items()
            if not (resource and key == "metadata") and (made := self.node(child)) is not None
        }
        if resource and isinstance(properties.get("metadata"), Mapping):
            limited = self.node({k: v for k, v in properties["metadata"].items() if k != "required"})
            if limited is not None:
                children["metadata"] = limited
        needed = tuple(node.get("required") or ())
        additional = node.get("additionalProperties")
        each = self.node(additional) if isinstance(additional, Mapping) else None
        most, least = node.get("maxProperties"), node.get("minProperties")
        if not (children or needed or each) and most is None and least is None:
            return None

        def check(value: Any, path: str, found: list[FieldError]) -> None:
            if not isinstance(value, dict):
                return
            found.extend(errors.required(f"{path}.{key}" if path else key) for key in needed if key not in value)
            for key, child in value.items():
                inner = children.get(key)
                if inner is None:
                    if each is None or key in properties or (resource and key in _IMPLICIT):
                        continue
                    inner = each
                inner(child, f"{path}.{key}" if path else key, found)
            if most is not None and len(value) > most:
                found.append(errors.too_many(path, len(value), most))
            if least is not None and len(value) < least:
                found.append(
                    errors.invalid(path, len(value), f"{path} in body should have at least {least} properties")
                )

        return check

    def _of_logic(self, node: Mapping[str, Any]) -> list[Check]:
        made: list[Check] = []
        every = [check for part in node.get("allOf") or () if (check := self.node(part)) is not None]
        if every:

            def all_of(value: Any, path: str, found: list[FieldError]) -> None:
                before = len(found)
                for check in every:
                    check(value, path, found)
                if len(found) > before:
                    found.append(_logic(f'"{path}" must validate all the schemas (allOf)'))

            made.append(all_of)
        for keyword, exactly in (("anyOf", False), ("oneOf", True)):
            if node.get(keyword) and not (keyword == "anyOf" and node.get("x-kubernetes-int-or-string")):
                made.append(_alternatives([self.node(part) for part in node[keyword]], exactly=exactly))
        if isinstance(node.get("not"), Mapping):
            wrong = self.node(node["not"])

            def negated(value: Any, path: str, found: list[FieldError]) -> None:
                inner: list[FieldError] = []
                if wrong is not None:
                    wrong(value, path, inner)
                if not inner:
                    found.append(_logic(f'"{path}" must not validate the schema (not)'))

            made.append(negated)
        return made


def _of_type(is_right: Callable[[Any], bool], named: str, nullable: bool) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not is_right(value) and not (value is None and nullable):
            actual = type_name(value)
            found.append(errors.type_invalid(path, actual, f'{path} in body must be of type {named}: "{actual}"'))

    return check


def _alternatives(branches: list[Check | None], *, exactly: bool) -> Check:
    def check(value: Any, path: str, found: list[FieldError]) -> None:
        best: list[FieldError] | None = None
        valid = 0
        for branch in branches:
            inner: list[FieldError] = []
            if branch is not None:
                branch(value, path, inner)
            if not inner:
                valid += 1
                if not exactly:
                    return
            elif best is None or len(inner) < len(best):
                best = inner
        if exactly and valid == 1:
            return
        if exactly:
            how = "Found none valid" if valid == 0 else f"Found {valid} valid alternatives"
            text = f'"{path}" must validate one and only one schema (oneOf). {how}'
        else:
            text = f'"{path}" must validate at least one schema (anyOf)'
        found.append(_logic(text))
        if valid == 0 and best:
            found.extend(best)

    return check


def _logic(text: str) -> FieldError:
    """What has no place of its own."""
    return FieldError("<nil>", "FieldValueInvalid", f'Invalid value: "": {text}')


_RANGES = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1), "uint32": (0, (1 << 32) - 1)}


def _of_number(node: Mapping[str, Any]) -> Check | None:
    most, least, step = node.get("maximum"), node.get("minimum"), node.get("multipleOf")
    form = node.get("format") or ""
    within = _RANGES.get(form) if node.get("type") == "integer" else None
    if most is None and least is None and step is None and within is None:
        return None
    below, above = bool(node.get("exclusiveMaximum")), bool(node.get("exclusiveMinimum"))

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if within is not None and not within[0] <= value <= within[1]:
            found.append(_logic(f"Checked value must be of type integer with format {form} in {path}"))
        if most is not None and (value >= most if below else value > most):
            how = "less than" if below else "less than or equal to"
            found.append(errors.invalid(path, value, f"{path} in body should be {how} {most:g}"))
        if least is not None and (value <= least if above else value < least):
            how = "greater than" if above else "greater than or equal to"
            found.append(errors.invalid(path, value, f"{path} in body should be {how} {least:g}"))
        if step and abs(value / step - round(value / step)) > 1e-9:
            found.append(errors.invalid(path, value, f"{path} in body should be a multiple of {step:g}"))

    return check


def _of_string(node: Mapping[str, Any]) -> Check | None:
    most, least, pattern = node.get("maxLength"), node.get("minLength"), node.get("pattern")
    named = node.get("format") or ""
    fits = FORMATS.get(named)
    if most is None and least is None and not pattern and fits is None:
        return None
    try:
        search = go_pattern(pattern).search if pattern else None
    except re.error:  # refused when the CRD was written; a pattern Python alone cannot read checks nothing
        search = None

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if not isinstance(value, str):
            return
        if most is not None and len(value) > most:
            found.append(errors.too_long(path, most))
        elif least is not None and len(value) < least:
            found.append(errors.invalid(path, value, f"{path} in body should be at least {least} chars long"))
        elif search is not None and search(value) is None:
            found.append(errors.invalid(path, value, f"{path} in body should match '{pattern}'"))
        if fits is not None and not fits(value):
            why = f"{path} in body must be of type {named}: {errors.shown(value)}"
            found.append(errors.type_invalid(path, value, why))

    return check


def _of_enum(node: Mapping[str, Any]) -> Check | None:
    allowed = node.get("enum")
    if not allowed:
        return None
    words = frozenset(allowed) if all(isinstance(one, str) for one in allowed) else None

    def check(value: Any, path: str, found: list[FieldError]) -> None:
        if words is not None and isinstance(value, str):
            if value in words:
                return
        elif any(same(value, one) for one in allowed):
            return
        found.append(errors.not_supported(path, value, allowed))

    return check


def _duplicates(
    value: list[Any], keys: list[str] | None, defaults: Mapping[str, Any], path: str, found: list[FieldError]
) -> None:
    seen: set[Any] = set()
    for index, item in enumerate(value):
        if keys is not None:
            if not isinstance(item, dict):
                continue
            shown: Any = {
                key: item[key] if key in item else defaults[key] for key in keys if key in item or key in defaults
            }
        else:
            shown = item
        mark = errors.shown(shown)
        if mark in seen:
            found.append(errors.duplicate(f"{path}[{index}]", shown))
        seen.add(mark)


def _embedded(value: Any, path: str, found: list[FieldError]) -> None:
    if isinstance(value, dict):
        missing = [key for key in ("apiVersion", "kind") if not value.get(key)]
        found.extend(errors.required(f"{path}.{key}") for key in missing)
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            found.extend(embedded_metadata_errors(metadata, f"{path}.metadata"))
