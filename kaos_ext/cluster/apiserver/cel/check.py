"""What can be said of an expression before it ever runs: its type, fields that are not there, its greatest cost.

Costs are counted as Kubernetes does: one for each step, a tenth for each character that is read, everything inside a
macro once for each element there can be. Where a type is not known nothing is complained about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kaos_ext.cluster.apiserver.cel.syntax import Call, Index, ListOf, Literal, MapOf, Name, Node, Select
from kaos_ext.cluster.apiserver.cel.types import BOOL, DOUBLE, DYN, INT, REQUEST_BYTES, STRING, Type

_READ = 0.1
_PATTERN = 0.25


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map", "transformList", "transformMap"})
_BOOLEAN = _set(
    "== != < <= > >= in && || !_ has startsWith endsWith contains matches all exists exists_one existsOne isSorted "
    "isURL isIP isCIDR isQuantity isSemver hasValue isInteger isGreaterThan isLessThan containsIP containsCIDR"
)
_TYPES = {
    **dict.fromkeys(_BOOLEAN, BOOL),
    **dict.fromkeys(("size", "int", "indexOf", "lastIndexOf", "asInteger", "compareTo", "sign"), INT),
    **dict.fromkeys(("double", "asApproximateFloat"), DOUBLE),
    **dict.fromkeys(
        _set(
            "string lowerAscii upperAscii trim replace substring join format find charAt getHost getHostname getScheme "
            "getPort getEscapedPath reverse"
        ),
        STRING,
    ),
}
_READERS = _set(
    "startsWith endsWith contains matches lowerAscii upperAscii trim replace substring split join find findAll indexOf "
    "lastIndexOf url isURL quantity isQuantity ip isIP cidr isCIDR reverse format"
)
FUNCTIONS = (
    _BOOLEAN
    | _TYPES.keys()
    | _READERS
    | _MACROS
    | _set(
        "?: -_ + - * / % uint bytes bool dyn type duration timestamp sum min max sort isSorted sets.contains "
        "sets.intersects sets.equivalent add sub isGreaterThan isLessThan orValue value optMap optFlatMap or of none "
        "ofNonZeroValue getQuery getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours "
        "getMinutes getSeconds getMilliseconds bind contains intersects equivalent family isUnspecified isLoopback "
        "isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast masked prefixLength authorizer flatten distinct range "
        "first last slice"
    )
)
"""Functions a rule may call; methods and functions in one set."""


@dataclass(frozen=True, slots=True)
class Complaint:
    message: str
    position: int

    def words(self, text: str) -> str:
        """As the compiler of Kubernetes shows it."""
        before = text[: self.position]
        line, column = before.count("\n") + 1, self.position - (before.rfind("\n") + 1)
        shown = text.split("\n")[line - 1]
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {shown}\n | {'.' * column}^"


@dataclass(frozen=True, slots=True)
class Estimate:
    type: Type
    cost: float
    size: float = 1


@dataclass(slots=True)
class Check:
    """`estimate` walks a tree; what it finds wrong is in `complaints`."""

    complaints: list[Complaint]

    def estimate(self, node: Node, scope: Mapping[str, Type]) -> Estimate:
        match node:
            case Literal(kind=kind, size=size):
                return Estimate(Type(kind, limit=size), 0, max(1, size))
            case Name(name=name, position=position):
                found = scope.get(name)
                if found is None and name not in ("optional", "cel", "sets", "math", "base64", *_TYPE_NAMES):
                    self._complain(f"undeclared reference to '{name}' (in container '')", position)
                return _of(found or DYN, 1)
            case Select():
                return self._select(node, scope)
            case Index(operand=operand, key=key):
                base, inner = self.estimate(operand, scope), self.estimate(key, scope)
                element = base.type.element if base.type.kind in ("list", "map") else None
                return _of(element or DYN, base.cost + inner.cost + 1)
            case ListOf(items=items):
                parts = [self.estimate(one, scope) for one in items]
                element = parts[0].type if parts else DYN
                cost = 10 + sum(part.cost for part in parts)
                return Estimate(Type("list", element=element, limit=len(parts)), cost, len(parts))
            case MapOf(entries=entries):
                parts = [self.estimate(one, scope) for pair in entries for one in pair]
                cost = 30 + sum(part.cost for part in parts)
                return Estimate(Type("map", element=DYN, limit=len(entries)), cost, len(entries))
            case Call():
                return self._call(node, scope)
        raise AssertionError(node)

    def _complain(self, message: str, position: int) -> None:
        self.complaints.append(Complaint(message, position))

    def _select(self, node: Select, scope: Mapping[str, Type]) -> Estimate:
        base = self.estimate(node.operand, scope)
        kind = base.type.kind
        if kind == "object":
            found = base.type.fields.get(node.field)
            if found is None:
                self._complain(f"undefined field '{node.field}'", node.position)
            return _of(found or DYN, base.cost + 1)
        if kind == "map":
            return _of(base.type.element or DYN, base.cost + 1)
        if kind in ("bool", "int", "double", "string", "list"):
            self._complain(f"type '{_shown(base.type)}' does not support field selection", node.position)
        return _of(DYN, base.cost + 1)

    def _call(self, node: Call, scope: Mapping[str, Type]) -> Estimate:
        if node.target is not None and node.function in _MACROS and len(node.arguments) >= 2:
            return self._macro(node, scope)
        if node.function == "bind" and len(node.arguments) == 3 and isinstance(node.arguments[0], Name):
            value = self.estimate(node.arguments[1], scope)
            body = self.estimate(node.arguments[2], {**scope, node.arguments[0].name: value.type})
            return Estimate(body.type, value.cost + body.cost + 1, body.size)
        if node.function in ("optMap", "optFlatMap") and node.target is not None and len(node.arguments) == 2:
            value = self.estimate(node.target, scope)
            name = node.arguments[0].name if isinstance(node.arguments[0], Name) else ""
            body = self.estimate(node.arguments[1], {**scope, name: DYN})
            return _of(DYN, value.cost + body.cost + 2)
        if node.function not in FUNCTIONS:
            self._complain(f"undeclared reference to '{node.function}' (in container '')", node.position)
        parts = [self.estimate(one, scope) for one in node.arguments]
        if node.target is not None:
            parts.insert(0, self.estimate(node.target, scope))
        return _called(node.function, parts)

    def _macro(self, node: Call, scope: Mapping[str, Type]) -> Estimate:
        assert node.target is not None
        base = self.estimate(node.target, scope)
        element = base.type.element or DYN
        if base.type.kind == "map":
            element = STRING
        names = [one.name for one in node.arguments[:-1] if isinstance(one, Name)]
        inside = {**scope, **dict.fromkeys(names, element)}
        if len(names) == 2:
            inside = {**scope, names[0]: DYN, names[1]: base.type.element or DYN}
        bodies = [self.estimate(one, inside) for one in node.arguments[len(names) :]]
        each = 3 + sum(body.cost for body in bodies) + (10 if node.function in ("map", "filter") else 0)
        cost = base.cost + 2 + base.size * each
        if node.function == "filter":
            return Estimate(base.type, cost, base.size)
        if node.function in ("map", "transformList", "transformMap"):
            made = Type("list", element=bodies[-1].type if bodies else DYN, limit=int(min(base.size, REQUEST_BYTES)))
            return Estimate(made, cost, base.size)
        return Estimate(BOOL, cost)


_TYPE_NAMES = ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "type", "null_type")


def _of(type: Type, cost: float) -> Estimate:
    return Estimate(type, cost, max(1, type.limit))


def _called(function: str, parts: list[Estimate]) -> Estimate:
    cost = sum(part.cost for part in parts)
    if function == "?:":
        condition, yes, no = parts
        return Estimate(yes.type, condition.cost + max(yes.cost, no.cost), max(yes.size, no.size))
    if function in ("==", "!=", "<", "<=", ">", ">="):
        return Estimate(BOOL, cost + max(1, math.ceil(min(part.size for part in parts) * _READ)))
    if function == "in":
        return Estimate(BOOL, cost + max(1, parts[1].size if parts[1].type.kind == "list" else 1))
    if function == "matches" and len(parts) == 2:
        steps = math.ceil(parts[0].size * _READ) * max(1, math.ceil(parts[1].size * _PATTERN))
        return Estimate(BOOL, cost + steps)
    if function == "contains" and len(parts) == 2:
        steps = math.ceil(parts[0].size * _READ) * max(1, math.ceil(parts[1].size * _READ))
        return Estimate(BOOL, cost + steps)
    if function in ("+", "-", "*", "/", "%"):
        if parts[0].type.kind in ("string", "list", "bytes"):
            size = parts[0].size + parts[1].size
            return Estimate(parts[0].type, cost + max(1, math.ceil(size * _READ)), size)
        return Estimate(parts[0].type, cost + 1)
    if function in ("sum", "min", "max", "isSorted", "sort", "distinct", "flatten"):
        kind = BOOL if function == "isSorted" else DYN
        return Estimate(kind, cost + max(1, parts[0].size))
    type = _TYPES.get(function, DYN)
    if function in _READERS:
        size = parts[-1].size if function in ("startsWith", "endsWith") and len(parts) > 1 else parts[0].size
        made = size if type is STRING else 1
        return Estimate(type, cost + max(1, math.ceil(size * _READ)), made)
    return Estimate(type, cost + (1 if function not in ("has", "dyn", "&&", "||") else 0))


def _shown(type: Type) -> str:
    return f"list({_shown(type.element or DYN)})" if type.kind == "list" else type.kind
