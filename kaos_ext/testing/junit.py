"""JUnit XML: a suite for each case, a test case for each verdict, `skipped` with its reason where it was not asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from kaos_ext.testing.findings import Report, Verdict
from kaos_ext.testing.reading import times_text

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(reports: Sequence[Report], now: datetime | None = None) -> str:
    """The document."""
    root = ET.Element("testsuites", {"name": "kaos test", **_counts(reports)})
    stamp = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    for report in reports:
        suite = ET.SubElement(
            root,
            "testsuite",
            {"name": _clean(report.name), "timestamp": stamp, "hostname": "localhost", **_counts([report])},
        )
        for verdict in Verdict:
            _test_case(suite, report, verdict)
        ET.SubElement(suite, "system-out").text = _clean(times_text(report))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(path: Path, reports: Sequence[Report]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(junit(reports), encoding="utf-8")


def _test_case(suite: ET.Element, report: Report, verdict: Verdict) -> None:
    # The time of the run is the time of its first verdict, so that sums are right.
    seconds = report.seconds if verdict is Verdict.ERRORS else 0.0
    case = ET.SubElement(suite, "testcase", classname=_clean(report.name), name=verdict.value, time=f"{seconds:.3f}")
    for finding in report.of(verdict):
        failure = ET.SubElement(case, "failure", message=_clean(str(finding)), type=verdict.value)
        failure.text = _clean("\n".join(finding.details))
    if report.state(verdict) == "not asked":
        ET.SubElement(case, "skipped", message=_clean(report.unasked[verdict]))


def _counts(reports: Sequence[Report]) -> dict[str, str]:
    states = [report.state(verdict) for report in reports for verdict in Verdict]
    return {
        "tests": str(len(states)),
        "failures": str(states.count("red")),
        "errors": "0",
        "skipped": str(states.count("not asked")),
        "time": f"{sum(report.seconds for report in reports):.3f}",
    }


def _clean(text: str) -> str:
    return _NOT_XML.sub("�", text)
