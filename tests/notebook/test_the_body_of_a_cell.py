"""The text under `%%kaos`: Python is compiled first, messages take variables, YAML stays as it is."""

from __future__ import annotations

import pytest

from kaos_ext.model.errors import UsageError
from kaos_ext.notebook.bodies import SourceError, prepare

FUNCTIONS = 'def echo(message: str) -> str:\n    """Say {it} again, $5."""\n    return f"{message}"\n'


def test_functions_are_taken_verbatim() -> None:
    assert prepare(["mcp", "deploy", "echo"], FUNCTIONS, {}) == FUNCTIONS


def test_source_that_does_not_compile_is_shown_with_its_line() -> None:
    with pytest.raises(SourceError) as error:
        prepare(["mcp", "deploy", "echo"], "def ok(): ...\n\ndef echo(message\n    return message\n", {})
    assert error.value.message.startswith("line 3:")
    assert error.value.details[0] == "3 | def echo(message"
    assert error.value.details[1].index("^") == error.value.details[0].index("(")
    assert "nothing was changed" in error.value.hint


def test_other_runtimes_take_other_text() -> None:
    assert prepare(["mcp", "deploy", "k8s", "--runtime", "kubernetes"], "a: [b", {}) == "a: [b"


def test_yaml_is_left_as_it_is() -> None:
    assert prepare(["apply"], "a: {b: $c}\n", {}) == "a: {b: $c}\n"


def test_a_message_takes_variables() -> None:
    assert prepare(["agent", "invoke", "a"], "\nsay {what}\n", {"what": "hello"}) == "say hello"


def test_an_empty_cell_is_an_error() -> None:
    with pytest.raises(UsageError, match="empty"):
        prepare(["apply"], " \n", {})
