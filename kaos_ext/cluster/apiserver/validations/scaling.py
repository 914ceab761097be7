"""What bounds the number of Pods: autoscalers and disruption budgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.validations.label_selectors import selector_errors

Object = dict[str, Any]

_SOURCES = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_SELECT = ("Disabled", "Max", "Min")
_WINDOW, _PERIOD = 3600, 1800


def autoscaler_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_autoscaler(new))


def _autoscaler(new: Object) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        yield errors.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        if most == 0:
            yield errors.required("spec.maxReplicas", "must be set and greater than 0")
        else:
            yield errors.invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield errors.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from _target(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    metrics = spec.get("metrics") or ()
    for index, metric in enumerate(metrics):
        yield from _metric(metric, f"spec.metrics[{index}]")
    if least == 0 and metrics and not any(one.get("type") in ("Object", "External") for one in metrics):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield errors.forbidden("spec.metrics", why)
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            yield from _rules(rules, f"spec.behavior.{direction}")


def _target(reference: Object, path: str) -> Iterator[FieldError]:
    for key in ("kind", "name"):
        if not reference.get(key):
            yield errors.required(f"{path}.{key}")
    if not reference.get("apiVersion") and not reference.get("kind"):
        yield errors.invalid(f"{path}.apiVersion", "", "apiVersion must specify API group")


def _metric(metric: Object, path: str) -> Iterator[FieldError]:
    kind = metric.get("type") or ""
    if not kind:
        yield errors.required(f"{path}.type", "must specify a metric source type")
    elif kind not in _SOURCES:
        yield errors.not_supported(f"{path}.type", kind, tuple(_SOURCES))
    elif metric.get(_SOURCES[kind]) is None:
        why = "must populate information for the given metric source"
        yield errors.required(f"{path}.{_SOURCES[kind]}", why)
    for other, member in _SOURCES.items():
        if other != kind and kind in _SOURCES and metric.get(member) is not None:
            why = "must populate the given metric source only"
            yield errors.forbidden(f"{path}.{member}", why)


def _rules(rules: Object, path: str) -> Iterator[FieldError]:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        yield errors.invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > _WINDOW:
        why = f"must be less than or equal to {_WINDOW}"
        yield errors.invalid(f"{path}.stabilizationWindowSeconds", window, why)
    if rules.get("selectPolicy") not in (None, *_SELECT):
        yield errors.not_supported(f"{path}.selectPolicy", rules["selectPolicy"], _SELECT)
    if rules.get("policies") == []:
        yield errors.required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(rules.get("policies") or ()):
        here = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Percent", "Pods"):
            yield errors.not_supported(f"{here}.type", policy.get("type") or "", ("Percent", "Pods"))
        for key in ("value", "periodSeconds"):
            if (policy.get(key) or 0) <= 0:
                yield errors.invalid(f"{here}.{key}", policy.get(key) or 0, "must be greater than zero")
        if (policy.get("periodSeconds") or 0) > _PERIOD:
            why = f"must be less than or equal to {_PERIOD}"
            yield errors.invalid(f"{here}.periodSeconds", policy["periodSeconds"], why)


def budget_errors(new: Object, old: Object | None) -> list[FieldError]:
    return list(_budget(new.get("spec") or {}))


def _budget(spec: Object) -> Iterator[FieldError]:
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        shown = {key[0].upper() + key[1:]: spec.get(key) for key in ("minAvailable", "selector", "maxUnavailable")}
        shown["UnhealthyPodEvictionPolicy"] = spec.get("unhealthyPodEvictionPolicy")
        yield errors.invalid("spec", shown, "minAvailable and maxUnavailable cannot be both set")
    for key in ("minAvailable", "maxUnavailable"):
        if spec.get(key) is not None:
            yield from _amount(spec[key], f"spec.{key}")
    if spec.get("selector") is not None:
        yield from selector_errors(spec["selector"], "spec.selector")
    if spec.get("unhealthyPodEvictionPolicy") not in (None, *_POLICIES):
        yield errors.not_supported("spec.unhealthyPodEvictionPolicy", spec["unhealthyPodEvictionPolicy"], _POLICIES)


def _amount(value: Any, path: str) -> Iterator[FieldError]:
    if isinstance(value, str):
        if re.fullmatch(r"[0-9]+%", value) is None:
            yield errors.invalid(path, value, _PERCENT)
        elif int(value[:-1]) > 100:
            yield errors.invalid(path, value, "must not be greater than 100%")
    elif value < 0:
        yield errors.invalid(path, value, "must be greater than or equal to 0")
