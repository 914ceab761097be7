"""From words to a verb with typed values, or a UsageError that says which word is wrong and what was meant.

    words ─ take the global flags ─ walk the grammar to a verb ─ argparse for that verb alone ─ types and limits

Nothing is contacted and nothing is changed here. Only the parser of the verb that was asked for is built.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kaos_ext.commands import grammar
from kaos_ext.commands.grammar import Argument, Flag, Takes, Verb
from kaos_ext.model.errors import UsageError

LONGEST_NAME = 63 - len("mcpserver-")
Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Options:
    """The flags every verb has."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    json: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A verb and its values by keyword; `topic` instead of a verb when help was asked for."""

    verb: Verb | None
    values: dict[str, Value] = field(default_factory=dict)
    options: Options = Options()
    topic: tuple[str, ...] = ()


class _Parser(argparse.ArgumentParser):
    """argparse that raises our error and never prints or exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(words: Sequence[str], body: str | None = None) -> Parsed:
    """Parse the words after `kaos`; `body` is the text of a notebook cell, which fills the verb's `body` flag."""
    rest, given = _split_globals(list(words))
    help = given.pop("help", False)
    if rest[:1] == ["help"]:
        help, rest = True, rest[1:]
    path, rest = _walk(rest)
    verb = grammar.find_verb(path)
    if verb is None and rest:
        raise _unknown_word(path, rest[0])
    if verb is None or help:
        return Parsed(None, topic=path)
    options = Options(**given)
    values = _parse_verb(verb, rest)
    if body is not None:
        if not verb.body:
            raise UsageError(f"`kaos {verb.name}` takes no text", hint=f"%kaos {verb.name} on one line")
        if values.get(verb.body) is None:
            values[verb.body] = body
    _require(verb, values)
    return Parsed(verb, values, options)


def options_of(words: Sequence[str]) -> Options:
    """The global flags in a command that may be half-written."""
    try:
        _, given = _split_globals(list(words))
    except UsageError:
        return Options()
    given.pop("help", None)
    return Options(**given)


def _split_globals(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take the flags every verb has out of the words, wherever they stand; a verb's own flag's value is left alone."""
    spellings = {spelling: flag for flag in grammar.GLOBALS for spelling in flag.spellings}
    takes_value = _value_flags(words)
    rest: list[str] = []
    given: dict[str, Any] = {}
    stream = iter(words)
    for word in stream:
        name, equals, value = word.partition("=")
        # A verb's own flag wins: `kaos test -n 2` is no namespace.
        flag = None if word in takes_value else spellings.get(name if word.startswith("--") else word)
        if word == "--":
            rest += [word, *stream]
        elif flag is None and word[:2] == "-n" and len(word) > 2 and "-n" not in takes_value:
            given["namespace"] = word[2:].removeprefix("=")
        elif flag is None:
            rest.append(word)
            if word in takes_value:
                rest += _next(stream)
        elif flag.takes is Takes.NOTHING:
            if equals:
                raise UsageError(f"{flag.long} takes no value")
            given[flag.key] = True
        else:
            following = [value] if equals else _next(stream)
            if not following or not following[0]:
                raise UsageError(f"{flag.long} needs a value", hint=f"{flag.long} {flag.metavar}")
            given[flag.key] = following[0]
    return rest, given


def _value_flags(words: list[str]) -> frozenset[str]:
    """Spellings that take the next word, whatever it looks like, for the verb these words begin with."""
    path: tuple[str, ...] = ()
    for word in words:
        if grammar.find_group((*path, word)) or grammar.find_verb((*path, word)):
            path = (*path, word)
    verb = grammar.find_verb(_canonical(path))
    flags = verb.flags if verb else ()
    return frozenset(spelling for flag in flags if flag.takes is not Takes.NOTHING for spelling in flag.spellings)


def _next(stream: Iterator[str]) -> list[str]:
    word = next(stream, None)
    return [] if word is None else [word]


def _canonical(path: tuple[str, ...]) -> tuple[str, ...]:
    group = grammar.find_group(path[:1])
    return (*group.words, *path[1:]) if group else path


def _walk(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Follow the words that lead to a verb or a group."""
    path: tuple[str, ...] = ()
    for index, word in enumerate(words):
        longer = _canonical((*path, word))
        if grammar.find_verb(longer):
            return longer, words[index + 1 :]
        if not grammar.find_group(longer):
            return path, words[index:]
        path = longer
    return path, []


def _unknown_word(path: tuple[str, ...], word: str) -> UsageError:
    known = grammar.children(path)
    begin = " ".join(("kaos", *path))
    if word.startswith("-"):
        return UsageError(f"{word} needs a verb before it", hint=f"{begin} --help")
    meant = grammar.closest(word, known)
    said = f"there is no verb `{word}`" if not path else f"`{begin}` has no verb `{word}`"
    hint = f"did you mean `{begin} {meant}`?" if meant else f"one of: {', '.join(known)}"
    return UsageError(said, hint=hint)


def _parse_verb(verb: Verb, words: list[str]) -> dict[str, Value]:
    parser = _Parser(prog=f"kaos {verb.name}", add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in verb.flags:
        if flag.takes is Takes.NOTHING:
            parser.add_argument(*flag.spellings, dest=flag.key, action="store_true")
        else:
            parser.add_argument(*flag.spellings, dest=flag.key, action="append")
    places = parser.add_argument("places", nargs="*")
    try:
        found, unknown = parser.parse_known_intermixed_args(_protect(verb, words))
    except argparse.ArgumentError as error:
        raise _bad_flag(verb, error) from None
    for word in unknown:
        raise _unknown_flag(verb, word)
    values: dict[str, Value] = dict(_place(verb, list(getattr(found, places.dest) or [])))
    for flag in verb.flags:
        values[flag.key] = _value(flag, getattr(found, flag.key))
    return values


def _protect(verb: Verb, words: list[str]) -> list[str]:
    """Join a flag and its value with `=`, so that a value may begin with a dash."""
    takers = {spelling: flag for flag in verb.flags if flag.takes is not Takes.NOTHING for spelling in flag.spellings}
    known = {spelling for flag in verb.flags for spelling in flag.spellings}
    joined: list[str] = []
    stream = iter(words)
    for word in stream:
        if word == "--":
            return [*joined, word, *stream]
        flag = takers.get(word)
        following = _next(stream) if flag else []
        if flag and following and following[0] not in known:
            joined.append(f"{flag.long}={following[0]}")
        else:
            joined += [word, *following]
    return joined


def _bad_flag(verb: Verb, error: argparse.ArgumentError) -> UsageError:
    spelled = (error.argument_name or "").split("/")[-1]
    flag = next((flag for flag in verb.flags if flag.long == spelled), None)
    if flag is None:
        return UsageError(str(error), hint=f"kaos {verb.name} --help")
    if flag.takes is Takes.NOTHING:
        return UsageError(f"{flag.long} takes no value", hint=f"kaos {verb.name} --help")
    return UsageError(f"{flag.long} needs a value", hint=f"{flag.long} {flag.metavar}  ({flag.help})")


def _unknown_flag(verb: Verb, word: str) -> UsageError:
    name = word.partition("=")[0]
    known = [spelling for flag in (*verb.flags, *grammar.GLOBALS) if not flag.hidden for spelling in flag.spellings]
    meant = grammar.closest(name, [spelling for spelling in known if spelling.startswith("--")])
    hint = f"did you mean {meant}?" if meant else f"kaos {verb.name} --help"
    return UsageError(f"`kaos {verb.name}` has no flag {name}", hint=hint)


def _place(verb: Verb, words: list[str]) -> Iterator[tuple[str, Value]]:
    for argument in verb.arguments:
        if argument.repeat and words:
            yield argument.key, tuple(words)
            return
        word = words.pop(0) if words else None
        if word is None and not argument.optional:
            raise UsageError(
                f"`kaos {verb.name}` needs {argument.help if argument.choices else 'the ' + argument.help}",
                hint=verb.example,
            )
        if word is not None and argument.choices:
            word = _choose(argument, word)
        if word is not None and argument.new:
            _check_name(word)
        yield argument.key, word
    if words:
        raise UsageError(f"`kaos {verb.name}` does not expect `{words[0]}`", hint=_usage_hint(verb))


def _check_name(word: str) -> None:
    """The rule of Kubernetes for labels, with room for the prefix of a child's name (`mcpserver-…`)."""
    if re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", word) and len(word) <= LONGEST_NAME:
        return
    better = re.sub(r"[^a-z0-9]+", "-", word.lower())[:LONGEST_NAME].strip("-") or "my-agent"
    raise UsageError(
        f"`{word}` is not a name: small letters, digits and `-`, at most {LONGEST_NAME} of them", hint=f"try `{better}`"
    )


def _usage_hint(verb: Verb) -> str:
    return (
        verb.example if not verb.arguments else f"kaos {verb.name} {' '.join(a.name.upper() for a in verb.arguments)}"
    )


def _choose(argument: Argument, word: str) -> str:
    if word in argument.choices:
        return word
    meant = grammar.closest(word, argument.choices)
    raise UsageError(
        f"{argument.name} cannot be `{word}`",
        hint=f"did you mean {meant}?" if meant else f"one of: {', '.join(argument.choices)}",
    )


def _value(flag: Flag, given: Any) -> Value:
    if flag.takes is Takes.NOTHING:
        return bool(given)
    if flag.repeat:
        return tuple(_choice(flag, word) if flag.choices else word for word in given or ())
    if not given:
        return flag.default
    if len(given) > 1:
        raise UsageError(f"{flag.long} was given {len(given)} times", hint=f"{flag.long} takes one value")
    word = str(given[0])
    if flag.takes is Takes.INTEGER:
        return _integer(flag, word)
    if flag.takes is Takes.SECONDS:
        return _seconds(flag, word)
    if flag.choices:
        return _choice(flag, word)
    return word


def _choice(flag: Flag, word: str) -> str:
    for choice in flag.choices:
        if word == choice or (flag.ignore_case and word.lower() == choice.lower()):
            return choice
    meant = grammar.closest(word, flag.choices)
    raise UsageError(
        f"{flag.long} cannot be `{word}`",
        hint=f"did you mean {meant}?" if meant else f"one of: {', '.join(flag.choices)}",
    )


def _number(flag: Flag, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{flag.long} is a number, not `{word}`", hint=f"{flag.long} 10")
    return number


def _integer(flag: Flag, word: str) -> int:
    """A whole number within the flag's limits; `1.0` is 1, and 1.5 is refused with the nearest that are legal."""
    number = int(word) if word.lstrip("+-").isdigit() else _number(flag, word)
    low, high = flag.minimum, flag.maximum
    nearest = _clamp(number, low, high)
    if nearest != number:
        limits = f"{low} to {high}" if low is not None and high is not None else f"at least {low}"
        raise UsageError(
            f"{flag.long} {word} is out of range ({limits})", hint=f"the nearest is {flag.long} {nearest:g}"
        )
    if number != int(number):
        below, above = math.floor(number), math.ceil(number)
        raise UsageError(
            f"{flag.long} is a whole number{' of seconds' if flag.metavar == 'SECONDS' else ''}, not {word}",
            hint=f"the nearest are {flag.long} {below} or {above}",
        )
    return int(number)


def _clamp(number: float, low: int | None, high: int | None) -> float:
    if low is not None and number < low:
        return low
    return high if high is not None and number > high else number


def _seconds(flag: Flag, word: str) -> float:
    number = _number(flag, word.removesuffix("s"))
    if number <= 0:
        raise UsageError(f"{flag.long} {word} is not a time to wait", hint=f"{flag.long} 60")
    return number


def _require(verb: Verb, values: dict[str, Value]) -> None:
    missing = [flag for flag in verb.flags if flag.required and not values.get(flag.key)]
    if missing:
        names = " and ".join(flag.long for flag in missing)
        first = missing[0]
        raise UsageError(f"`kaos {verb.name}` needs {names}", hint=f"{first.long} {first.metavar}  ({first.help})")
