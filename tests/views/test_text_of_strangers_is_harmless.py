"""Text of models, tools and servers is hostile: it never becomes an element, a formula or a control sequence."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.model.events import LOOP_RUN, Event, EventType
from kaos_ext.views import (
    Annotated,
    Card,
    Chat,
    ErrorView,
    Line,
    LogView,
    Message,
    Note,
    State,
    Step,
    Steps,
    StepState,
    Table,
    TaskView,
    Tone,
    View,
    bundle,
)
from kaos_ext.views.agent import AgentLive

ALLOWED = {"div", "span", "b", "code", "table", "tbody", "tr", "td", "details", "summary"}
ATTRIBUTES = {"style", "class", "title"}


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.said = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        self.said += data


def parsed(html: str) -> Elements:
    elements = Elements()
    elements.feed(html)
    elements.close()
    assert elements.open == []
    return elements


def views(text: str) -> list[View]:
    """Every view with `text` wherever a stranger's text can stand."""
    events = [
        Event(EventType.ITERATION_STARTED, {"goal": text}, 1, 1.0, text, LOOP_RUN, 1),
        Event(EventType.MODEL_REQUEST, {"model": text}, 2, 1.0, text, LOOP_RUN, 1, 1),
        Event(EventType.TOOL_CALL, {"tool": text, "arguments": {text: text}}, 3, 1.0, text, LOOP_RUN, 1, 1),
        Event(EventType.TOOL_RESULT, {"tool": text, "result": text}, 4, 1.1, text, LOOP_RUN, 1, 1),
        Event(EventType.AGENT_RESPONSE, text, 5, 1.1, text, LOOP_RUN, 1, 1),
        Event(EventType.ITERATION_FAILED, {"error": text}, 6, 1.2, text, LOOP_RUN, 1),
        Event(EventType.ERROR, text, 7, 1.2, text, LOOP_RUN, 1),
        Event(text or "?", text, 8, 1.3, text, text, 0),
        Event(EventType.DELEGATION_REQUEST, {"agent": text, "task": text}, 9, 1.3, text, "chat_1", 0),
    ]
    agent = AgentLive(text, text, note=text, hint=text)
    for event in events:
        agent = agent.with_event(event, 2.0)
    line = Line(Tone.FAILED, text, text, text)
    return [
        agent,
        agent.waiting(text, text),
        Table(text, (text, "b"), ((text, State(text, Tone.DONE)), (1, None)), hint=text),
        Table(text, (), (), text, text),
        Note(Tone.FAILED, text, text),
        Annotated(Note(Tone.DONE, text), (text,)),
        ErrorView(text, text, (text, text)),
        Steps(text, text, (Step(text, StepState.WAITING, text, 1.0),), 1.0, text),
        Card(text, text, text, Tone.DONE, ((text, text),), (line,), text, text),
        Chat(text, (Message("user", text, text), Message("tool", text, text), Message(text, text)), text),
        TaskView(text, text, Tone.WORKING, 1, 2, text, (line,), (line,), text),
        LogView(text, (text, text)),
    ]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table><h1>mine</h1>",
    "<!-- -->",
    "&lt;b&gt;",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "half \ud800 of a pair",
    "\u202egnp.exe",
    "a\x00b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_an_element(text: str) -> None:
    for view in views(text):
        parsed(view.html())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_bundle_can_always_be_written_to_a_file(text: str) -> None:
    for view in views(text):
        json.dumps(bundle(view)["text/html"], ensure_ascii=False).encode()
        bundle(view)["text/plain"].encode()
        json.dumps(view.json()).encode()


@given(st.text())
def test_any_text_draws(text: str) -> None:
    for view in views(text):
        parsed(view.html())
        assert "\x1b" not in view.text()
        assert view.text() is not None


def test_what_is_escaped_is_still_said() -> None:
    assert "a < b && c > d" in parsed(Note(Tone.DONE, "a < b && c > d").html()).said


def test_a_terminal_escape_is_taken_out_whole() -> None:
    assert parsed(Note(Tone.DONE, "\x1b[31mred\x1b[0m").html()).said.endswith("red")


def test_two_prices_are_no_formula() -> None:
    html = Note(Tone.DONE, "spent $0.41 of $0.50").html()
    assert "<span>$</span>0.41" in html
    assert "mathjax_ignore" in html


def test_nothing_is_loaded_from_anywhere() -> None:
    for view in views("x"):
        html = view.html()
        assert "url(" not in html
        assert "http" not in html
        assert "<style" not in html
