"""Impersonation: who a request acts as, and whether its sender may.

`Impersonate-User`, `-Group` (many), `-Uid` and `-Extra-<key>` name somebody else. The sender needs the verb
`impersonate` on each of them; or, for one kind of request only, `impersonate-on:<mode>:<verb>` on what it asks for and
`impersonate:<mode>` on each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.authz.words import forbidden
from kaos_ext.cluster.apiserver.identity import ANONYMOUS, AUTHENTICATED, UserInfo

PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the headers ask for."""

    user: str
    groups: tuple[str, ...]
    uid: str
    extra: dict[str, tuple[str, ...]]


def asked(headers: Iterable[tuple[str, str]]) -> Asked | None:
    """What these headers ask for; None when they ask for nobody."""
    user = uid = ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for key, value in headers:
        name = key.lower()
        if not name.startswith(PREFIX):
            continue
        if name == "impersonate-user":
            user = value
        elif name == "impersonate-group":
            groups.append(value)
        elif name == "impersonate-uid":
            uid = value
        elif name.startswith(_EXTRA):
            topic = unquote(name.removeprefix(_EXTRA))
            extra[topic] = (*extra.get(topic, ()), value)
    if not user and (groups or uid or extra):
        shown_groups = "[]string{" + ", ".join(f'"{one}"' for one in groups) + "}" if groups else "[]string(nil)"
        raise failures.bad_request(
            f'requested &user.DefaultInfo{{Name:"", UID:"{uid}", Groups:{shown_groups}, '
            "Extra:map[string][]string(nil)} without impersonating a user name"
        )
    return Asked(user, tuple(groups), uid, extra) if user else None


def impersonated(rbac: Rbac, sender: UserInfo, asked: Asked, wanted: Attributes) -> UserInfo:
    """The user the request acts as; refused when the sender may not be them."""
    if not all(rbac.decide(sender, one).allowed for one in _needed(asked, "impersonate", "")):
        _check_constrained(rbac, sender, asked, wanted)
    return _user(asked)


def _check_constrained(rbac: Rbac, sender: UserInfo, asked: Asked, wanted: Attributes) -> None:
    mode = "serviceaccount" if _account(asked.user) else "user-info"
    needed = [
        wanted._replace(verb=f"impersonate-on:{mode}:{wanted.verb}"),
        *_needed(asked, f"impersonate:{mode}", _AUTHENTICATION),
    ]
    for one in needed:
        decision = rbac.decide(sender, one)
        if not decision.allowed:
            raise forbidden(sender, one, decision.reason)


def _needed(asked: Asked, verb: str, group: str) -> Iterator[Attributes]:
    account = _account(asked.user)
    if account:
        yield Attributes(verb, group, "serviceaccounts", "", *account, version="v1")
    else:
        yield Attributes(verb, group, "users", name=asked.user, version="v1")
    for one in asked.groups:
        yield Attributes(verb, group, "groups", name=one, version="v1")
    if asked.uid:
        yield Attributes(verb, _AUTHENTICATION, "uids", name=asked.uid, version="v1")
    for key, values in asked.extra.items():
        for value in values:
            yield Attributes(verb, _AUTHENTICATION, "userextras", key, name=value, version="v1")


def _account(user: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user."""
    namespace, _, name = user.removeprefix(_ACCOUNT).partition(":")
    return (namespace, name) if user.startswith(_ACCOUNT) and namespace and name else None


def _user(asked: Asked) -> UserInfo:
    groups = asked.groups
    account = _account(asked.user)
    if account and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    everyone = "system:unauthenticated" if asked.user == ANONYMOUS else AUTHENTICATED
    if everyone not in groups:
        groups = (*groups, everyone)
    return UserInfo(asked.user, asked.uid, groups, asked.extra)
