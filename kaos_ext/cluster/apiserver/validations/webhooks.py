"""Validation of webhook configurations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns_subdomain_errors

Object = dict[str, Any]
_REVIEWS = ("v1", "v1beta1")


def configuration_errors(new: Object, old: Object | None) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for index, webhook in enumerate(new.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        found += _webhook(webhook, path)
        name = webhook.get("name") or ""
        if name in names:
            found.append(errors.duplicate(f"{path}.name", name))
        names.add(name)
    return found


def _webhook(webhook: Object, path: str) -> Iterator[FieldError]:
    name = webhook.get("name") or ""
    if not name:
        yield errors.required(f"{path}.name")
    else:
        for why in dns_subdomain_errors(name):
            yield errors.invalid(f"{path}.name", name, why)
        if name.count(".") < 2:
            why = "should be a domain with at least three segments separated by dots"
            yield errors.invalid(f"{path}.name", name, why)
    versions = webhook.get("admissionReviewVersions") or []
    if not versions:
        why = f"must specify one of {', '.join(_REVIEWS)}"
        yield errors.required(f"{path}.admissionReviewVersions", why)
    elif not set(versions) & set(_REVIEWS):
        why = f"must include at least one of {', '.join(_REVIEWS)}"
        yield errors.invalid(f"{path}.admissionReviewVersions", versions, why)
    effects = webhook.get("sideEffects")
    if effects is None:
        yield errors.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    elif effects not in ("None", "NoneOnDryRun"):
        yield errors.not_supported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
    if webhook.get("failurePolicy") not in (None, "Fail", "Ignore"):
        yield errors.not_supported(f"{path}.failurePolicy", webhook["failurePolicy"], ("Fail", "Ignore"))
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield errors.invalid(f"{path}.timeoutSeconds", seconds, why)
    yield from _client(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    yield from _conditions(webhook.get("matchConditions") or [], f"{path}.matchConditions")
    for index, rule in enumerate(webhook.get("rules") or ()):
        for member in ("operations", "apiGroups", "apiVersions", "resources"):
            if not rule.get(member):
                yield errors.required(f"{path}.rules[{index}].{member}")


def _client(config: Object, path: str) -> Iterator[FieldError]:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        yield errors.required(path, "exactly one of url or service is required")
    elif url is not None and not url.startswith("https://"):
        why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
        yield errors.invalid(f"{path}.url", url, why)
    elif service is not None:
        for member in ("name", "namespace"):
            if not service.get(member):
                yield errors.required(f"{path}.service.{member}", f"service {member} is required")


def _conditions(conditions: list[Object], path: str) -> Iterator[FieldError]:
    if not conditions:
        return
    from kaos_ext.cluster.apiserver.cel.check import Check, Complaint
    from kaos_ext.cluster.apiserver.cel.syntax import CelSyntaxError, parse
    from kaos_ext.cluster.apiserver.cel.types import DYN

    scope = dict.fromkeys(("object", "oldObject", "request", "authorizer"), DYN)
    for index, condition in enumerate(conditions):
        text = condition.get("expression") or ""
        check = Check([])
        try:
            check.estimate(parse(text), scope)
        except CelSyntaxError as error:
            check.complaints.append(Complaint(str(error), error.position))
        if check.complaints:
            words = "\n".join(one.words(text) for one in check.complaints)
            yield errors.invalid(f"{path}[{index}].expression", text, f"compilation failed: {words}")
