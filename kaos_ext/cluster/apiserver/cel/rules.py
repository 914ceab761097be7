"""`x-kubernetes-validations`: the rules of a schema, as they judge an object.

A rule that speaks of `oldSelf` judges changes only, where old and new can be told to be the same place: fields of
objects, keys of maps, entries of keyed lists. What did not change is not judged again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kaos_ext.cluster.apiserver.cel.evaluator import EvaluationError, Program, optional
from kaos_ext.cluster.apiserver.cel.syntax import Call, CelSyntaxError, Name, Node, parse
from kaos_ext.cluster.apiserver.cel.types import escaped
from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError

Schema = Mapping[str, Any]
log = logging.getLogger(__name__)
_MISSING = object()
_KEY = "x-kubernetes-validations"
_ROOT = ("apiVersion", "kind", "metadata")


@dataclass(slots=True)
class _Rule:
    given: Schema
    program: Program
    transition: bool
    message: Program | None

    @classmethod
    def of(cls, given: Schema) -> _Rule:
        tree = parse(given["rule"])
        words = given.get("messageExpression")
        message = Program(parse(words)) if words else None
        return cls(given, Program(tree), "oldSelf" in names(tree), message)


class Judge:
    """The compiled rules of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rules: dict[int, list[_Rule]] = {}

    def judge(self, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> list[FieldError]:
        found: list[FieldError] = []
        self._node(self._schema, new, _MISSING if old is None else old, "", found, root=True)
        return found

    def _node(self, schema: Schema, new: Any, old: Any, path: str, found: list[FieldError], *, root: bool) -> None:
        if new is None or (old is not _MISSING and new == old and not root):
            return
        for rule in self._of(schema):
            self._apply(rule, schema, new, old, path, found, root=root)
        if isinstance(new, dict):
            for key, below in (schema.get("properties") or {}).items():
                if key in new and isinstance(below, dict):
                    place = f"{path}.{key}" if path else key
                    self._node(below, new[key], _at(old, key), place, found, root=False)
            additional = schema.get("additionalProperties")
            if isinstance(additional, dict):
                for key, value in new.items():
                    self._node(additional, value, _at(old, key), f"{path}[{key}]", found, root=False)
        elif isinstance(new, list) and isinstance(schema.get("items"), dict):
            for index, value in enumerate(new):
                before = _counterpart(schema, value, old)
                self._node(schema["items"], value, before, f"{path}[{index}]", found, root=False)

    def _of(self, schema: Schema) -> list[_Rule]:
        given = schema.get(_KEY)
        if not given:
            return []
        rules = self._rules.get(id(schema))
        if rules is None:
            rules = self._rules[id(schema)] = list(_compiled(given))
        return rules

    def _apply(
        self, rule: _Rule, schema: Schema, new: Any, old: Any, path: str, found: list[FieldError], *, root: bool
    ) -> None:
        variables = {"self": as_cel(schema, new, root=root)}
        if rule.transition:
            wants_optional = bool(rule.given.get("optionalOldSelf"))
            if old is _MISSING and not wants_optional:
                return
            before = None if old is _MISSING else as_cel(schema, old, root=root)
            if wants_optional:
                variables["oldSelf"] = optional() if old is _MISSING else optional(before)
            else:
                variables["oldSelf"] = before
        try:
            if rule.program.run(variables) is True:
                return
            found.append(_refusal(rule, variables, new, path))
        except EvaluationError as error:
            words = rule.given.get("message") or rule.given["rule"]
            found.append(_invalid(path, new, f"{error} evaluating rule: {words}"))


def _compiled(given: Iterable[Schema]) -> Iterator[_Rule]:
    for one in given:
        try:
            yield _Rule.of(one)
        except (EvaluationError, CelSyntaxError) as error:
            log.warning("a rule cannot be evaluated here, and is not: %s: %s", one.get("rule"), error)


def _refusal(rule: _Rule, variables: Mapping[str, Any], new: Any, path: str) -> FieldError:
    words = ""
    if rule.message is not None:
        try:
            made = rule.message.run(variables)
            words = made.strip() if isinstance(made, str) and "\n" not in made.strip() else ""
        except EvaluationError:
            words = ""
    words = words or rule.given.get("message") or f"failed rule: {rule.given['rule'].strip()}"
    place = path + _relative(rule.given.get("fieldPath") or "")
    place = place.lstrip(".")
    reason = rule.given.get("reason") or "FieldValueInvalid"
    if reason == "FieldValueForbidden":
        return errors.forbidden(place, words)
    if reason == "FieldValueRequired":
        return errors.required(place, words)
    if reason == "FieldValueDuplicate":
        return errors.duplicate(place, new)
    return _invalid(place, new, words)


def _invalid(path: str, value: Any, words: str) -> FieldError:
    if isinstance(value, dict | list):
        return FieldError(path or "<nil>", "FieldValueInvalid", f"Invalid value: {words}")
    return errors.invalid(path, value, words)


def _relative(path: str) -> str:
    return re.sub(r"\['([^']*)'\]", r"[\1]", path)


def _at(old: Any, key: str) -> Any:
    return old[key] if isinstance(old, dict) and key in old else _MISSING


def _counterpart(schema: Schema, value: Any, old: Any) -> Any:
    """The entry of a keyed list that was this one before."""
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list) or not isinstance(value, dict):
        return _MISSING
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    wanted = [value.get(key) for key in keys]
    for one in old:
        if isinstance(one, dict) and [one.get(key) for key in keys] == wanted:
            return one
    return _MISSING


def as_cel(schema: Schema, value: Any, *, root: bool = False) -> Any:
    """A value as rules see it: properties under names CEL can write, times and numbers as what they are."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        seen: dict[str, Any] = {}
        for key, one in value.items():
            if one is None:
                continue
            if key in properties:
                seen[escaped(key)] = as_cel(properties[key], one)
            elif isinstance(additional, dict):
                seen[key] = as_cel(additional, one)
            elif (root and key in _ROOT) or additional is True or schema.get("x-kubernetes-preserve-unknown-fields"):
                seen[key] = one
        if root and isinstance(seen.get("metadata"), dict):
            meta = seen["metadata"]
            seen["metadata"] = {key: meta[key] for key in ("name", "generateName") if key in meta}
        return seen
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [as_cel(items, one) for one in value]
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and schema.get("format") in _READ:
        try:
            return _READ[schema["format"]](value)
        except ValueError:
            return value
    return value


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def _duration(text: str) -> timedelta:
    parts = re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


_READ = {
    "date": lambda text: datetime.fromisoformat(f"{text}T00:00:00+00:00"),
    "date-time": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")),
    "duration": _duration,
}


def names(node: Node) -> set[str]:
    """Names an expression speaks of."""
    if isinstance(node, Name):
        return {node.name}
    found: set[str] = set()
    for member in _members(node):
        found |= names(member)
    return found


def _members(node: Node) -> Iterator[Node]:
    if isinstance(node, Call):
        if node.target is not None:
            yield node.target
        yield from node.arguments
        return
    for attribute in ("operand", "key", "items", "entries"):
        value = getattr(node, attribute, None)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            for one in value:
                yield from (one if isinstance(one, tuple) else (one,))
