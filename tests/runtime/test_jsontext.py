"""JSON as the loop reads and writes it: whatever the standard library takes, and the same of it."""

from __future__ import annotations

import json
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.runtime.agent.jsontext import decoded, encoded, sendable


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Name(str):
    pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_is_read_back_by_us_and_by_anybody(value: Any) -> None:
    assert json.loads(encoded(value)) == value == decoded(encoded(value))
    assert decoded(json.dumps(value).encode()) == value
    assert json.loads(sendable(value)) == value


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"a": Colour.RED, "b": Size.BIG, Colour.RED: 1}, {"a": "red", "b": 3, "red": 1}),
        ({"a": Name("x"), "b": (1, 2)}, {"a": "x", "b": [1, 2]}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({1: "x", 2.5: "y", None: "n"}, {"1": "x", "2.5": "y", "null": "n"}),
        ({"n": 2**80, "m": -(2**70)}, {"n": 2**80, "m": -(2**70)}),
        ({"a": ValueError("no"), "b": 1j}, {"a": "no", "b": "1j"}),
    ],
)
def test_values_of_programs_are_written_as_what_they_stand_for(value: Any, read: Any) -> None:
    assert json.loads(encoded(value)) == json.loads(sendable(value)) == read


def test_no_number_is_no_number() -> None:
    assert json.loads(encoded({"a": float("nan"), "b": float("inf")})) == {"a": None, "b": None}


@pytest.mark.parametrize(
    "text",
    [b'"half \\ud800"', b"[NaN, Infinity]", b"[123456789012345678901234567890]", b'\xef\xbb\xbf{"a": 1}', b"1e400"],
)
def test_what_only_the_standard_library_reads_is_read(text: bytes) -> None:
    assert repr(decoded(text)) == repr(json.loads(text))


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert decoded(b'{"a": "\xff!"}') == {"a": "\ufffd!"}


@pytest.mark.parametrize("text", [b"", b"{", b"no", b"{} {}", b'{"a": }', b"\xff"])
def test_what_is_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        decoded(text)


def test_half_a_surrogate_pair_can_be_sent_and_is_refused_as_a_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        encoded({"a": "\ud800"})
    assert json.loads(sendable({"a": "\ud800"})) == {"a": "\ud800"}
