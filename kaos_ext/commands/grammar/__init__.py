"""The one grammar of every face: which verbs there are and what each takes. Pure, and quick to import."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from kaos_ext.commands.grammar import general, notebooks, workloads
from kaos_ext.commands.grammar.shapes import Argument, Flag, Group, Names, Takes, Verb

__all__ = ["GLOBALS", "GROUPS", "VERBS", "Argument", "Flag", "Group", "Names", "Takes", "Verb", "children", "closest",
           "find_group", "find_verb"]  # fmt: skip

VERBS: tuple[Verb, ...] = (
    *general.CLUSTER_VERBS,
    *workloads.AGENT,
    *workloads.MODELAPI,
    *workloads.MCP,
    *general.OTHER,
    *notebooks.VERBS,
)
GROUPS: tuple[Group, ...] = (*workloads.GROUPS, *general.GROUPS, *notebooks.GROUPS)

GLOBALS: tuple[Flag, ...] = (
    Flag("namespace", "the namespace (default: of the current context)", short="n", metavar="NAME",
         completes=Names.NAMESPACES),
    Flag("context", "the context of the kubeconfig (default: the current one)", metavar="NAME",
         completes=Names.CONTEXTS),
    Flag("kubeconfig", "the kubeconfig file (default: $KUBECONFIG or ~/.kube/config)", metavar="FILE",
         completes=Names.FILES),
    Flag("json", "print pure JSON", takes=Takes.NOTHING),
    Flag("verbose", "show the whole traceback of an error", short="v", takes=Takes.NOTHING),
    Flag("help", "show this help", short="h", takes=Takes.NOTHING),
)  # fmt: skip

_BY_WORDS = {verb.words: verb for verb in VERBS}
_GROUP_BY_WORDS = {group.words: group for group in GROUPS} | {
    (*group.words[:-1], alias): group for group in GROUPS for alias in group.aliases
}


def find_verb(words: Sequence[str]) -> Verb | None:
    return _BY_WORDS.get(tuple(words))


def find_group(words: Sequence[str]) -> Group | None:
    return _GROUP_BY_WORDS.get(tuple(words))


def children(words: Sequence[str] = ()) -> dict[str, str]:
    """The words that may follow, each with its one line of help, in the order of the grammar."""
    prefix = tuple(words)
    found: dict[str, str] = {}
    for verb in VERBS:
        if len(verb.words) > len(prefix) and verb.words[: len(prefix)] == prefix and not verb.hidden:
            word = verb.words[len(prefix)]
            leads_on = len(verb.words) > len(prefix) + 1
            group = _GROUP_BY_WORDS.get((*prefix, word)) if leads_on else None
            found.setdefault(word, group.help if group else verb.help)
    return found


def closest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that was probably meant, or nothing."""
    options = list(candidates)
    folded = {option.lower(): option for option in options}
    match = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    if match:
        return folded[match[0]]
    starts = [option for option in options if len(word) >= 3 and option.lower().startswith(word.lower())]
    return starts[0] if len(starts) == 1 else ""
