"""`python -m tests.conformance [SUITE …] [--write FILE]`: run suites, print the table; 1 when a miss is unexplained."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from datetime import date
from pathlib import Path

from tests.conformance.outcome import Outcome, table

BEGIN, END = "<!-- table -->", "<!-- end of table -->"
SUITES = ("kopf", "kr8s", "kubectl", "helm", "kubernetes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the dated table in FILE too")
    parser.add_argument("--only", action="append", default=[], metavar="TEST", help="tests whose name has this in it")
    arguments = parser.parse_args()
    outcomes: list[Outcome] = []
    for name in arguments.suites or SUITES:
        outcome = importlib.import_module(f"tests.conformance.suite_{name}").run(arguments.only)
        sys.stderr.write(f"{outcome.suite}: {len(outcome.passed)}/{outcome.total} in {outcome.seconds:.0f} s\n")
        outcomes.append(outcome)
    text = table(outcomes)
    sys.stdout.write(text + "\n")
    if arguments.write is not None:
        before, _, rest = arguments.write.read_text().partition(BEGIN)
        dated = f"Measured on {date.today().isoformat()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}."
        arguments.write.write_text(f"{before}{BEGIN}\n{dated}\n\n{text}\n{END}{rest.partition(END)[2]}")
    return 1 if any(one.unexplained for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
