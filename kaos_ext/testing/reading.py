"""A report as people read it: verdicts in one line, each finding with its cell and what there is to read, a table."""

from __future__ import annotations

from collections.abc import Sequence

from kaos_ext.testing.findings import ASKS, Report, Verdict
from kaos_ext.views.columns import aligned

MARKS = {"green": "✓", "red": "✗", "not asked": "–"}
SLOWEST = 5


def report_text(report: Report) -> str:
    """All of one case."""
    lines = ["  " + "  ".join(f"{MARKS[report.state(verdict)]} {verdict}" for verdict in Verdict)]
    if report.retried:
        lines.append(f"  run once more: {report.retried}")
    if not report.green:
        lines += [f"  – {verdict} not asked: {why}" for verdict, why in report.unasked.items()]
    for finding in report.findings:
        lines.append(f"  ✗ {finding.verdict}: {finding}")
        lines += [f"      {line}" for line in finding.details]
    return "\n".join(lines)


def times_text(report: Report) -> str:
    """The slowest cells against what they may take."""
    slowest = sorted(report.cells, key=lambda cell: cell.seconds, reverse=True)[:SLOWEST]
    rows = [
        (
            f"cell {cell.cell + 1}",
            cell.cell_id,
            f"{cell.seconds:.2f} s",
            "no budget" if cell.allowed is None else f"of {cell.allowed:.1f} s",
            cell.line,
        )
        for cell in slowest
    ]
    return aligned(rows, indent="  ")


def summary(reports: Sequence[Report]) -> str:
    """One line over all."""
    red = [report for report in reports if not report.green]
    seconds = sum(report.seconds for report in reports)
    if not red:
        return f"{len(reports)} of {len(reports)} green in {seconds:.0f} s"
    return f"{len(red)} of {len(reports)} red: {', '.join(report.name for report in red)}"


def asks(verdict: Verdict) -> str:
    return ASKS[verdict]
