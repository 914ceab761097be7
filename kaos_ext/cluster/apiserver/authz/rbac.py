"""RBAC: the roles and bindings of one storage, as an answer to "may this user do that, and why?".

An index from subjects to bindings is made when it is first asked for after a change; decisions are remembered until
the next one. Members of `system:masters` may do everything, bindings or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rules import Rule, rules_of
from kaos_ext.cluster.apiserver.identity import MASTERS, UserInfo
from kaos_ext.cluster.apiserver.storage import Change, Storage

GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"{GROUP}/roles", f"{GROUP}/clusterroles"
ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS = f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"
_REMEMBERED = 8192


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` says what allowed it, or what was in the way of finding out."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """One subject's share in a binding."""

    kind: str
    namespace: str
    name: str
    role_kind: str
    role: str
    subject: str
    """In words."""

    @property
    def words(self) -> str:
        shown = f"{self.name}/{self.namespace}" if self.namespace else self.name
        return f'{self.kind} "{shown}" of {self.role_kind} "{self.role}" to {self.subject}'


_Subject = tuple[str, str]
_Index = dict[str, dict[_Subject, list[Binding]]]


class Rbac:
    """The authorizer of one server."""

    def __init__(self, storage: Storage) -> None:
        self._roles = storage.collection(ROLES)
        self._cluster_roles = storage.collection(CLUSTER_ROLES)
        self._role_bindings = storage.collection(ROLE_BINDINGS)
        self._cluster_role_bindings = storage.collection(CLUSTER_ROLE_BINDINGS)
        self._index: _Index | None = None
        self._rules: dict[tuple[str, str, str], tuple[Rule, ...]] = {}
        self._decisions: dict[tuple[str, tuple[str, ...], Attributes], Decision] = {}
        for one in (self._roles, self._cluster_roles, self._role_bindings, self._cluster_role_bindings):
            one.listeners.append(self._changed)

    def _changed(self, _change: Change) -> None:
        self._index = None
        self._rules.clear()
        self._decisions.clear()

    def decide(self, user: UserInfo, wanted: Attributes) -> Decision:
        if MASTERS in user.groups:
            return _ALWAYS
        key = (user.name, user.groups, wanted)
        found = self._decisions.get(key)
        if found is None:
            if len(self._decisions) >= _REMEMBERED:
                self._decisions.clear()
            found = self._decisions[key] = self._decide(user, wanted)
        return found

    def _decide(self, user: UserInfo, wanted: Attributes) -> Decision:
        errors: list[str] = []
        for binding in self.bindings(user, "" if wanted.path else wanted.namespace):
            rules = self.role_rules(binding.role_kind, binding.role, binding.namespace)
            if rules is None:
                errors.append(_absent(binding))
            elif any(rule.allows(wanted) for rule in rules):
                return Decision(True, f"RBAC: allowed by {binding.words}")
        return Decision(False, f"RBAC: {_together(errors)}" if errors else "")

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that hold for a user in a namespace (empty: cluster-wide), and what could not be resolved."""
        found: list[Rule] = []
        errors: list[str] = []
        for binding in self.bindings(user, namespace):
            rules = self.role_rules(binding.role_kind, binding.role, binding.namespace)
            if rules is None:
                errors.append(_absent(binding))
            else:
                found += rules
        return found, errors

    def role_rules(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...] | None:
        """The rules of a role that a binding in `namespace` names; None when there is no such role."""
        cluster = kind == "ClusterRole"
        place = "" if cluster else namespace
        rules = self._rules.get((kind, place, name))
        if rules is None:
            stored = (self._cluster_roles if cluster else self._roles).get(place, name)
            if stored is None:
                return None
            rules = self._rules[kind, place, name] = rules_of(stored.object)
        return rules

    def bindings(self, user: UserInfo, namespace: str) -> Iterator[Binding]:
        """What binds a user: cluster-wide first, then in the namespace."""
        index = self._index
        if index is None:
            index = self._index = self._indexed()
        subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
        for place in ("", namespace) if namespace else ("",):
            by_subject = index.get(place)
            if by_subject:
                bound = [one for subject in subjects for one in by_subject.get(subject, ())]
                yield from sorted(bound, key=lambda one: one.name)

    def _indexed(self) -> _Index:
        index: _Index = {}
        for collection in (self._cluster_role_bindings, self._role_bindings):
            for stored in collection.scan():
                by_subject = index.setdefault(stored.namespace, {})
                for subject, binding in _shares(stored.object, stored.namespace):
                    by_subject.setdefault(subject, []).append(binding)
        return index


_ALWAYS = Decision(True)


def _shares(object: dict[str, Any], namespace: str) -> Iterator[tuple[_Subject, Binding]]:
    reference = object.get("roleRef") or {}
    for subject in object.get("subjects") or ():
        kind, name = subject.get("kind", ""), subject.get("name", "")
        place = subject.get("namespace") or namespace
        words, key = f'{kind} "{name}"', (kind, name)
        if kind == "ServiceAccount":
            words, key = f'{kind} "{name}/{place}"', ("User", f"system:serviceaccount:{place}:{name}")
        yield (
            key,
            Binding(
                kind="RoleBinding" if namespace else "ClusterRoleBinding",
                namespace=namespace,
                name=object["metadata"]["name"],
                role_kind=reference.get("kind", ""),
                role=reference.get("name", ""),
                subject=words,
            ),
        )


def _absent(binding: Binding) -> str:
    return f'{binding.role_kind.lower()}.{GROUP} "{binding.role}" not found'


def _together(errors: Iterable[str]) -> str:
    different = list(dict.fromkeys(errors))
    return different[0] if len(different) == 1 else f"[{', '.join(different)}]"
