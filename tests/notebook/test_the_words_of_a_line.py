"""Words of a magic line: quotes as in a shell, variables of the notebook, nothing empty by accident."""

from __future__ import annotations

import pytest

from kaos_ext.model.errors import UsageError
from kaos_ext.notebook.words import expand, split

VARIABLES = {"name": "auto-agent", "spaced": 'two "quoted" words\nand lines', "n": 3, "calls": {"tool_calls": []}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("agent list", ["agent", "list"]),
        ("agent  get   x ", ["agent", "get", "x"]),
        ("a 'one word' \"another one\"", ["a", "one word", "another one"]),
        ("a --x='1 2'3", ["a", "--x=1 23"]),
        ("a ''", ["a", ""]),
        (r"a b\ c \"", ["a", "b c", '"']),
        ("agent get $name", ["agent", "get", "auto-agent"]),
        ("agent get {name}-2", ["agent", "get", "auto-agent-2"]),
        ('agent get "${name}x"', ["agent", "get", "auto-agentx"]),
        ("a $spaced b", ["a", VARIABLES["spaced"], "b"]),
        ("a '$name {name}'", ["a", "$name {name}"]),
        ("a $$name {{name}} costs $5", ["a", "$name", "{name}", "costs", "$5"]),
        ('a "\\$name"', ["a", "$name"]),
        ("a $n", ["a", "3"]),
        ("a $calls", ["a", '{"tool_calls": []}']),
        ("""a '{"message": "hi"}'""", ["a", '{"message": "hi"}']),
        ('a {"x":1}', ["a", "{x:1}"]),
    ],
)
def test_a_line_is_split_like_a_shell_does(line: str, words: list[str]) -> None:
    assert split(line, VARIABLES) == (words, False)


def test_a_semicolon_at_the_end_silences() -> None:
    assert split("agent list;", {}) == (["agent", "list"], True)
    assert split("agent list ; ", {}) == (["agent", "list"], True)


def test_a_semicolon_within_quotes_is_text() -> None:
    assert split("a 'x;'", {}) == (["a", "x;"], False)
    assert split("a x;y", {}) == (["a", "x;y"], False)


def test_an_environment_variable_is_found_like_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK1", '{"a": "b c"}')
    assert split('a "$MOCK1"', {}) == (["a", '{"a": "b c"}'], False)


def test_an_unknown_name_is_an_error_that_says_how_to_keep_it() -> None:
    with pytest.raises(UsageError, match="there is no variable nope") as error:
        split("a $nope", {})
    assert "$$nope" in error.value.hint
    with pytest.raises(UsageError) as error:
        expand("say {nope}", {})
    assert "{{nope}}" in error.value.hint


def test_an_open_quote_is_an_error() -> None:
    with pytest.raises(UsageError, match="not closed"):
        split('a "b', {})
