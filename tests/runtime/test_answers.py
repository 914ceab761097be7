"""What a model writes, understood: tool calls in text, arguments, mock responses."""

from __future__ import annotations

import pytest

from kaos_ext.loop import Message, PendingCall
from kaos_ext.runtime.agent.model import Call, MockModel, Question, call_of, calls_in_text, numbered
from kaos_ext.runtime.agent.openai import _in_strings, _native
from kaos_ext.runtime.agent.tools import Tool


@pytest.mark.parametrize(
    "text",
    [
        '{"tool_calls": [{"id": "1", "name": "echo", "arguments": {"message": "hi"}}]}',
        '{"tool_calls": [{"id": "1", "name": "echo", "arguments": "{\\"message\\": \\"hi\\"}"}]}',
        'Let me see:\n```json\n{"tool_calls": [{"id": "1", "name": "echo", "arguments": {"message": "hi"}}]}\n```',
    ],
)
def test_tool_calls_are_found_in_text_bare_or_fenced(text: str) -> None:
    assert calls_in_text(text) == (Call("1", "echo", {"message": "hi"}),)


def test_the_short_form_and_missing_ids_are_understood() -> None:
    assert calls_in_text('```tool_call\n{"tool": "echo", "arguments": {}}\n```') == (Call("call_echo", "echo"),)
    assert calls_in_text('{"tool_calls": [{"name": "echo"}]}') == (Call("mock_echo", "echo"),)


@pytest.mark.parametrize(
    "text", ["", "plain", "{}", "[1]", '{"tool_calls": "no"}', '{"answer": 42}', "```json\n{\n```"]
)
def test_other_text_is_text(text: str) -> None:
    assert calls_in_text(text) == ()


@pytest.mark.parametrize(("arguments", "words"), [("{", "not valid JSON"), ("[1]", "not a JSON object"), (5, "object")])
def test_arguments_that_are_no_object_are_a_problem_told_to_the_model(arguments: object, words: str) -> None:
    assert words in call_of("1", "echo", arguments).problem


def test_calls_are_told_apart_even_if_the_model_gives_one_id_twice() -> None:
    assert [call.id for call in numbered([Call("a", "x"), Call("a", "x"), Call("", "y")])] == ["a", "a_2", "call_y"]


async def test_mock_responses_go_round_from_the_runs_cursor() -> None:
    model = MockModel(["one", '{"tool_calls": [{"name": "echo"}]}'])
    answers = [await model.ask(Question([], cursor=cursor)) for cursor in range(4)]
    assert [answer.text or answer.calls[0].name for answer in answers] == ["one", "echo", "one", "echo"]


def test_a_conversation_in_the_native_form() -> None:
    asked = Message("assistant", "", (PendingCall("c1", "echo", {"m": 1}),))
    function = {"name": "echo", "arguments": '{"m": 1}'}
    assert _native(asked)["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert _native(asked)["content"] is None
    assert _native(Message("tool", "done", call_id="c1")) == {"role": "tool", "tool_call_id": "c1", "content": "done"}


def test_a_conversation_for_a_model_without_tools_has_one_system_message() -> None:
    wire = _in_strings([Message("system", "Be brief."), Message("user", "hi")], [Tool("echo", "Echoes.")])
    assert [message["role"] for message in wire] == ["system", "user"]
    assert wire[0]["content"].startswith("Be brief.") and '"name": "echo"' in wire[0]["content"]
