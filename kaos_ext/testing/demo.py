"""`make demo`: the main job, seen from outside.

A cluster of its own in a temporary folder, `notebooks/01-autonomous-agent.ipynb` through papermill, what the agent did,
where the executed notebook and its page lie, and the proof that nothing is left running. Exit status 1 if any of it
fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from kaos_ext.model.errors import KaosError
from kaos_ext.testing.leftovers import wait_until_none
from kaos_ext.testing.papermill import Run, run_notebook

AGENT_VIEW = "application/vnd.kaos.agent.v1+json"
CLUSTER = "demo"


def main() -> int:
    root = Path(__file__).parents[2]
    notebook = root / "notebooks" / "01-autonomous-agent.ipynb"
    out = root / "out"
    home = Path(tempfile.mkdtemp(prefix="kaos-demo-"))
    os.environ.update(KAOS_HOME=str(home), KUBECONFIG=str(home / "kubeconfig"))
    # Test settings of the caller must not slow down or change what is shown.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # Whoever ends this, ends the cluster as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"running {notebook.relative_to(root)} on a cluster of its own", flush=True)
    run: Run | None = None
    try:
        run = run_notebook(notebook, out, {"cluster": CLUSTER}, say=lambda line: print(line, flush=True))
    finally:
        problems = end(home)
    told = tell(run)
    for line in told:
        print(line)
    if run.error:
        problems.insert(0, f"the notebook failed: {run.error}")
    print(f"\nnotebook  {run.executed}\npage      {run.html}")
    for problem in problems:
        print(f"✗ {problem}", file=sys.stderr)
    if not problems:
        print("✓ the cluster is down and nothing is left running")
    return 1 if problems else 0


def end(home: Path) -> list[str]:
    """Stop the cluster, delete its state; what is left is a problem."""
    problems = []
    try:
        asyncio.run(_down())
    except KaosError as error:
        problems.append(f"down: {error.message}")
    left = wait_until_none(home)
    problems += [f"still running: {process}" for process in left]
    if not left:
        shutil.rmtree(home, ignore_errors=True)
    return problems


async def _down() -> None:
    from kaos_ext.commands.parse import parse
    from kaos_ext.commands.run import run
    from kaos_ext.commands.session import Session

    async with Session() as session:
        await run(session, parse(["down", CLUSTER, "--delete"]))


def tell(run: Run) -> list[str]:
    """What the agent did, from the last state of its live view in the executed notebook."""
    views: list[dict[str, Any]] = list(run.shown(AGENT_VIEW))
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


if __name__ == "__main__":
    raise SystemExit(main())
