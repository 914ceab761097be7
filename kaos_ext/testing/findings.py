"""What one run of a notebook found out, as values.

    Verdict   one question that is asked of a run ("errors", "outputs", …)
    Finding   why a verdict is red: the cell, the cause in one line, what there is to read about it
    CellRun   how one cell went: when, how long
    Report    one case (a notebook, plainly or under a proof), its findings, its cells

A verdict that could not be asked (outputs under a fault, say) carries the reason in `Report.unasked`, never a green.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Verdict(StrEnum):
    """In the order they are told."""

    ERRORS = "errors"
    OUTPUTS = "outputs"
    BUNDLES = "bundles"
    PAGE = "page"
    CLUSTER = "cluster"
    LEFTOVERS = "leftovers"
    BUDGET = "budget"


ASKS = {
    Verdict.ERRORS: "every cell ran without an error, silent ones included",
    Verdict.OUTPUTS: "the committed outputs are still right",
    Verdict.BUNDLES: "whatever is shown has text and html",
    Verdict.PAGE: "the page it makes is whole, in both themes and offline",
    Verdict.CLUSTER: "the cluster is as the notebook says",
    Verdict.LEFTOVERS: "no process, port, thread or file is left",
    Verdict.BUDGET: "no cell takes far longer than it did",
}


@dataclass(frozen=True)
class Finding:
    """One reason for red. `cell` is the place in the notebook, `cell_id` its id; None and empty: the whole notebook."""

    verdict: Verdict
    cause: str
    cell: int | None = None
    cell_id: str = ""
    details: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return "" if self.cell is None else f"cell {self.cell + 1} ({self.cell_id})"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.cause) if part)

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict.value,
            "cause": self.cause,
            "cell": None if self.cell is None else self.cell + 1,
            "cell_id": self.cell_id,
            "details": list(self.details),
        }


@dataclass(frozen=True)
class CellRun:
    """One executed code cell; `allowed` are the seconds beyond which it is too slow, where it has a budget."""

    cell: int
    cell_id: str
    line: str
    seconds: float
    failed: bool = False
    allowed: float | None = None


@dataclass(frozen=True)
class Report:
    """One case. `baseline` is the run's own measure of how fast this machine is at the moment, in seconds."""

    name: str
    notebook: Path
    findings: tuple[Finding, ...] = ()
    cells: tuple[CellRun, ...] = ()
    unasked: dict[Verdict, str] = field(default_factory=dict)
    seconds: float = 0.0
    baseline: float = 0.0
    retried: str = ""
    executed: Any = None
    """The executed notebook (nbformat), as far as it came."""
    html: str = ""

    @property
    def green(self) -> bool:
        return not self.findings

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict is verdict)

    def state(self, verdict: Verdict) -> str:
        return "red" if self.of(verdict) else "not asked" if verdict in self.unasked else "green"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "notebook": str(self.notebook),
            "green": self.green,
            "verdicts": {verdict.value: self.state(verdict) for verdict in Verdict},
            "findings": [finding.as_json() for finding in self.findings],
            "not_asked": {verdict.value: why for verdict, why in self.unasked.items()},
            "seconds": round(self.seconds, 3),
            "baseline": round(self.baseline, 4),
            "retried": self.retried,
            "cells": [
                {"cell": c.cell + 1, "id": c.cell_id, "seconds": round(c.seconds, 3), "allowed": c.allowed}
                for c in self.cells
            ],
        }
