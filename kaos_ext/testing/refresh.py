"""`kaos notebook refresh`: run a notebook as its test does and commit what it shows, in the committed form.

Only a run without errors is written; an output that is right already stays as it is, byte for byte. The budget of its
cells is renewed with it. `proposed` decides, `write` writes.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from kaos_ext.testing import budget
from kaos_ext.testing.cases import Case, read
from kaos_ext.testing.findings import Report, Verdict
from kaos_ext.testing.normalise import normalised
from kaos_ext.testing.runner import Options, Say, run_case

ITS_OWN = frozenset({Verdict.OUTPUTS, Verdict.BUDGET})


async def refresh(path: Path, options: Options, say: Say = lambda _: None) -> tuple[Report, bool]:
    """Run it and write it; the report (without what was just renewed) and whether the file changed."""
    report = await run_case(Case(path), options, say)
    lasting = [finding for finding in report.findings if finding.verdict not in ITS_OWN]
    if lasting or report.executed is None:
        return report, False
    committed = read(path)
    changed = write(path, committed, proposed(committed, report))
    return report, changed


def proposed(committed: Any, report: Report) -> Any:
    """The notebook to commit: the committed sources with the outputs of the run."""
    result = normalised(report.executed)
    result.metadata = copy.deepcopy(normalised(committed).metadata)
    ours = dict(result.metadata.get("kaos") or {})
    ours["budget"] = budget.measured(report.cells, report.baseline, budget.committed(committed))
    result.metadata["kaos"] = ours
    return result


def write(path: Path, before: Any, after: Any) -> bool:
    """Write the file if it says something else; whether it did."""
    import nbformat

    text = nbformat.writes(after) + "\n"
    if nbformat.writes(before) + "\n" == text == path.read_text(encoding="utf-8"):
        return False
    path.write_text(text, encoding="utf-8")
    return True
