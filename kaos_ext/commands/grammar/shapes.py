"""What a verb is made of, as values: words, arguments, flags, an example, and where its code is.

    Verb   ("agent", "deploy")  its arguments and flags, help, example, `handler` = "module:function" (loaded when run)
    Flag   --auto-interval SECONDS   what it takes, its limits, whether it repeats, whose names complete it
    Group  ("agent", "a2a")     a word that only leads to verbs

Parsing, help, completion, the documentation page and the magic are all read from these. Pure, nothing is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Takes(StrEnum):
    """What follows a flag."""

    NOTHING = "nothing"
    TEXT = "text"
    INTEGER = "integer"
    SECONDS = "seconds"
    """A positive number, fractions allowed; never a field of an object, only of our own patience."""


class Names(StrEnum):
    """Whose names complete a word; the kinds are looked up in the cluster."""

    NOTHING = ""
    AGENTS = "agents"
    MODELAPIS = "modelapis"
    MCPSERVERS = "mcpservers"
    NAMESPACES = "namespaces"
    CONTEXTS = "contexts"
    CLUSTERS = "clusters"
    SAMPLES = "samples"
    FILES = "files"


@dataclass(frozen=True, slots=True)
class Flag:
    """One `--name`; `default` is what the verb gets when it is not given."""

    name: str
    help: str
    short: str = ""
    takes: Takes = Takes.TEXT
    metavar: str = ""
    repeat: bool = False
    required: bool = False
    choices: tuple[str, ...] = ()
    ignore_case: bool = False
    minimum: int | None = None
    maximum: int | None = None
    default: str | int | float | None = None
    completes: Names = Names.NOTHING
    hidden: bool = False

    @property
    def long(self) -> str:
        return f"--{self.name}"

    @property
    def key(self) -> str:
        """The keyword argument of the handler."""
        return self.name.replace("-", "_")

    @property
    def spellings(self) -> tuple[str, ...]:
        return (f"-{self.short}", self.long) if self.short else (self.long,)


@dataclass(frozen=True, slots=True)
class Argument:
    """A word by place."""

    name: str
    help: str
    completes: Names = Names.NOTHING
    optional: bool = False
    choices: tuple[str, ...] = ()
    new: bool = False
    """The name of something to be made: it must be one that Kubernetes takes."""
    repeat: bool = False
    """The last argument of a verb may stand for all the words that are left."""

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing `kaos` does. `body` names the flag or argument that the text of a notebook cell fills."""

    words: tuple[str, ...]
    help: str
    handler: str
    example: str
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Flag, ...] = ()
    description: str = ""
    body: str = ""
    changes: bool = False
    streams: bool = False
    shell_only: bool = False
    hidden: bool = False
    default_namespace: str = ""

    @property
    def name(self) -> str:
        return " ".join(self.words)

    def flag(self, key: str) -> Flag | None:
        return next((flag for flag in self.flags if flag.key == key), None)


@dataclass(frozen=True, slots=True)
class Group:
    """A word that only leads on."""

    words: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return " ".join(self.words)
