"""Recorded iterations as a user's own tests: a file, one line, plain pytest in a process without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kaos_ext.runtime.agent.recording import Recording
from kaos_ext.testing import Diverged, Report, replay
from tests.commands.test_replaying import life

TESTS = """
import socket

import pytest

from kaos_ext.testing import Diverged, replay


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*args, **options):
        raise AssertionError("a replay makes no connection")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def test_it_still_goes_the_same_way():
    replay("one.json").check()


def test_it_does_not_any_more():
    replay("other.json").check()


async def in_a_running_loop():
    replay("one.json").check()


def test_in_a_running_loop():
    import asyncio

    asyncio.run(in_a_running_loop())
"""


def recorded(folder: Path, *, outcome: str = "Completed") -> Recording:
    recording = Recording.of(life(2, outcome=outcome), 2)
    recording.save(folder / ("one.json" if outcome == "Completed" else "other.json"))
    return recording


@pytest.mark.process
def test_a_user_keeps_a_recording_beside_a_test(tmp_path: Path) -> None:
    recorded(tmp_path)
    recorded(tmp_path, outcome="StepsExhausted")
    (tmp_path / "test_agent.py").write_text(TESTS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "1 failed, 2 passed" in ran.stdout, ran.stdout
    assert "Diverged: iteration 2 diverges at event" in ran.stdout
    assert "content.outcome: recorded StepsExhausted, now Completed" in ran.stdout


def test_a_path_a_text_or_a_recording_is_taken(tmp_path: Path) -> None:
    recording = recorded(tmp_path)
    for given in (recording, tmp_path / "one.json", str(tmp_path / "one.json")):
        report: Report = replay(given)
        assert report.same
    other = replay(recorded(tmp_path, outcome="Failed"))
    with pytest.raises(Diverged):
        other.check()
    with pytest.raises(AssertionError):
        other.check()


def test_a_recording_is_readable_in_a_diff(tmp_path: Path) -> None:
    recorded(tmp_path)
    text = (tmp_path / "one.json").read_text()
    assert json.loads(text)["format"] == "kaos.recording/v1" and text.count("\n") > 20


def test_the_package_itself_imports_nothing_of_the_loop() -> None:
    code = "import sys, kaos_ext.testing; print([m for m in sys.modules if m.startswith('kaos_ext.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['kaos_ext.testing']"
