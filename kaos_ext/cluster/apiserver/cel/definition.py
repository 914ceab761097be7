"""Rules as they are checked when a CRD is written: that they compile, mean true or false, and cannot cost too much."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from kaos_ext.cluster.apiserver.cel.check import Check, Complaint, Estimate
from kaos_ext.cluster.apiserver.cel.syntax import CelSyntaxError, parse
from kaos_ext.cluster.apiserver.cel.types import BOOL, DYN, Type, type_of
from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError

Schema = Mapping[str, Any]
KEY = "x-kubernetes-validations"
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_OLD_SELF = re.compile(r"\boldSelf\b")
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\['([^']+)'\]")
RULE_LIMIT, TOTAL_LIMIT = 10_000_000, 100_000_000
_ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)


def definition_errors(schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with the rules of a CRD's schema."""
    costs: list[tuple[str, float]] = []
    found = list(_walk(schema, path, 1.0, costs, root=True))
    total = sum(cost for _, cost in costs)
    if total > TOTAL_LIMIT:
        for place, cost in sorted(costs, key=lambda one: -one[1])[:4]:
            if cost > 0:
                words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
                found.append(errors.forbidden(place, words))
        words = (
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor "
            f"of {_factor(total, TOTAL_LIMIT)} {_ADVICE}"
        )
        found.append(errors.forbidden(path, words))
    return found


def _walk(
    schema: Schema,
    path: str,
    many: float,
    costs: list[tuple[str, float]],
    uncorrelated: str = "",
    *,
    root: bool = False,
) -> Iterator[FieldError]:
    type = type_of(schema, root=root)
    for index, rule in enumerate(schema.get(KEY) or ()):
        yield from _rule_errors(rule, schema, type, f"{path}.{KEY}[{index}]", many, costs, uncorrelated)
    for name, below in (schema.get("properties") or {}).items():
        if isinstance(below, dict):
            yield from _walk(below, f"{path}.properties[{name}]", many, costs, uncorrelated)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            apart = key == "items" and schema.get("x-kubernetes-list-type") != "map"
            within = uncorrelated or (path if apart else "")
            yield from _walk(schema[key], f"{path}.{key}", many * max(1, type.limit), costs, within)


def _words(rule: Schema, schema: Schema, path: str) -> Iterator[FieldError]:
    """What a rule says beside its expressions."""
    message = rule.get("message") or ""
    if "\n" in message:
        yield errors.invalid(f"{path}.message", message, "must not contain line breaks")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield errors.not_supported(f"{path}.reason", reason, _REASONS)
    place = rule.get("fieldPath") or ""
    if place and not _leads(place, schema):
        yield errors.invalid(f"{path}.fieldPath", place, "must be a valid path")
    if rule.get("optionalOldSelf") and not _OLD_SELF.search(rule.get("rule") or ""):
        why = "may not be set if oldSelf is not used in rule"
        yield errors.invalid(f"{path}.optionalOldSelf", True, why)


def _leads(place: str, schema: Schema) -> bool:
    """Whether a path like `.spec.size` or `['a.b'].c` names members that the schema has."""
    at = 0
    for step in _STEP.finditer(place):
        if step.start() != at:
            return False
        at = step.end()
        name = step[1] or step[2]
        below = (schema.get("properties") or {}).get(name)
        if below is None:
            below = schema.get("additionalProperties")
        if not isinstance(below, Mapping):
            return False
        schema = below
    return at == len(place)


def _rule_errors(
    rule: Schema,
    schema: Schema,
    type: Type,
    path: str,
    many: float,
    costs: list[tuple[str, float]],
    uncorrelated: str,
) -> Iterator[FieldError]:
    text = rule.get("rule") or ""
    if not text.strip():
        yield errors.required(f"{path}.rule", "rule is not specified")
        return
    yield from _words(rule, schema, path)
    if uncorrelated and not rule.get("optionalOldSelf") and _OLD_SELF.search(text):
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        yield errors.invalid(f"{path}.rule", text, why)
        return
    scope = {"self": type, "oldSelf": DYN if rule.get("optionalOldSelf") else type}
    estimate = yield from _compiled(text, scope, f"{path}.rule", rule)
    if estimate is None:
        return
    if estimate.type.kind not in (BOOL.kind, DYN.kind):
        yield errors.invalid(f"{path}.rule", _shown(rule), "cel expression must evaluate to a bool")
    cost = estimate.cost * many
    costs.append((f"{path}.rule", cost))
    if cost > RULE_LIMIT:
        words = f"estimated rule cost exceeds budget by factor of {_factor(cost, RULE_LIMIT)} {_ADVICE}"
        yield errors.forbidden(f"{path}.rule", words)
    shown = rule.get("messageExpression")
    if shown:
        made = yield from _compiled(shown, scope, f"{path}.messageExpression", rule)
        if made is not None and made.type.kind not in ("string", DYN.kind):
            why = "messageExpression must evaluate to a string"
            yield errors.invalid(f"{path}.messageExpression", _shown(rule), why)


def _compiled(
    text: str, scope: Mapping[str, Type], path: str, rule: Schema
) -> Generator[FieldError, None, Estimate | None]:
    """Yields what is wrong; gives the estimate when nothing is."""
    check = Check([])
    estimate: Estimate | None = None
    try:
        estimate = check.estimate(parse(text), scope)
    except CelSyntaxError as error:
        check.complaints.append(Complaint(str(error), error.position))
    if not check.complaints:
        return estimate
    words = "\n".join(one.words(text) for one in check.complaints)
    yield errors.invalid(path, _shown(rule), f"compilation failed: {words}")
    return None


def _shown(rule: Schema) -> dict[str, Any]:
    """A rule as Go prints it."""
    members = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    empty = {"reason": None, "optionalOldSelf": None}
    return {name[0].upper() + name[1:]: rule.get(name) or empty.get(name, "") for name in members}


def _factor(cost: float, limit: float) -> str:
    factor = cost / limit
    return "more than 100x" if factor > 100 else f"{factor:.1f}x"
