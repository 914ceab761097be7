"""The three kinds as commands speak of them: the word, the collection, the service behind it."""

from __future__ import annotations

from dataclasses import dataclass

from kaos_ext.kube.objects import Resource
from kaos_ext.model import names

GROUP_PATH = f"/apis/{names.GROUP}/{names.VERSION}"


@dataclass(frozen=True, slots=True)
class Spoken:
    """`word` is the group of verbs (`agent`), `kind` the object's kind."""

    word: str
    kind: names.Kind

    @property
    def resource(self) -> Resource:
        return Resource(names.GROUP, names.VERSION, self.kind.plural, self.kind.value)

    def child(self, name: str) -> str:
        """Its Deployment and its Service."""
        return names.child(self.kind, name)

    def selector(self, name: str) -> str:
        """Its pods."""
        return ",".join(f"{key}={value}" for key, value in names.labels(self.kind, name).items())


AGENT = Spoken("agent", names.Kind.AGENT)
MODELAPI = Spoken("modelapi", names.Kind.MODELAPI)
MCPSERVER = Spoken("mcp", names.Kind.MCPSERVER)
ALL = (MODELAPI, MCPSERVER, AGENT)
