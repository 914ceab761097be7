"""Where Pods may run: tolerations, affinities, spreading, and the taints of nodes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns_subdomain_errors, label_value_errors, qualified_name_errors
from kaos_ext.cluster.apiserver.validations.label_selectors import selector_errors

Object = dict[str, Any]

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("Equal", "Exists")
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def placement_errors(spec: Object, path: str) -> Iterator[FieldError]:
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        yield from _toleration(toleration, f"{path}.tolerations[{index}]")
    yield from _affinity(spec.get("affinity") or {}, f"{path}.affinity")
    for index, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _spread(one, f"{path}.topologySpreadConstraints[{index}]")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from _alias(alias, f"{path}.hostAliases[{index}]")


def _toleration(one: Object, path: str) -> Iterator[FieldError]:
    key, operator, effect = one.get("key") or "", one.get("operator") or "", one.get("effect") or ""
    if key:
        yield from (errors.invalid(f"{path}.key", key, why) for why in qualified_name_errors(key))
    elif operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield errors.invalid(f"{path}.operator", operator, why)
    if one.get("tolerationSeconds") is not None and effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield errors.invalid(f"{path}.effect", effect, why)
    value = one.get("value") or ""
    if operator in ("", "Equal"):
        wrong = label_value_errors(value)
        if wrong:
            yield errors.invalid(f"{path}.operator", value, ";".join(wrong))
    elif operator == "Exists":
        if value:
            yield errors.invalid(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
    else:
        yield errors.not_supported(f"{path}.operator", operator, _OPERATORS)
    if effect and effect not in _EFFECTS:
        yield errors.not_supported(f"{path}.effect", effect, _EFFECTS)


def _affinity(affinity: Object, path: str) -> Iterator[FieldError]:
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    here = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    if required is not None:
        if not required.get("nodeSelectorTerms"):
            yield errors.required(f"{here}.nodeSelectorTerms", "must have at least one node selector term")
        for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
            yield from _term(term, f"{here}.nodeSelectorTerms[{index}]")
    here = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    for index, one in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from _weight(one, f"{here}[{index}]")
        yield from _term(one.get("preference") or {}, f"{here}[{index}].preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        given = affinity.get(kind) or {}
        here = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution"
        for index, term in enumerate(given.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            yield from _pod_term(term, f"{here}[{index}]")
        here = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution"
        for index, one in enumerate(given.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            yield from _weight(one, f"{here}[{index}]")
            yield from _pod_term(one.get("podAffinityTerm") or {}, f"{here}[{index}].podAffinityTerm")


def _weight(one: Object, path: str) -> Iterator[FieldError]:
    weight = one.get("weight") or 0
    if not 1 <= weight <= 100:
        yield errors.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _term(term: Object, path: str) -> Iterator[FieldError]:
    for index, one in enumerate(term.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{index}]"
        operator, values = one.get("operator") or "", one.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                yield errors.required(f"{here}.values", why)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield errors.forbidden(f"{here}.values", why)
        elif operator in ("Gt", "Lt"):
            if len(values) != 1:
                why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                yield errors.required(f"{here}.values", why)
        else:
            yield errors.invalid(f"{here}.operator", operator, "not a valid selector operator")
        key = one.get("key") or ""
        yield from (errors.invalid(f"{here}.key", key, why) for why in qualified_name_errors(key))


def _pod_term(term: Object, path: str) -> Iterator[FieldError]:
    if term.get("labelSelector") is not None:
        yield from selector_errors(term["labelSelector"], f"{path}.labelSelector")
    key = term.get("topologyKey") or ""
    if not key:
        yield errors.required(f"{path}.topologyKey", "can not be empty")
    yield from (errors.invalid(f"{path}.topologyKey", key, why) for why in qualified_name_errors(key))


def _spread(one: Object, path: str) -> Iterator[FieldError]:
    if (one.get("maxSkew") or 0) <= 0:
        yield errors.invalid(f"{path}.maxSkew", one.get("maxSkew") or 0, "must be greater than zero")
    key = one.get("topologyKey") or ""
    if not key:
        yield errors.required(f"{path}.topologyKey", "can not be empty")
    else:
        yield from (errors.invalid(f"{path}.topologyKey", key, why) for why in qualified_name_errors(key))
    if one.get("whenUnsatisfiable") not in _UNSATISFIABLE:
        yield errors.not_supported(f"{path}.whenUnsatisfiable", one.get("whenUnsatisfiable") or "", _UNSATISFIABLE)


def _alias(alias: Object, path: str) -> Iterator[FieldError]:
    address = alias.get("ip") or ""
    if not is_address(address):
        yield errors.invalid(f"{path}.ip", address, ADDRESS)
    for index, name in enumerate(alias.get("hostnames") or ()):
        yield from (errors.invalid(f"{path}.hostnames[{index}]", name, why) for why in dns_subdomain_errors(name))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def node_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_taints((new.get("spec") or {}).get("taints") or ()))


def _taints(taints: Any) -> Iterator[FieldError]:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        path = f"metadata.taints[{index}]"
        key, value, effect = taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
        yield from (errors.invalid(f"{path}.key", key, why) for why in qualified_name_errors(key))
        yield from (errors.invalid(f"{path}.value", value, why) for why in label_value_errors(value))
        if not effect:
            yield errors.required(f"{path}.effect")
        elif effect not in _EFFECTS:
            yield errors.not_supported(f"{path}.effect", effect, _EFFECTS)
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            twice = errors.duplicate(path, shown)
            yield FieldError(path, twice.reason, f"{twice.message}: taints must be unique by key and effect pair")
        seen.add((key, effect))
