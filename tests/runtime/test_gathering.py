"""What a template gathers runs as before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import textwrap, dataclasses
from kaos_ext.runtime import gathering

def numbered(start=3, *, step=2):
    "Counts."
    total = start
    def more(by):
        nonlocal total
        total += by * step
        return total
    return more

before, code, inner = numbered.__code__, numbered.__code__.co_code, numbered.__code__.co_consts
assert numbered()(1) == 5
moved = gathering.gather({"__main__": ["numbered", "numbered.<locals>.more", "gone"], "textwrap": ["wrap", "dedent"]})
more = numbered(1, step=3)
print(json.dumps({
    "moved": moved,
    "other": numbered.__code__ is not before,
    "equal": numbered.__code__.co_code == code,
    "inner": more.__code__ in inner and all(more.__code__ is not each for each in inner),
    "answers": [more(1), more(1)],
    "doc": numbered.__doc__,
    "wrapped": textwrap.wrap("one two", 4),
}))
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
def test_functions_whose_code_was_moved_do_what_they_did() -> None:
    assert json.loads(run(PROGRAM)) == {
        "moved": 4,
        "other": True,
        "equal": True,
        "inner": True,
        "answers": [4, 7],
        "doc": "Counts.",
        "wrapped": ["one", "two"],
    }


@pytest.mark.process
def test_most_of_what_was_recorded_is_found_in_a_template_and_lies_together() -> None:
    program = """
import gc, json, sys, types
import kaos_ext.runtime.warm
from kaos_ext.runtime import gathering
often = json.loads(gathering._RECORDED.read_text())
names = {(module, name) for module, listed in often.items() for name in listed}
found = [each for each in gc.get_objects() if isinstance(each, types.FunctionType)]
codes = [each.__code__ for each in found if (each.__module__, each.__code__.co_qualname) in names]
print(json.dumps([len(codes), sum(map(sys.getsizeof, codes)), 4096 * len({id(code) >> 12 for code in codes})]))
"""
    count, size, room = json.loads(run(program))
    assert count > 400, "benchmarks/often.py records them anew"
    assert room < 2 * size
