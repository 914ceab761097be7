"""`make demo`: the main job, seen from outside.

`notebooks/01-autonomous-agent.ipynb` as `kaos test` runs it, on a cluster of its own: each cell as it is done, what the
agent did, where the executed notebook and its page lie, and what was found; nothing is left running. Exit status 1 if
anything is red.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kaos_ext.testing.cases import Case
from kaos_ext.testing.findings import ASKS, Report, Verdict
from kaos_ext.testing.liveview import MIMETYPE as AGENT_VIEW
from kaos_ext.testing.reading import MARKS, report_text
from kaos_ext.testing.runner import run_case

INTERRUPTED = 130


def main() -> int:
    root = Path(__file__).parents[2]
    notebook = root / "notebooks" / "01-autonomous-agent.ipynb"
    # Whoever ends this, ends the cluster as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Test settings of the caller must not slow down or change what is shown.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"running {notebook.relative_to(root)} on a cluster of its own", flush=True)
    try:
        report = asyncio.run(run_case(Case(notebook), say=lambda line: print(line, flush=True)))
    except KeyboardInterrupt:
        print("ended early; its cluster is down", file=sys.stderr)
        return INTERRUPTED
    for line in tell(report):
        print(line)
    for place in write(root / "out", notebook.name, report):
        print(place)
    if not report.green:
        print(report_text(report), file=sys.stderr)
        return 1
    for verdict in Verdict:
        print(f"{MARKS[report.state(verdict)]} {report.unasked.get(verdict) or ASKS[verdict]}")
    return 0


def write(out: Path, name: str, report: Report) -> list[str]:
    """The executed notebook and its page; the lines that say where."""
    import nbformat

    if report.executed is None:
        return []
    out.mkdir(parents=True, exist_ok=True)
    executed, page = out / name, (out / name).with_suffix(".html")
    nbformat.write(report.executed, executed)
    page.write_text(report.html, encoding="utf-8")
    return ["", f"notebook  {executed}", f"page      {page}", ""]


def tell(report: Report) -> list[str]:
    """What the agent did, from the last state of its live view in the executed notebook."""
    views = shown(report.executed)
    if not views:
        return ["", "the notebook shows no agent"]
    last = max(views, key=lambda view: int(view["iteration"]))
    totals = last["totals"]
    did = [f"{totals['iterations']} iterations", f"{totals['model_calls']} model calls"]
    did.append(f"{totals['tool_calls']} tool calls")
    lines = ["", f"agent {last['name']} did {', '.join(did)}", f"  goal   {last['goal']}"]
    lines += [f"  {event['what']:<12} {event['detail']}" for event in last["events"][-5:]]
    lines.append(f"  last   {last['last_answer']}")
    return lines


def shown(executed: Any) -> list[dict[str, Any]]:
    """The agents' live views of an executed notebook, in order."""
    cells = [] if executed is None else executed.cells
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    return [output["data"][AGENT_VIEW] for output in outputs if AGENT_VIEW in output.get("data", {})]


if __name__ == "__main__":
    raise SystemExit(main())
