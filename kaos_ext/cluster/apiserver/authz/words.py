"""The words of a refusal: who may not do what, where."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.kube.objects import ApiError


def forbidden(user: UserInfo, wanted: Attributes, reason: str = "") -> ApiError:
    why = f'User "{user.name}" cannot {_words(wanted)}' + (f": {reason}" if reason else "")
    if wanted.path:
        return failures.failure(403, "Forbidden", f"forbidden: {why}", {})
    details: dict[str, Any] = {}
    if wanted.name:
        details["name"] = wanted.name
    if wanted.group:
        details["group"] = wanted.group
    details["kind"] = wanted.resource
    shown = failures.qualified(wanted.resource, wanted.group) + (f' "{wanted.name}"' if wanted.name else "")
    return failures.failure(403, "Forbidden", f"{shown} is forbidden: {why}", details)


def _words(wanted: Attributes) -> str:
    if wanted.path:
        return f'{wanted.verb} path "{wanted.path}"'
    scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return f'{wanted.verb} resource "{wanted.combined}" in API group "{wanted.group}" {scope}'
