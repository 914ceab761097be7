"""Label and field selectors: parsed once, matched often.

`LabelSelector.parse("a=b,c in (d,e),!f")` and `FieldSelector.parse("metadata.name=x,status.phase!=Failed")` give
values with `matches`. What cannot be parsed raises `SelectorError` with the words of the real server (400 BadRequest).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kaos_ext.cluster.apiserver.schema.names import label_value_errors, qualified_name_errors

_TOKEN = re.compile(r"\s*(==|!=|=>|[=!<>(),]|[^\s=!<>(),]+)")
_OPERATORS = {"in": "in", "notin": "notin", "=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
_SPECIAL = frozenset({"==", "!=", "=", "!", "<", ">", "(", ")", ",", "=>"})


class SelectorError(ValueError):
    """A selector that cannot be read or asks for a field that cannot be selected by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector; `operator` is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, Any]) -> bool:
        operator = self.operator
        if operator == "in":
            return labels.get(self.key) in self.values
        if operator == "notin":
            return self.key not in labels or labels[self.key] not in self.values
        if operator == "exists":
            return self.key in labels
        if operator == "absent":
            return self.key not in labels
        try:
            have, want = int(labels[self.key]), int(next(iter(self.values)))
        except (KeyError, ValueError):
            return False
        return have > want if operator == "gt" else have < want


@dataclass(frozen=True, slots=True)
class LabelSelector:
    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """The `labelSelector` query parameter."""
        return _parse_labels(text)

    @classmethod
    def of(cls, selector: Mapping[str, Any] | None) -> LabelSelector:
        """A `meta/v1 LabelSelector` object (`matchLabels`, `matchExpressions`)."""
        requirements = [
            Requirement(key, "in", frozenset([value]))
            for key, value in ((selector or {}).get("matchLabels") or {}).items()
        ]
        names = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
        for term in (selector or {}).get("matchExpressions") or []:
            operator = names.get(term.get("operator", ""))
            if operator is None:
                raise SelectorError(f'"{term.get("operator", "")}" is not a valid label selector operator')
            requirements.append(Requirement(term.get("key", ""), operator, frozenset(term.get("values") or ())))
        return cls(tuple(requirements))

    def matches(self, labels: Mapping[str, Any] | None) -> bool:
        have = labels or {}
        return all(requirement.matches(have) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


class _Tokens:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            found = _TOKEN.match(text, position)
            if found is None:
                break
            self.tokens.append(found[1])
            position = found.end()
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token


def _is_word(token: str) -> bool:
    return bool(token) and token not in _SPECIAL


@lru_cache(maxsize=1024)
def _parse_labels(text: str) -> LabelSelector:
    tokens = _Tokens(text)
    requirements: list[Requirement] = []
    while token := tokens.peek():
        if not _is_word(token) and token != "!":
            raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
        try:
            requirements.append(_requirement(tokens))
        except SelectorError as error:
            raise SelectorError(f"unable to parse requirement: {error}") from None
        token = tokens.take()
        if not token:
            break
        if token != ",":
            raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
        after = tokens.peek()
        if not _is_word(after) and after != "!":
            raise SelectorError(f"found '{after}', expected: identifier after ','")
    return LabelSelector(tuple(requirements))


def _requirement(tokens: _Tokens) -> Requirement:
    key = tokens.take()
    absent = key == "!"
    if absent:
        key = tokens.take()
    if not _is_word(key):
        raise SelectorError(f"found '{key}', expected: identifier")
    if wrong := qualified_name_errors(key):
        raise SelectorError(f'<nil>: Invalid value: "{key}": {"; ".join(wrong)}')
    if absent:
        return Requirement(key, "absent")
    if tokens.peek() in ("", ","):
        return Requirement(key, "exists")
    word = tokens.take()
    operator = _OPERATORS.get(word)
    if operator is None:
        raise SelectorError(f"found '{word}', expected: in, notin, =, ==, !=, gt, lt")
    values = _set_values(tokens) if word in ("in", "notin") else _exact_value(tokens)
    if operator in ("gt", "lt") and not all(re.fullmatch(r"[+-]?\d+", value) for value in values):
        (value,) = values
        raise SelectorError(
            f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
        )
    for value in values:
        if wrong := label_value_errors(value):
            raise SelectorError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(wrong)}')
    return Requirement(key, operator, frozenset(values))


def _exact_value(tokens: _Tokens) -> list[str]:
    if tokens.peek() in ("", ","):
        return [""]
    token = tokens.take()
    if not _is_word(token):
        raise SelectorError(f"found '{token}', expected: identifier")
    return [token]


def _set_values(tokens: _Tokens) -> list[str]:
    token = tokens.take()
    if token != "(":
        raise SelectorError(f"found '{token}' expected: '('")
    if not _is_word(tokens.peek()) and tokens.peek() not in (",", ")"):
        raise SelectorError(f"found '{tokens.peek()}', expected: ',', ')' or identifier")
    values: list[str] = []
    pending = True
    while True:
        token = tokens.take()
        if token == ")":
            if pending:
                values.append("")
            return values
        if token == ",":
            if pending:
                values.append("")
            pending = True
        elif _is_word(token):
            values.append(token)
            pending = False
        else:
            raise SelectorError(f"found '{token}', expected: ',' or ')'")


@dataclass(frozen=True, slots=True)
class FieldTerm:
    field: str
    value: str
    negated: bool = False


_DEFAULT_FIELDS = ("metadata.name", "metadata.namespace")
_POD_FIELDS = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
)
_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)
_REGARDING_FIELDS = tuple(
    field.replace("involvedObject", "regarding").replace("reportingComponent", "reportingController")
    for field in _EVENT_FIELDS
    if field != "source"
)

FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): _POD_FIELDS,
    ("", "Event"): _EVENT_FIELDS,
    ("events.k8s.io", "Event"): _REGARDING_FIELDS,
    ("", "Node"): ("spec.unschedulable",),
    ("", "Namespace"): ("status.phase",),
    ("", "Secret"): ("type",),
    ("", "Service"): ("spec.clusterIP", "spec.type"),
    ("", "ReplicationController"): ("status.replicas",),
    ("batch", "Job"): ("status.successful",),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("spec.signerName",),
}
"""What each built-in kind can be selected by, beside name and namespace."""

_DEFAULTS = {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.replicas": "0"}


@dataclass(frozen=True, slots=True)
class FieldSelector:
    terms: tuple[FieldTerm, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        """The `fieldSelector` query parameter; the same term may come twice."""
        return _parse_fields(text)

    def check(self, group: str, kind: str, *, selectable: Collection[str] = (), custom: bool = False) -> None:
        """Refuse fields that this kind cannot be selected by; `selectable` are a CRD version's own."""
        fields = FIELDS.get((group, kind), ())
        for term in self.terms:
            if term.field in _DEFAULT_FIELDS or term.field in fields or term.field in selectable:
                continue
            if kind == "Job" and not custom:
                raise SelectorError(f'field label "{term.field}" not supported for Job')
            if custom or fields:
                raise SelectorError(f"field label not supported: {term.field}")
            raise SelectorError(
                f'"{term.field}" is not a known field selector: only "metadata.name", "metadata.namespace"'
            )

    def matches(self, object: Mapping[str, Any]) -> bool:
        return all((field_value(object, term.field) == term.value) != term.negated for term in self.terms)

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector says so (to look an object up by name)."""
        return next((term.value for term in self.terms if term.field == field and not term.negated), None)

    def __bool__(self) -> bool:
        return bool(self.terms)


def field_value(object: Mapping[str, Any], path: str) -> str:
    """The value of a selectable field as its string; absent is the empty string or the field's own default."""
    if path == "source":
        source = object.get("source") or {}
        return str(source.get("component") or object.get("reportingComponent") or "")
    if path == "status.successful":
        return str((object.get("status") or {}).get("succeeded") or 0)
    value: Any = object
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None or value == "":
        return _DEFAULTS.get(path, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@lru_cache(maxsize=1024)
def _parse_fields(text: str) -> FieldSelector:
    terms: list[FieldTerm] = []
    for part in _split_escaped(text):
        if not part:
            continue
        for operator in ("!=", "==", "="):
            field, found, value = part.partition(operator)
            if found and "\\" not in field and not (operator == "=" and field.endswith("!")):
                terms.append(FieldTerm(field, _unescape(value), operator == "!="))
                break
        else:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
    return FieldSelector(tuple(terms))


def _split_escaped(text: str) -> list[str]:
    parts, current, escaped = [], "", False
    for character in text:
        if escaped:
            current += "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current]


def _unescape(value: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", value)
