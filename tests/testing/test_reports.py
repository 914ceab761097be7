"""What is told of a run: text, JUnit XML by its schema, pages."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from kaos_ext.testing.findings import CellRun, Finding, Report, Verdict
from kaos_ext.testing.html_report import write_pages
from kaos_ext.testing.junit import junit
from kaos_ext.testing.reading import report_text, summary, times_text

SCHEMA = xmlschema.XMLSchema(str(Path(__file__).parent / "data" / "junit.xsd"))
GREEN = Report("a.ipynb", Path("a.ipynb"), seconds=1.25, cells=(CellRun(1, "one", "print(1)", 0.5, allowed=2.0),))
RED = Report(
    "b.ipynb [twice]",
    Path("b.ipynb"),
    (
        Finding(Verdict.ERRORS, "ValueError: <odd> & \x1b[31mcoloured\x00", 3, "four", ("  1 / 0", "log: <&>")),
        Finding(Verdict.ERRORS, "another one", 4, "five"),
        Finding(Verdict.LEFTOVERS, "a process is left: sleep"),
    ),
    unasked={Verdict.OUTPUTS: "the run ended early", Verdict.CLUSTER: "there is no cluster"},
    seconds=3.0,
    retried="the kernel died",
    html="<p>page</p>",
)


@pytest.mark.parametrize("reports", [(), (GREEN,), (RED,), (GREEN, RED)], ids=len)
def test_junit_is_valid_by_its_schema(reports: tuple[Report, ...]) -> None:
    SCHEMA.validate(ET.ElementTree(ET.fromstring(junit(reports))))


def test_the_schema_refuses_what_is_not_junit() -> None:
    for broken in ('name="errors" time="soon"', 'time="1"', 'name="errors" time="-1"'):
        document = junit((GREEN,)).replace('name="errors" time="1.250"', broken)
        assert not SCHEMA.is_valid(ET.ElementTree(ET.fromstring(document)))


def test_junit_counts_verdicts_and_says_which_cell_and_why() -> None:
    root = ET.fromstring(junit((GREEN, RED)))
    assert root.attrib | {"time": ""} == {
        "name": "kaos test", "tests": "14", "failures": "2", "errors": "0", "skipped": "2", "time": "",
    }  # fmt: skip
    failure = root.find(".//testsuite[2]/testcase[1]/failure")
    assert failure is not None
    assert failure.attrib["message"].startswith("cell 4 (four): ValueError: <odd> &")
    assert failure.text == "  1 / 0\nlog: <&>"
    assert [e.attrib["message"] for e in root.iter("skipped")] == ["the run ended early", "there is no cluster"]


def test_a_report_tells_every_verdict_every_finding_and_what_there_is_to_read() -> None:
    text = report_text(RED)
    assert "✗ errors" in text and "✓ page" in text and "– outputs" in text
    assert "cell 4 (four): ValueError" in text and "      log: <&>" in text
    assert "run once more: the kernel died" in text
    assert summary((GREEN, RED)) == "1 of 2 red: b.ipynb [twice]"
    assert summary((GREEN,)) == "1 of 1 green in 1 s"


def test_times_are_told_with_what_they_may_be() -> None:
    assert times_text(GREEN) == "  cell 2  one  0.50 s  of 2.0 s  print(1)"


def test_pages_are_written_with_nothing_of_a_notebook_unescaped(tmp_path: Path) -> None:
    index = write_pages(tmp_path / "html", (GREEN, RED))
    page = index.read_text()
    assert "ValueError: &lt;odd&gt; &amp;" in page
    assert (index.parent / "b.ipynb-twice-.html").exists() or len(list(index.parent.glob("b*.html"))) == 1
    assert RED.as_json()["verdicts"]["outputs"] == "not asked"
