"""What became of each test of a suite, and the table of all suites."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """Every test that ran and how it failed; `known` says, by pattern, why a miss is not ours or not yet."""

    suite: str
    version: str
    passed: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ""

    @property
    def total(self) -> int:
        return len(self.passed) + len(self.failed)

    def reason(self, test: str) -> str | None:
        return next((why for part, why in self.known.items() if part in test), None)

    @property
    def unexplained(self) -> dict[str, str]:
        return {test: why for test, why in self.failed.items() if self.reason(test) is None}


def from_junit(report: Path) -> tuple[dict[str, None], dict[str, str]]:
    """Tests that passed (expected failures too), and those that did not with the first line of why."""
    passed: dict[str, None] = {}
    failed: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if wrong is not None:
            lines = (wrong.get("message") or wrong.text or "").strip().splitlines()
            failed[name] = lines[0][:300] if lines else "failed"
        elif skipped is not None and skipped.get("type") != "pytest.xfail":
            failed[name] = f"skipped: {skipped.get('message')}"
        else:
            passed[name] = None
    return {name: None for name in passed if name not in failed}, failed


def table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| suite | version | passed | seconds | note |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.suite} | {one.version} | {len(one.passed)}/{one.total} | {one.seconds:.0f} | {one.note} |"
        for one in outcomes
    ]
    misses = [(one, test) for one in outcomes for test in one.failed]
    if misses:
        lines += ["", "| not passed | why |", "|---|---|"]
        for one, test in misses:
            lines.append(f"| {one.suite}: `{test}` | {one.reason(test) or '**not explained:** ' + one.failed[test]} |")
    return "\n".join(line.replace("\n", " ") for line in lines)
