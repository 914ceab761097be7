"""A folder of pages: each executed notebook, and `index.html` with the verdicts, findings and times of all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from kaos_ext.testing.findings import CellRun, Report, Verdict
from kaos_ext.testing.reading import MARKS, summary

_STYLE = """:root{color-scheme:light dark}
body{font:14px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
pre{white-space:pre-wrap;font-size:12px;opacity:.85;margin:.2rem 0 .8rem 1rem}.red{color:#c0392b}.green{color:#2f9e63}
.quiet{opacity:.6}"""


def write_pages(folder: Path, reports: Sequence[Report]) -> Path:
    """Write them; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for report in reports:
        name = re.sub(r"[^\w.-]+", "-", report.name).strip("-") + ".html"
        if report.html:
            (folder / name).write_text(report.html, encoding="utf-8")
        parts.append(_section(report, name))
    index = folder / "index.html"
    index.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>kaos test</title><style>{_STYLE}</style>'
        f"<h1>kaos test</h1><p>{escape(summary(reports))}</p>{''.join(parts)}</html>",
        encoding="utf-8",
    )
    return index


def _section(report: Report, page: str) -> str:
    verdicts = " ".join(
        f'<span class="{_class(report.state(verdict))}">{MARKS[report.state(verdict)]} {verdict}</span>&emsp;'
        for verdict in Verdict
    )
    title = f'<a href="{escape(page)}">{escape(report.name)}</a>' if report.html else escape(report.name)
    findings = "".join(
        f'<div class="red">{finding.verdict}: {escape(str(finding))}</div>'
        f"<pre>{escape(chr(10).join(finding.details))}</pre>"
        for finding in report.findings
    )
    unasked = "".join(
        f'<div class="quiet">{verdict} not asked: {escape(why)}</div>' for verdict, why in report.unasked.items()
    )
    rows = "".join(_row(cell) for cell in report.cells)
    times = f"<details><summary>{report.seconds:.1f} s</summary><table>{rows}</table></details>"
    return f"<h2>{title}</h2><p>{verdicts}</p>{findings}{unasked}{times}"


def _row(cell: CellRun) -> str:
    allowed = "" if cell.allowed is None else f"of {cell.allowed:.1f} s"
    return (
        f"<tr><td>{cell.cell + 1}</td><td>{cell.seconds:.2f} s</td><td>{allowed}</td>"
        f"<td><code>{escape(cell.line)}</code></td></tr>"
    )


def _class(state: str) -> str:
    return {"green": "green", "red": "red"}.get(state, "quiet")
