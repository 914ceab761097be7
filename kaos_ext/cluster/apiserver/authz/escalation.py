"""Nobody grants what they do not hold: checks on writes of roles and bindings.

Whoever may `escalate` roles writes any rules; whoever may `bind` a role binds it; others only what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import GROUP, Rbac
from kaos_ext.cluster.apiserver.authz.rules import Rule, described, missing, quoted, rules_of
from kaos_ext.cluster.apiserver.identity import MASTERS, UserInfo
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.kube.objects import Object

GUARDED = frozenset({"roles", "clusterroles", "rolebindings", "clusterrolebindings"})
_OF_COLLECTION = ("finalizers", "ownerReferences", "managedFields", "resourceVersion")
"""What the garbage collector changes, which grants nothing."""


def check(rbac: Rbac, served: Served, user: UserInfo, new: Object, old: Object | None) -> None:
    """Raise the refusal, if this write would give somebody more than its writer has."""
    if served.group != GROUP or served.plural not in GUARDED or MASTERS in user.groups:
        return
    if old is not None and _same_grant(new, old):
        return
    meta = new["metadata"]
    name, namespace = meta.get("name") or "", meta.get("namespace") or ""
    if served.plural in ("roles", "clusterroles"):
        wanted = Attributes("escalate", GROUP, served.plural, "", namespace, name, served.version)
        rules: Iterable[Rule] = rules_of(new)
        if served.plural == "clusterroles" and new.get("aggregationRule"):
            # It will take over the rules of whatever its selectors find, one day.
            rules = [*rules, Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",))]
    else:
        reference = new.get("roleRef") or {}
        kind, role = reference.get("kind", ""), reference.get("name", "")
        plural = "clusterroles" if kind == "ClusterRole" else "roles"
        wanted = Attributes("bind", GROUP, plural, "", namespace, role, served.version)
        if rbac.decide(user, wanted).allowed:
            return
        found = rbac.role_rules(kind, role, namespace)
        if found is None:
            details = {"name": role, "group": GROUP, "kind": plural}
            raise failures.failure(404, "NotFound", f'{plural}.{GROUP} "{role}" not found', details)
        rules = found
    if rbac.decide(user, wanted).allowed:
        return
    held, errors = rbac.rules(user, namespace)
    lacking = missing(held, rules)
    if not lacking:
        return
    why = (
        f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently '
        "held:\n" + "\n".join(described(lacking))
    )
    if errors:
        why += f"; resolution errors: [{', '.join(errors)}]"
    raise failures.forbidden(served, name, why)


def _same_grant(new: Object, old: Object) -> bool:
    def granted(object: Object) -> Object:
        meta = {key: value for key, value in object["metadata"].items() if key not in _OF_COLLECTION}
        return {**object, "metadata": meta}

    return granted(new) == granted(old)
