"""Help as text, from the grammar: of everything, of a group of verbs, of one verb with its flags and an example."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from kaos_ext.commands import grammar
from kaos_ext.commands.grammar import Flag, Takes, Verb
from kaos_ext.model.errors import UsageError
from kaos_ext.views.columns import aligned

HEAD = "kaos: autonomous agents on Kubernetes, on a cluster of this machine or any other"
START = (
    "kaos up",
    "kaos modelapi deploy my-api --provider openai --api-secret openai-key:token --wait",
    'kaos agent deploy my-agent --modelapi my-api --model gpt-4o --autonomous "Check and report" --wait',
    "kaos agent watch my-agent",
    "or, without a key:",
    "kaos samples deploy 1-simple-echo-agent --wait",
    "kaos -n kaos-simple agent invoke simple-agent -m hello",
)


def help_text(topic: Sequence[str] = ()) -> str:
    verb = grammar.find_verb(topic)
    if verb is not None:
        return _of_verb(verb)
    if topic and grammar.find_group(topic) is None:
        raise UsageError(f"there is no help on `{' '.join(topic)}`", hint="kaos help")
    return _of_group(topic)


def _of_group(topic: Sequence[str]) -> str:
    group = grammar.find_group(topic)
    begin = " ".join(("kaos", *topic))
    lines = [HEAD if group is None else f"{begin}: {group.help}", "", f"usage: {begin} VERB …", ""]
    lines.append(aligned(list(grammar.children(topic).items()), indent="  ", gap="   "))
    lines += ["", "every verb:", _flags(grammar.GLOBALS)]
    if group is None:
        lines += ["", "to begin with:", *(f"  {line}" if line.startswith("kaos") else line for line in START)]
    lines += ["", f"more: {begin} VERB --help"]
    return "\n".join(lines)


def _of_verb(verb: Verb) -> str:
    named = [a.name.upper() + (" …" if a.repeat else "") for a in verb.arguments]
    arguments = [f"[{name}]" if a.optional else name for a, name in zip(verb.arguments, named, strict=True)]
    required = [f"{flag.long} {flag.metavar}" for flag in verb.flags if flag.required]
    usage = " ".join(["kaos", *verb.words, *arguments, *required, "[flags]" if verb.flags else ""]).rstrip()
    lines = [f"kaos {verb.name}: {verb.help}", "", f"usage: {usage}"]
    if verb.description:
        lines += ["", *textwrap.wrap(verb.description, 100)]
    if verb.arguments:
        lines += ["", aligned([(a.name.upper(), a.help) for a in verb.arguments], indent="  ", gap="   ")]
    shown = [flag for flag in verb.flags if not flag.hidden]
    if shown:
        lines += ["", "flags:", _flags(shown)]
    lines += ["", "every verb:", _flags(grammar.GLOBALS), "", "example:", f"  {verb.example}"]
    return "\n".join(lines)


def _flags(flags: Sequence[Flag]) -> str:
    rows = []
    for flag in flags:
        short = f"-{flag.short}," if flag.short else "   "
        value = "" if flag.takes is Takes.NOTHING else f" {flag.metavar or flag.name.upper()}"
        rows.append((f"{short} {flag.long}{value}", f"{flag.help}{_notes(flag)}"))
    return aligned(rows, indent="  ", gap="   ")


def _notes(flag: Flag) -> str:
    notes = []
    if flag.required:
        notes.append("required")
    if flag.repeat:
        notes.append("may be repeated")
    if flag.choices:
        notes.append(" | ".join(flag.choices))
    if flag.minimum is not None and flag.maximum is not None:
        notes.append(f"{flag.minimum} to {flag.maximum}")
    if flag.default is not None:
        notes.append(f"default {flag.default:g}" if isinstance(flag.default, float) else f"default {flag.default}")
    return f"  ({', '.join(notes)})" if notes else ""
