"""Runs cases, several at once if asked, and tells how they go: a line for each cell, then what was found.

With more than one at a time every line carries the name of its notebook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from kaos_ext.testing.cases import Case
from kaos_ext.testing.findings import Report
from kaos_ext.testing.reading import report_text, times_text
from kaos_ext.testing.runner import Options, Say, run_case


async def run_suite(
    cases: Sequence[Case], options: Options, *, at_once: int = 1, say: Say = lambda _: None
) -> list[Report]:
    """The reports, in the order of the cases."""
    free = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Report:
        async with free:
            prefix = f"{case.notebook.stem}: " if at_once > 1 else ""
            say(f"{case.name}")
            report = await run_case(case, options, lambda line: say(prefix + line))
            for line in f"{report_text(report)}\n{times_text(report)}".splitlines():
                say(line)
            return report

    tasks = [asyncio.ensure_future(one(case)) for case in cases]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _cancelled(tasks)


async def _cancelled(tasks: Iterable[asyncio.Task[Report]]) -> None:
    """An interrupt ends every run, and each takes its kernel and cluster down."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
