"""One pass over the cells of a notebook in a kernel, and what went wrong in it, silent failures included.

a reply that is an error       also one without an error output (a magic's UsageError), and `sys.exit(0)`
an error output without one    a cell magic that ran code and dropped its result; the pass goes on
standard error                 unless the cell is tagged `stderr`; the pass goes on
no end                         the cell's time is over
no kernel                      it died; `Pass.dead` says so, since that may be the machine's fault
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.testing.findings import CellRun, Finding, Verdict
from kaos_ext.testing.screen_text import final_text

ALLOWED_STDERR = "stderr"
SHOWN_LINES = 20
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Before = Callable[[int, Any], Awaitable[None]]
Told = Callable[[CellRun], None]


async def _nothing(_index: int, _cell: Any) -> None:
    """Nothing is done before a cell."""


@dataclass
class Pass:
    """How far it came. `stopped` is the index of the cell it ended at, None when all were run."""

    notebook: Any
    cells: list[CellRun] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stopped: int | None = None
    dead: bool = False


async def execute(
    notebook: Any,
    manager: Any,
    client: Any,
    *,
    timeout: float,  # noqa: ASYNC109
    told: Told = lambda _: None,
    before: Before = _nothing,
    until: int | None = None,
) -> Pass:
    """Run the code cells in order, with their outputs in `notebook`; only those up to index `until` if it is given."""
    from nbclient import NotebookClient

    runner = NotebookClient(notebook, km=manager, timeout=max(1, round(timeout)), record_timing=False)
    runner.kc = client
    runner.log.setLevel("CRITICAL")  # what it would log is what the findings say
    result = Pass(notebook)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip() or (until is not None and index > until):
            continue
        await before(index, cell)
        began = time.monotonic()
        failure = await _failure(runner, index, cell, timeout, result)
        quiet = silent_failures(index, cell) if failure is None else []
        run = CellRun(
            index, cell.get("id", ""), first_line(cell.source), time.monotonic() - began, bool(failure or quiet)
        )
        result.cells.append(run)
        result.findings += [failure] if failure else quiet
        told(run)
        if failure is not None:
            result.stopped = index
            break
    runner.set_widgets_metadata()
    return result


async def _failure(runner: Any, index: int, cell: Any, seconds: float, result: Pass) -> Finding | None:
    """Run one cell; why the pass cannot go on after it."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    try:
        await runner.async_execute_cell(cell, index)
    except CellExecutionError as error:
        return _finding(index, cell, _cause(error.ename, error.evalue, cell))
    except CellTimeoutError:
        return _finding(index, cell, f"it has not ended after {seconds:g} s: {_waits_in(cell)}")
    except DeadKernelError:
        result.dead = True
        return _finding(index, cell, "the kernel died while it ran")
    return None


def silent_failures(index: int, cell: Any) -> list[Finding]:
    """Failures in the outputs of a cell that reported success."""
    found = [
        _finding(index, cell, f"{output.ename}: {output.evalue} (shown, but the cell went on)")
        for output in cell.outputs
        if output.output_type == "error"
    ]
    said = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr").strip()
    if said and ALLOWED_STDERR not in cell.metadata.get("tags", ()):
        found.append(_finding(index, cell, f"it wrote to standard error: {_telling(said)}"))
    return found


def _telling(said: str) -> str:
    """The line of a text on standard error that says most: what names an error or a warning, else the last one."""
    lines = [line.strip() for line in _COLOUR.sub("", final_text(said)).strip().splitlines()]
    named = [line for line in lines if re.search(r"\b\w*(?:Error|Warning|Exception)\b ?:", line)]
    return (named or lines)[-1]


def _cause(name: str, value: str, cell: Any) -> str:
    """One line that says why, also when the runner got no message."""
    if name == "SystemExit":
        return f"sys.exit({value}) ends the notebook here"
    lines = _COLOUR.sub("", value or "").strip().splitlines()
    if not lines:
        said = [o.text.strip() for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        lines = said[-1].splitlines()[-1:] if said and said[-1] else ["(without a message)"]
        lines = [lines[0].removeprefix(f"{name}: ")]
    if name == "CalledProcessError":
        return f"a command failed: {lines[0]}"
    return f"{name}: {lines[0]}"


def _waits_in(cell: Any) -> str:
    waits = [line.strip() for line in cell.source.splitlines() if re.search(r"wait|while|sleep|join|result\(", line)]
    return f"it waits in `{(waits or [first_line(cell.source)])[0]}`"


def _finding(index: int, cell: Any, cause: str) -> Finding:
    return Finding(Verdict.ERRORS, cause, index, cell.get("id", ""), tuple(shown(cell)))


def shown(cell: Any) -> list[str]:
    """A cell for a report: its source, its streams, its traceback, each cut to what one can read."""
    lines = [f"  {line}" for line in cell.source.splitlines()[:SHOWN_LINES]]
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            lines += [f"{output.name}: {line}" for line in _tail(final_text(output.text))]
        elif output.output_type == "error":
            lines += [f"error: {line}" for line in _tail("\n".join(output.traceback))]
    return lines


def _tail(text: str) -> list[str]:
    lines = [line.rstrip() for line in _COLOUR.sub("", text).splitlines() if line.strip()]
    return [f"… {len(lines) - SHOWN_LINES} lines", *lines[-SHOWN_LINES:]] if len(lines) > SHOWN_LINES else lines


def first_line(source: str, limit: int = 76) -> str:
    """The line that says what a cell does: its first one that is no comment."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    line = lines[0] if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"
