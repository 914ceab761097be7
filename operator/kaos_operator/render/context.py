"""What a renderer may know, and what it answers.

`Rendered.children is None` means "not now": what exists stays as it is. A list means "exactly these": owned objects
that are not in it go away, claims excepted (they hold data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kaos_ext.kube.objects import Object
from kaos_operator.registry import Runtime
from kaos_operator.settings import Settings

Lookup = Callable[[str], Object | None]
"""By name, in the namespace of the resource."""


def _nothing(name: str) -> Object | None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of one resource."""

    settings: Settings = field(default_factory=Settings)
    modelapi: Lookup = _nothing
    mcpserver: Lookup = _nothing
    agent: Lookup = _nothing
    deployment: Object | None = None
    """The resource's own Deployment as it is now."""
    claims: frozenset[str] = frozenset()
    """PersistentVolumeClaims of the namespace."""
    storage: bool = True
    """Whether a default storage class exists."""
    digests: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Digest of the content of ConfigMaps and Secrets of the namespace, by kind and name."""
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    registry_error: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition before it has a time."""

    type: str
    status: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A renderer's answer."""

    children: list[Object] | None
    phase: str | None = None
    """`Waiting` or `Failed`; None lets the Deployment decide."""
    message: str = ""
    endpoint: str | None = None
    linked: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    tools_url: str | None = None
    """Where the tools of an MCPServer are listed."""


def failed(reason: str, message: str, *verdicts: Verdict) -> Rendered:
    """The resource cannot work as it is written."""
    return Rendered(None, "Failed", message, verdicts=(Verdict("Accepted", False, reason, message), *verdicts))


def unsupported(resource: Object, paths: tuple[str, ...]) -> tuple[Verdict, ...]:
    """Names the fields that are set and have no effect yet, so that nothing is ignored in silence."""
    found = []
    for path in paths:
        node: object = resource
        for part in path.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        if node is not None:
            found.append(path)
    if not found:
        return ()
    return (Verdict("Unsupported", True, "NoEffectYet", f"accepted, but without effect yet: {', '.join(found)}"),)
