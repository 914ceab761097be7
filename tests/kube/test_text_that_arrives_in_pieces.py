"""Lines and server-sent events out of any split of the bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.kube.lines import Lines, ServerEvent, ServerEvents

STREAM = ': hello\n\nid: 7\nevent: tool_call\ndata: {"a":\ndata: "ö"}\n\ndata:x\r\n\r\nevent: nothing\n\ndata: end\n\n'
EVENTS = [
    ServerEvent('{"a":\n"ö"}', "tool_call", "7"),
    ServerEvent("x", "message", "7"),
    ServerEvent("end", "message", "7"),
]


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=12))
def test_events_are_the_same_however_the_bytes_were_cut(cuts: list[int]) -> None:
    data, parser, found = STREAM.encode(), ServerEvents(), []
    edges = [0, *sorted(cuts), len(data)]
    for begin, end in pairwise(edges):
        found += parser.feed(data[begin:end])
    assert found == EVENTS


@given(st.text(alphabet="aö\n", max_size=40), st.integers(1, 5))
def test_lines_are_the_same_however_the_bytes_were_cut(text: str, size: int) -> None:
    data, lines, found = text.encode(), Lines(), []
    for begin in range(0, len(data), size):
        found += lines.feed(data[begin : begin + size])
    *whole, last = text.split("\n")
    assert found == whole and lines.rest() == last


def test_a_very_long_line_in_many_pieces_takes_linear_time() -> None:
    lines = Lines()
    for _ in range(20_000):
        assert list(lines.feed(b"x" * 100)) == []
    assert [len(line) for line in lines.feed(b"\n")] == [2_000_000]
