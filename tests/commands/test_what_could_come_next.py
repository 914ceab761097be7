"""Completion: words of the grammar and names of things."""

from __future__ import annotations

import shlex

import pytest

from kaos_ext.commands.complete import complete, wants
from kaos_ext.commands.grammar import Names

THINGS = {Names.AGENTS: ["auto-agent", "other"], Names.MODELAPIS: ["auto-api"], Names.NAMESPACES: ["default"]}


def offered(line: str) -> list[str]:
    words = shlex.split(line.replace("|", ""))
    current = "" if line.endswith(" |") else words.pop()
    return [candidate.word for candidate in complete(words, current, lambda names: THINGS.get(names, []))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ag|", ["agent"]),
        ("agent a2a |", ["send", "get", "cancel", "list"]),
        ("agent watch |", ["auto-agent", "other"]),
        ("agent watch au|", ["auto-agent"]),
        ("agent deploy new --modelapi |", ["auto-api"]),
        ("agent deploy new -a |", ["auto-api"]),
        ("modelapi deploy x --mode |", ["Proxy", "Hosted"]),
        ("agent list --namespace |", ["default"]),
        ("agent logs auto-agent --fo|", ["--follow"]),
        ("completion |", ["bash", "zsh", "fish"]),
        ("agent wait auto-agent --iterations |", []),
        ("nonsense |", []),
    ],
)
def test_what_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_a_flag_that_was_given_is_not_offered_again_but_one_that_repeats_is() -> None:
    found = offered("agent deploy new --wait --mcp a --|")
    assert "--wait" not in found and "--mcp" in found and "--port" not in found


def test_names_are_asked_for_only_where_a_name_belongs() -> None:
    assert wants(["agent"], "") != Names.AGENTS
    assert wants(["agent", "get"], "") is Names.AGENTS
    assert wants(["apply", "-f"], "") is Names.FILES
