"""Answers to "may this user do that?" and "what may I do here?"."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.authz.rules import Rule
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.kube.objects import Object


def subject_of(spec: Object) -> UserInfo:
    """Whom a SubjectAccessReview asks about."""
    extra = {key.lower(): tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return UserInfo(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)


def attributes_of(spec: Object) -> Attributes:
    """What it asks for."""
    resource: dict[str, Any] | None = spec.get("resourceAttributes")
    if resource is None:
        plain = spec.get("nonResourceAttributes") or {}
        return Attributes(plain.get("verb") or "", path=plain.get("path") or "/")
    keys = ("verb", "group", "resource", "subresource", "namespace", "name", "version")
    return Attributes(**{key: resource.get(key) or "" for key in keys})


def access(rbac: Rbac, user: UserInfo, wanted: Attributes) -> Object:
    """The status of an access review."""
    decision = rbac.decide(user, wanted)
    status: Object = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
        if not decision.allowed:
            status["evaluationError"] = decision.reason.removeprefix("RBAC: ")
    return status


def rules_status(rbac: Rbac, user: UserInfo, namespace: str) -> Object:
    """The status of a SelfSubjectRulesReview."""
    rules, errors = rbac.rules(user, namespace)
    status: Object = {
        "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
        "nonResourceRules": [
            {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.paths)} for rule in rules if rule.paths
        ],
        "incomplete": bool(errors),
    }
    if errors:
        status["evaluationError"] = ", ".join(errors)
    return status


def _resource_rule(rule: Rule) -> Object:
    shown: Object = {"verbs": list(rule.verbs), "apiGroups": list(rule.groups), "resources": list(rule.resources)}
    if rule.names:
        shown["resourceNames"] = list(rule.names)
    return shown
