"""Which functions of a piece of source are tools."""

from __future__ import annotations

import pytest

from kaos_ext.runtime.mcp.source import SourceError, tools_of


def names(source: str) -> list[str]:
    return [tool.name for tool in tools_of(source)]


def test_functions_the_source_defines_and_nothing_it_imports() -> None:
    source = "from os.path import join, exists\nimport json\nfrom dataclasses import dataclass\n"
    source += (
        "class A: pass\nx = 1\ndef one() -> str: return ''\ndef _two() -> str: return ''\nasync def three(): ...\n"
    )
    assert names(source) == ["one", "three"]


def test_a_decorated_function_is_one_and_an_alias_is_not_a_second() -> None:
    source = "import functools\ndef deco(f):\n @functools.wraps(f)\n def inner(*a): return f(*a)\n return inner\n"
    source += "@deco\ndef one(a: int) -> int: return a\nuno = one\n"
    assert names(source) == ["deco", "one"]


def test_the_published_one_space_indent_is_python() -> None:
    tool = tools_of('def echo(message: str) -> str:\n """Echo."""\n return f"Echo: {message}"')[0]
    assert tool.function("x") == "Echo: x" and tool.function.__doc__ == "Echo."


def test_dataclasses_and_annotations_find_their_module() -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n x: int\n"
    assert tools_of(source + "def f(p: P) -> int:\n return p.x\n")[0].name == "f"


def test_a_function_says_that_it_may_be_repeated() -> None:
    tools = {
        tool.name: tool for tool in tools_of("def a(): ...\ndef b(): ...\na.read_only = True\nb.idempotent = True")
    }
    assert tools["a"].read_only and tools["b"].idempotent and not tools["b"].read_only


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def (", "line 1"),
        ("\n1/0\n", "line 2: ZeroDivisionError"),
        ("exit(3)", "line 1: SystemExit"),
        ("x = 1", "no function"),
    ],
)
def test_source_that_fails_names_the_line(source: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        tools_of(source)
