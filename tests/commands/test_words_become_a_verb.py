"""Parsing: what words mean, and what is said of the ones that mean nothing."""

from __future__ import annotations

import inspect
import shlex
from typing import Any

import pytest

from kaos_ext.commands import grammar
from kaos_ext.commands.grammar import Names, Takes, Verb
from kaos_ext.commands.help import help_text
from kaos_ext.commands.parse import Options, parse
from kaos_ext.commands.run import _keyword, handler
from kaos_ext.model.errors import UsageError

DEPLOY = "agent deploy a --modelapi m --model g"


def values(line: str) -> dict[str, Any]:
    return dict(parse(shlex.split(line)).values)


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("agnet list", "no verb `agnet`", "kaos agent"),
        ("agent lst", "`kaos agent` has no verb `lst`", "kaos agent list"),
        ("agent deplo a", "`deplo`", "kaos agent deploy"),
        ("agent a2a snd x", "`snd`", "kaos agent a2a send"),
        ("agent list --al-namespaces", "no flag --al-namespaces", "--all-namespaces"),
        ("agent list extra", "does not expect `extra`", "kaos agent list"),
        (f"{DEPLOY} --auto-interval 1.5", "whole number of seconds, not 1.5", "1 or 2"),
        (f"{DEPLOY} --auto-interval 5000", "out of range (0 to 3600)", "--auto-interval 3600"),
        (f"{DEPLOY} --auto-interval -1", "out of range", "--auto-interval 0"),
        (f"{DEPLOY} --auto-interval soon", "not `soon`", "--auto-interval"),
        (f"{DEPLOY} --auto-interval nan", "not `nan`", "--auto-interval"),
        (f"{DEPLOY} --wait=3", "--wait takes no value", "--help"),
        (f"{DEPLOY} --wait-timeout 0", "not a time to wait", "--wait-timeout 60"),
        ("agent deploy a --modelapi m --model", "--model needs a value", "--model MODEL"),
        ("agent deploy a --model g --wait --modelapi", "--modelapi needs a value", "--modelapi NAME"),
        ("agent deploy a", "needs --modelapi and --model", "--modelapi NAME"),
        ("agent deploy --modelapi m --model g", "needs the name of the Agent", "kaos agent deploy"),
        ("agent deploy Not_A_Name --modelapi m --model g", "`Not_A_Name` is not a name", "not-a-name"),
        (f"{DEPLOY} --model h", "--model was given 2 times", "one value"),
        ("modelapi deploy m --mode Proxi", "--mode cannot be `Proxi`", "Proxy"),
        ("agent list -o ymal", "--output cannot be `ymal`", "yaml"),
        ("completion bsh", "shell cannot be `bsh`", "bash"),
        ("agent list --namespace", "--namespace needs a value", "--namespace NAME"),
        ("--modle x agent list", "no verb", "kaos --help"),
    ],
)
def test_wrong_words_say_which_and_what_is_near(line: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(shlex.split(line))
    assert said in str(caught.value) or "needs a verb" in str(caught.value)
    assert hint in caught.value.hint and caught.value.exit_status == 2


@pytest.mark.parametrize("word", ["1", "1.0", "1e0", "+1"])
def test_a_whole_number_of_seconds_is_an_integer_however_it_is_written(word: str) -> None:
    found = values(f"{DEPLOY} --auto-interval {word}")["auto_interval"]
    assert found == 1 and type(found) is int


def test_values_may_look_like_flags_and_hold_anything() -> None:
    source = 'def echo(message: str) -> str:\n """Echo."""\n return f"Echo: {message}"'
    found = parse(["mcp", "deploy", "e", "--runtime", "python-string", "--params", source, "--env", "A=-x"]).values
    assert found["params"] == source and found["env"] == ("A=-x",)
    words = ["agent", "deploy", "a", "-a", "m", "-m", "g", "--autonomous", "--do this", "--mock-response", "-n",
             "--mock-response", '{"tool_calls":[]}']  # fmt: skip
    parsed = parse(words)
    assert parsed.values["autonomous"] == "--do this"
    assert parsed.values["mock_response"] == ("-n", '{"tool_calls":[]}')
    assert parsed.options == Options()


@pytest.mark.parametrize("line", ["-n foo agent list", "agent list -n foo", "agent -n foo list", "agent list -nfoo",
                                  "agent list --namespace=foo", "--namespace foo agent list"])  # fmt: skip
def test_the_flags_of_every_verb_may_stand_anywhere(line: str) -> None:
    parsed = parse(shlex.split(line))
    assert parsed.options.namespace == "foo" and parsed.verb is not None and parsed.verb.name == "agent list"


def test_modes_are_matched_without_case_and_short_flags_may_be_joined() -> None:
    assert values("modelapi deploy x --mode proxy")["mode"] == "Proxy"
    assert values("agent deploy a -am -mg")["modelapi"] == "m"
    assert parse(["mcpserver", "list"]).verb == parse(["mcp", "list"]).verb


def test_the_text_of_a_cell_fills_what_the_verb_says() -> None:
    assert parse(["mcp", "deploy", "e"], "def f(): ...").values["params"] == "def f(): ..."
    assert parse(["apply"], "kind: Agent").values["manifest"] == "kind: Agent"
    assert parse(["agent", "invoke", "a"], "hello").values["message"] == "hello"
    with pytest.raises(UsageError, match="takes no text"):
        parse(["agent", "list"], "hello")


@pytest.mark.parametrize("verb", grammar.VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_help_with_its_flags_and_an_example_that_parses(verb: Verb) -> None:
    text = help_text(verb.words)
    assert verb.help in text and verb.example in text
    assert all(flag.long in text for flag in verb.flags if not flag.hidden)
    if verb.example.startswith("kaos "):
        parsed = parse(shlex.split(verb.example)[1:])
        assert parsed.verb == verb


@pytest.mark.parametrize("verb", grammar.VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_a_handler_that_takes_exactly_its_words(verb: Verb) -> None:
    taken = {name for name in inspect.signature(handler(verb)).parameters if name != "session"}
    assert taken == {_keyword(word.key) for word in (*verb.arguments, *verb.flags)}
    assert not verb.body or verb.flag(verb.body) is not None


def test_the_last_argument_takes_all_the_words_that_are_left_and_a_verbs_own_short_flag_wins() -> None:
    for words in (["test", "a.ipynb", "b", "-n", "2"], ["test", "-n2", "a.ipynb", "b"]):
        parsed = parse(words)
        assert parsed.values["paths"] == ("a.ipynb", "b")
        assert parsed.values["workers"] == 2
        assert parsed.options.namespace is None
    with pytest.raises(UsageError, match="--proof cannot be `twise`") as refused:
        parse(["test", "a", "--proof", "twise"])
    assert "twice" in refused.value.hint


@pytest.mark.parametrize("topic", [(), ("agent",), ("agent", "a2a"), ("system",)])
def test_help_of_a_group_lists_the_words_that_may_follow(topic: tuple[str, ...]) -> None:
    text = help_text(topic)
    assert all(word in text for word in grammar.children(topic))
    assert parse([*topic, "--help"]).topic == topic
    assert parse(["help", *topic]).topic == topic


def test_no_spelling_of_a_flag_means_two_things() -> None:
    for verb in grammar.VERBS:
        spellings = [s for flag in (*verb.flags, *grammar.GLOBALS) for s in flag.spellings]
        # `kaos test -n 2` is what runners of tests say; a namespace is nothing to it, and --namespace is there.
        doubled = {"-n"} if verb.words == ("test",) else set()
        assert {s for s in spellings if spellings.count(s) > 1} == doubled, verb.name
        for flag in verb.flags:
            assert flag.takes is not Takes.NOTHING or flag.default is None
            assert isinstance(flag.completes, Names)
