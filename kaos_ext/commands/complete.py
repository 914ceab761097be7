"""What could come next in a half-written command: words of the grammar, and names of things that exist.

    complete(words, word, names)   words before the cursor, the word under it, where names come from → candidates

Pure: `names` is a function, so that a notebook can answer from what it has seen and a shell may ask the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kaos_ext.commands import grammar
from kaos_ext.commands.grammar import Flag, Names, Takes, Verb

NamesOf = Callable[[Names], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Candidate:
    word: str
    help: str = ""


def complete(words: Sequence[str], word: str, names: NamesOf) -> list[Candidate]:
    """Candidates for `word`, which may be empty; Names.FILES answers nothing: the shell knows files."""
    wanted = wants(words, word)
    if isinstance(wanted, Names):
        return [Candidate(name) for name in names(wanted) if name.startswith(word)]
    return [candidate for candidate in wanted if candidate.word.startswith(word)]


def wants(words: Sequence[str], word: str) -> list[Candidate] | Names:
    """Either the candidates, or whose names are wanted."""
    path: tuple[str, ...] = ()
    rest = [w for w in words if w]
    while rest and (grammar.find_group((*path, rest[0])) or grammar.find_verb((*path, rest[0]))):
        group = grammar.find_group((*path, rest[0]))
        path = group.words if group else (*path, rest[0])
        rest = rest[1:]
    verb = grammar.find_verb(path)
    flags = (*(verb.flags if verb else ()), *grammar.GLOBALS)
    pending = _flag(flags, rest[-1]) if rest else None
    if pending is not None and pending.takes is not Takes.NOTHING:
        return [Candidate(choice) for choice in pending.choices] or pending.completes
    if word.startswith("-"):
        return _flags(flags, rest)
    if verb is None:
        return [] if rest and not rest[0].startswith("-") else _children(path)
    return _argument(verb, flags, rest)


def _children(path: tuple[str, ...]) -> list[Candidate]:
    return [Candidate(word, help) for word, help in grammar.children(path).items()]


def _flags(flags: Iterable[Flag], used: Sequence[str]) -> list[Candidate]:
    return [
        Candidate(flag.long, flag.help)
        for flag in flags
        if not flag.hidden and (flag.repeat or not set(flag.spellings) & set(used))
    ]


def _argument(verb: Verb, flags: Sequence[Flag], rest: Sequence[str]) -> list[Candidate] | Names:
    place = 0
    skip = False
    for word in rest:
        flag = _flag(flags, word)
        if skip:
            skip = False
        elif flag is not None:
            skip = flag.takes is not Takes.NOTHING
        elif not word.startswith("-"):
            place += 1
    if verb.arguments and verb.arguments[-1].repeat:
        place = min(place, len(verb.arguments) - 1)
    if place >= len(verb.arguments):
        return _flags([flag for flag in flags if flag not in grammar.GLOBALS], rest)
    argument = verb.arguments[place]
    return [Candidate(choice) for choice in argument.choices] or argument.completes


def _flag(flags: Iterable[Flag], word: str) -> Flag | None:
    return next((flag for flag in flags if word in flag.spellings), None)
