"""`%load_ext kaos_ext` is quick because it loads nothing heavy; loading twice and unloading leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

pytestmark = pytest.mark.filterwarnings("ignore:.Completer.complete.:PendingDeprecationWarning")
HEAVY = ["aiohttp", "ipywidgets", "kopf", "kubernetes", "mcp", "pandas", "pydantic", "rich", "yaml"]
PROBE = f"""
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "kaos_ext")
print(json.dumps([name for name in {HEAVY} if name in sys.modules and name not in before]))
"""


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    config.Completer.use_jedi = False
    shell = InteractiveShell(config=config)
    InteractiveShell._instance = shell
    yield shell
    shell.run_line_magic("unload_ext", "kaos_ext")
    InteractiveShell._instance = None


@pytest.mark.process
def test_nothing_heavy_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_loading_twice_registers_once(shell: InteractiveShell) -> None:
    shell.run_line_magic("load_ext", "kaos_ext")
    magics = shell._kaos_magics
    shell.run_line_magic("reload_ext", "kaos_ext")
    shell.run_line_magic("load_ext", "kaos_ext")
    matchers = [m for m in shell.Completer.custom_matchers if m.__name__ == "kaos_matcher"]
    assert len(matchers) == 1
    assert shell._kaos_magics is not None
    assert magics is not None


def test_unloading_takes_everything_away(shell: InteractiveShell) -> None:
    before = set(threading.enumerate())
    shell.run_line_magic("load_ext", "kaos_ext")
    shell.run_line_magic("kaos", "help")
    shell.run_line_magic("unload_ext", "kaos_ext")
    assert shell.find_line_magic("kaos") is None
    assert shell.find_cell_magic("kaos") is None
    assert shell.Completer.custom_matchers == []
    assert set(threading.enumerate()) == before
    shell.run_line_magic("load_ext", "kaos_ext")


def test_help_is_a_value_with_text(shell: InteractiveShell) -> None:
    shell.run_line_magic("load_ext", "kaos_ext")
    assert "agent" in repr(shell.run_line_magic("kaos", "help"))
    assert "--auto-interval" in repr(shell.run_line_magic("kaos", "agent deploy --help"))
    assert "%kaos help" in (shell.find_line_magic("kaos").__doc__ or "")


def test_a_semicolon_keeps_the_value_quiet(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_cell("%load_ext kaos_ext", store_history=True)
    shell.run_cell("help = %kaos help;", store_history=True)
    shell.run_cell("%kaos help;", store_history=True)
    assert "usage" not in capsys.readouterr().out
    shell.run_cell("help", store_history=True)
    assert "usage: kaos VERB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("agnt list", "there is no verb `agnt`", "did you mean `%kaos agent`?"),
        (
            "agent deploy x --auto-interval 1.5",
            "--auto-interval is a whole number of seconds, not 1.5",
            "--auto-interval 1",
        ),
        ("agent get $nope", "there is no variable nope", "$$nope"),
        ("completion bash", "is for a shell", "!kaos completion"),
    ],
)
def test_a_wrong_line_is_an_error_of_ours_with_a_hint(shell: InteractiveShell, line: str, said: str, hint: str) -> None:
    from IPython.core.error import UsageError

    from kaos_ext.model.errors import KaosError

    shell.run_line_magic("load_ext", "kaos_ext")
    with pytest.raises(KaosError) as error:
        shell.run_line_magic("kaos", line)
    assert said in str(error.value)
    assert hint in error.value.hint
    assert not isinstance(error.value, UsageError)
    assert type(error.value).__name__ != "UsageError"
    rendered = error.value._render_traceback_()  # type: ignore[attr-defined]
    assert 2 <= len(rendered) <= 4


def test_source_that_does_not_compile_changes_nothing(shell: InteractiveShell) -> None:
    from kaos_ext.notebook.bodies import SourceError

    shell.run_line_magic("load_ext", "kaos_ext")
    with pytest.raises(SourceError, match="line 1"):
        shell.run_cell_magic("kaos", "mcp deploy echo", "def echo(\n    return 1\n")
    assert not shell._kaos_magics.background.running


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%kaos agent dep", ["deploy"]),
        ("%kaos agent deploy a --auto-", ["--auto-interval", "--auto-max-iter-runtime"]),
        ("r = %kaos agent wa", ["watch", "wait"]),
        ("%%kaos mcp dep", ["deploy"]),
        ("%kaos modelapi deploy a --mode P", ["Proxy"]),
        ("%kaos agent watch auto", ["auto-agent", "auto-pilot"]),
        ("%kaos agent watch auto-a", ["auto-agent"]),
    ],
)
def test_completion_knows_verbs_flags_choices_and_names(shell: InteractiveShell, line: str, offered: list[str]) -> None:
    from kaos_ext.commands.grammar import Names

    shell.run_line_magic("load_ext", "kaos_ext")
    cache = shell._kaos_magics._completion.cache
    cache._names[Names.AGENTS] = ("auto-agent", "auto-pilot", "other")
    cache._asked_at = float("inf")
    text, found = shell.complete(None, line, len(line))
    assert [line[: len(line) - len(text)] + f for f in found] == [line[: line.rfind(" ") + 1] + o for o in offered]


def test_python_lines_are_completed_as_ever(shell: InteractiveShell) -> None:
    shell.run_line_magic("load_ext", "kaos_ext")
    shell.user_ns["kaos_thing"] = 1
    assert "kaos_thing" in shell.complete(None, "kaos_th", 7)[1]


def test_the_completer_never_waits_for_the_cluster(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    from kaos_ext.notebook import completion

    asked = threading.Event()
    answer = threading.Event()

    async def slow(cache: object) -> None:
        asked.set()
        await asyncio.to_thread(answer.wait, 10)

    monkeypatch.setattr(completion.NameCache, "_ask", slow)
    shell.run_line_magic("load_ext", "kaos_ext")
    line = "%kaos agent watch late"
    assert "late-agent" not in shell.complete(None, line, len(line))[1]
    assert asked.wait(5)
    answer.set()
