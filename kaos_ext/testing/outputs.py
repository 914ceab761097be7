"""Are the committed outputs still right? pytest-notebook's comparison, of both notebooks in their committed form."""

from __future__ import annotations

from typing import Any

from kaos_ext.testing.findings import Finding, Verdict
from kaos_ext.testing.normalise import normalised

IGNORED = (
    "/metadata",
    "/nbformat",
    "/nbformat_minor",
    "/cells/*/metadata",
    "/cells/*/execution_count",
    "/cells/*/outputs/*/execution_count",
    "/cells/*/outputs/*/traceback",
)
SHOWN_LINES = 30
REFRESH = "kaos notebook refresh"


def compare(committed: Any, executed: Any) -> list[Finding]:
    """One finding for each cell whose outputs are not those that were committed."""
    from pytest_notebook.diffing import diff_notebooks, filter_diff

    before, after = normalised(committed), normalised(executed)
    cells = [cell for cell in before.cells if cell.cell_type == "code"]
    shows = any(cell.outputs for cell in after.cells if cell.cell_type == "code")
    if shows and not any(cell.outputs for cell in cells):
        return [Finding(Verdict.OUTPUTS, f"no outputs are committed; `{REFRESH}` writes them")]
    difference = filter_diff(diff_notebooks(before, after), list(IGNORED))
    return [_finding(before, patch) for entry in difference for patch in entry.get("diff", [entry])]


def _finding(before: Any, patch: Any) -> Finding:
    index = patch["key"]
    if not isinstance(index, int) or index >= len(before.cells):
        return Finding(Verdict.OUTPUTS, f"the notebook has another {index}")
    cell = before.cells[index]
    lines = _lines(before, index, patch)
    changed = [line for line in lines if line.lstrip().startswith(("-", "+")) and not line.startswith(("---", "+++"))]
    cause = f"its outputs are not the committed ones: {_short(changed)}; if they are right, `{REFRESH}`"
    return Finding(Verdict.OUTPUTS, cause, index, cell.get("id", ""), tuple(lines[:SHOWN_LINES]))


def _lines(before: Any, index: int, patch: Any) -> list[str]:
    """The difference of one cell, as nbdime says it."""
    from nbdime.diff_format import op_patch
    from pytest_notebook.diffing import diff_to_string

    whole = [op_patch("cells", [patch])]
    text = diff_to_string(before, whole, use_git=False, use_diff=False, use_color=False)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _short(changed: list[str]) -> str:
    """`- old, + new`, cut."""
    cut = [line.strip()[:70] for line in changed if line.strip("+- \t")]
    return ", ".join(cut[:2]) or "something was added or removed"
