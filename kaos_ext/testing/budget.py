"""How long cells take, in multiples of the run's own baseline, so that a slow machine is not a slow cell.

The baseline is the time of a fixed piece of work in the run's kernel, the slower one of before and after. A notebook
commits what its cells took as multiples of it (`metadata.kaos.budget`, by cell id, written by `kaos notebook refresh`);
red is only what takes more than five times that, and more than a floor that everything may take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kaos_ext.testing.findings import CellRun, Finding, Verdict

TOLERANCE = 5.0
FLOOR_SECONDS = 2.0
WORTH_SECONDS = 0.1
STABLE = 2.0


def committed(notebook: Any) -> dict[str, float]:
    """The budget in the notebook, cell id → multiples of the baseline."""
    return dict((notebook.metadata.get("kaos") or {}).get("budget") or {})


def judged(cells: Iterable[CellRun], budget: Mapping[str, float], baseline: float) -> tuple[CellRun, ...]:
    """The cells with what they are allowed."""
    return tuple(
        replace(cell, allowed=max(FLOOR_SECONDS, TOLERANCE * budget[cell.cell_id] * baseline))
        if cell.cell_id in budget
        else cell
        for cell in cells
    )


def check_budget(cells: Iterable[CellRun], budget: Mapping[str, float], baseline: float) -> list[Finding]:
    """One finding for each cell beyond what it is allowed."""
    found = []
    for cell in cells:
        if cell.allowed is None or cell.failed or cell.seconds <= cell.allowed:
            continue
        times = cell.seconds / (budget[cell.cell_id] * baseline)
        cause = (
            f"it took {cell.seconds:.1f} s, {times:.0f} times what it did when it was committed "
            f"(allowed {cell.allowed:.1f} s on this machine now)"
        )
        found.append(Finding(Verdict.BUDGET, cause, cell.cell, cell.cell_id))
    return found


def measured(cells: Iterable[CellRun], baseline: float, known: Mapping[str, float]) -> dict[str, float]:
    """The budget to commit. A number that is still about right stays, so that a refresh changes nothing for nothing."""
    budget = {}
    for cell in cells:
        rounded = float(f"{max(WORTH_SECONDS, cell.seconds) / baseline:.1g}")
        old = known.get(cell.cell_id)
        stays = old is not None and rounded / STABLE <= old <= rounded * STABLE
        budget[cell.cell_id] = old if stays and old is not None else rounded
    return budget
