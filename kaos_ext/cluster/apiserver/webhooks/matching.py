"""Which webhooks of which configurations a write concerns: rules, selectors, conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.selectors import LabelSelector
from kaos_ext.kube.objects import Object

ALL = "*"
EXEMPT = frozenset(
    {
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    }
)
"""Kinds no webhook is asked about: a wrong one could not be taken away any more."""


@dataclass(frozen=True, slots=True)
class Write:
    """What is about to happen. `new` is None for a deletion, `old` for a creation."""

    operation: str
    served: Served
    namespace: str
    name: str
    subresource: str
    new: Object | None
    old: Object | None
    dry_run: bool = False

    def with_new(self, new: Object | None) -> Write:
        return Write(
            self.operation,
            self.served,
            self.namespace,
            self.name,
            self.subresource,
            new,
            self.old,
            self.dry_run,
        )


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of a configuration."""

    configuration: str
    given: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.given.get("name") or "")

    @property
    def forgiving(self) -> bool:
        return self.given.get("failurePolicy") == "Ignore"

    @property
    def seconds(self) -> int:
        return int(self.given.get("timeoutSeconds") or 10)

    @property
    def silent(self) -> bool:
        """Whether asking it for a dry run changes nothing anywhere."""
        return self.given.get("sideEffects") in ("None", "NoneOnDryRun")

    def concerns(self, write: Write, versions: frozenset[str]) -> str:
        """The version of the resource it wants to be asked in; empty when it is not concerned.

        `versions` are all that serve the resource.
        """
        wanted = [write.served.version]
        if self.given.get("matchPolicy") != "Exact":
            wanted += sorted(versions - {write.served.version})
        for version in wanted:
            if any(_rule_matches(rule, write, version) for rule in self.given.get("rules") or ()):
                return version
        return ""

    def selects(self, write: Write, namespace_labels: Mapping[str, Any] | None) -> bool:
        if namespace_labels is not None:
            selector = LabelSelector.of(self.given.get("namespaceSelector"))
            if not selector.matches(namespace_labels):
                return False
        chosen = LabelSelector.of(self.given.get("objectSelector"))
        if not chosen:
            return True
        objects = [one for one in (write.new, write.old) if one is not None]
        return any(chosen.matches((one.get("metadata") or {}).get("labels")) for one in objects)


def webhooks_of(configurations: list[Object]) -> Iterator[Webhook]:
    """All of them, configurations by name."""
    for configuration in sorted(configurations, key=lambda one: str(one["metadata"]["name"])):
        for given in configuration.get("webhooks") or ():
            yield Webhook(configuration["metadata"]["name"], given)


def _rule_matches(rule: Mapping[str, Any], write: Write, version: str) -> bool:
    served = write.served
    scope = rule.get("scope") or ALL
    if scope != ALL and (scope == "Namespaced") != served.namespaced:
        return False
    return (
        _in(rule.get("operations"), write.operation)
        and _in(rule.get("apiGroups"), served.group)
        and _in(rule.get("apiVersions"), version)
        and any(_resource_matches(one, served.plural, write.subresource) for one in rule.get("resources") or ())
    )


def _in(given: Any, wanted: str) -> bool:
    return bool(given) and (ALL in given or wanted in given)


def _resource_matches(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, below = pattern.partition("/")
    return resource in (ALL, plural) and below in ((ALL, subresource) if "/" in pattern else (subresource,))
