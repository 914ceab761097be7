"""Code that runs in every fork, gathered in one place of a template's memory.

A fork shares its template's memory page by page, and running a function writes to the page its code is on: it counts
references there. Code is where its module was imported, so a thousand functions of an agent's life, half a megabyte,
lie on pages of three. Here each of them gets a copy of its code, one beside the other, and the gaps that the imports
left are closed before, so that what a fork makes anew lies together as well.

Which functions those are is recorded (`benchmarks/often.py`): a name that is no more there costs nothing.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType

_RECORDED = Path(__file__).with_name("often.json")
_POOL_BYTES = 16 * 1024
_POOL_HEAD_BYTES = 48
_SMALL_BYTES = 512
"""Up to here Python's own allocator serves, from pools; beyond, the C library's."""
_BYTES_HEAD = 33
_LARGE_BYTES = 64 * 1024
_TOP_BYTES = 200_000
"""The heap's end, which is yet to be used."""
_fillers: list[bytes] = []
_left: list[CodeType] = []
"""The originals: were they let go, their places would be gaps."""


def gather(often: Mapping[str, list[str]] | None = None) -> int:
    """Give the functions that run often, by module, code side by side; returns how many codes it moved."""
    if often is None:
        often = json.loads(_RECORDED.read_text())
    names = {(module, name) for module, listed in often.items() for name in listed}
    gc.unfreeze()  # frozen ones are not listed
    gc.collect()
    found = [each for each in gc.get_objects() if isinstance(each, FunctionType)]
    found = [each for each in found if (each.__module__, each.__code__.co_qualname) in names]
    for each in found:
        for code in _nested(each.__code__):
            _ = code.co_code  # makes a copy that stays with the code: not between the new ones
    close_gaps()
    made: dict[int, CodeType] = {}
    for each in found:
        each.__code__ = _copy(each.__code__, each.__module__, names, made)
    return len(made)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)


def _copy(code: CodeType, module: str, names: set[tuple[str, str]], made: dict[int, CodeType]) -> CodeType:
    if id(code) not in made:
        constants = code.co_consts
        if any(isinstance(each, CodeType) for each in constants):
            constants = tuple(
                _copy(each, module, names, made)
                if isinstance(each, CodeType) and (module, each.co_qualname) in names
                else each
                for each in constants
            )
        _left.append(code)
        made[id(code)] = code.replace(co_consts=constants)
    return made[id(code)]


def close_gaps() -> None:
    """Fill the free room between what is in memory, up to where fresh memory begins."""
    _close_large_gaps()
    for size in range(48, _SMALL_BYTES + 1, 16):
        in_a_pool = (_POOL_BYTES - _POOL_HEAD_BYTES) // size
        in_a_row = last = 0
        for _ in range(100 * in_a_pool):
            filler = bytes(size - _BYTES_HEAD)
            _fillers.append(filler)
            in_a_row = in_a_row + 1 if id(filler) == last + size else 0
            if in_a_row >= in_a_pool - 1:
                break  # a whole pool of them: it was a fresh one
            last = id(filler)


def _close_large_gaps() -> None:
    """The same in the C library's heap, the largest first, down to where pools begin."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    ends = [int(line.split()[0].split("-")[1], 16) for line in lines if line.endswith("[heap]")]
    if not ends:
        return
    size, end = _LARGE_BYTES, max(ends)
    for _ in range(20_000):
        filler = bytes(size)
        _fillers.append(filler)
        if id(filler) > end - _TOP_BYTES:  # no gap is so large
            size = size * 9 // 10
        if size < _SMALL_BYTES:
            break
