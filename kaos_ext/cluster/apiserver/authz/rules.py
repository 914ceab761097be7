"""Rules of roles: what one allows, and whether rules cover others (nobody grants what they do not hold).

To compare two sets of rules the second is broken into its smallest parts: one verb on one resource of one group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.authz.attributes import Attributes

ALL = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a role; names and paths empty where it does not speak of them."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, wanted: Attributes) -> bool:
        if wanted.verb not in self.verbs and ALL not in self.verbs:
            return False
        if wanted.path:
            return any(_path_covers(path, wanted.path) for path in self.paths)
        if wanted.group not in self.groups and ALL not in self.groups:
            return False
        return self._names_resource(wanted) and (not self.names or wanted.name in self.names)

    def _names_resource(self, wanted: Attributes) -> bool:
        if ALL in self.resources or wanted.combined in self.resources:
            return True
        return bool(wanted.subresource) and f"{ALL}/{wanted.subresource}" in self.resources

    def covers(self, part: Rule) -> bool:
        """Whether this rule alone grants a part as `parts` makes them."""
        return (
            _has_all(self.verbs, part.verbs)
            and _has_all(self.groups, part.groups)
            and all(_resource_covered(self.resources, one) for one in part.resources)
            and all(any(_path_covers(own, path) for own in self.paths) for path in part.paths)
            and (not self.names or (bool(part.names) and set(part.names) <= set(self.names)))
        )

    def parts(self) -> Iterator[Rule]:
        for group in self.groups:
            for resource in self.resources:
                for verb in self.verbs:
                    if self.names:
                        for name in self.names:
                            yield Rule((verb,), (group,), (resource,), (name,))
                    else:
                        yield Rule((verb,), (group,), (resource,))
        for path in self.paths:
            for verb in self.verbs:
                yield Rule((verb,), paths=(path,))

    def text(self) -> str:
        shown = (
            ("APIGroups", self.groups),
            ("Resources", self.resources),
            ("NonResourceURLs", self.paths),
            ("ResourceNames", self.names),
            ("Verbs", self.verbs),
        )
        return "{" + ", ".join(f"{word}:{quoted(values)}" for word, values in shown if values) + "}"


def rule_of(object: Mapping[str, Any]) -> Rule:
    return Rule(
        tuple(object.get("verbs") or ()),
        tuple(object.get("apiGroups") or ()),
        tuple(object.get("resources") or ()),
        tuple(object.get("resourceNames") or ()),
        tuple(object.get("nonResourceURLs") or ()),
    )


def rules_of(role: Mapping[str, Any]) -> tuple[Rule, ...]:
    return tuple(rule_of(one) for one in role.get("rules") or ())


def missing(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of `wanted` that no held rule covers."""
    own = list(held)
    return [part for rule in wanted for part in rule.parts() if not any(one.covers(part) for one in own)]


def described(parts: Iterable[Rule]) -> list[str]:
    """Parts in words, those of one resource together."""
    together: dict[tuple[Any, ...], list[str]] = {}
    plain: set[str] = set()
    for part in parts:
        if part.paths:
            plain.add(part.text())
        else:
            together.setdefault((part.groups, part.resources, part.names), []).extend(part.verbs)
    for (groups, resources, names), verbs in together.items():
        plain.add(Rule(tuple(dict.fromkeys(verbs)), groups, resources, names).text())
    return sorted(plain)


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's %q writes it."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def _has_all(own: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return ALL in own or all(one in own for one in wanted)


def _resource_covered(own: tuple[str, ...], wanted: str) -> bool:
    if ALL in own or wanted in own:
        return True
    return "/" in wanted and f"{ALL}/{wanted.partition('/')[2]}" in own


def _path_covers(own: str, wanted: str) -> bool:
    return own in (ALL, wanted) or (own.endswith(ALL) and wanted.startswith(own.rstrip(ALL)))
