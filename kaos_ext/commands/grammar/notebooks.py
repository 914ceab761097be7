"""The verbs of notebooks as tests. Their code is `kaos_ext.testing` (extra `test`), loaded when they run."""

from __future__ import annotations

from kaos_ext.commands.grammar.shapes import Argument, Flag, Group, Names, Takes, Verb

GROUPS = (Group(("notebook",), "notebooks that are committed: lint, refresh"),)

PATHS = Argument("paths", "notebooks, or folders of them", completes=Names.FILES, repeat=True)
TIMEOUT = Flag(
    "timeout", "longest one cell may take", takes=Takes.SECONDS, metavar="SECONDS", default=120.0
)  # fmt: skip

VERBS = (
    Verb(
        ("test",), "run notebooks as tests, each on a fresh cluster", "kaos_ext.testing.verbs:test",
        "kaos test notebooks/ -n 2 --junit out/junit.xml", shell_only=True,
        description="Each notebook is run once and judged: errors, outputs, bundles, page, cluster, leftovers, budget. "
        "With --kubeconfig it runs on that cluster, which stays as it is; --proof runs it in harder ways as well.",
        arguments=(PATHS,),
        flags=(
            Flag("workers", "so many notebooks at once", short="n", takes=Takes.INTEGER, metavar="COUNT", minimum=1,
                 maximum=64, default=1),
            Flag("parameter", "a parameter of the notebooks; `fault=NAME` injects a fault", short="p",
                 metavar="NAME=VALUE", repeat=True),
            Flag("proof", "prove more: all cells twice, a restart after each cell, every fault, another kernel",
                 metavar="PROOF", repeat=True, choices=("twice", "restart", "faults", "kernel", "all")),
            Flag("sample", "only so many cases of the proofs", takes=Takes.INTEGER, metavar="COUNT", minimum=1),
            Flag("seed", "which ones", takes=Takes.INTEGER, metavar="NUMBER", minimum=0, default=0),
            Flag("kernel-python", "the Python whose ipykernel runs the notebooks", metavar="FILE",
                 completes=Names.FILES),
            TIMEOUT,
            Flag("junit", "write JUnit XML to this file", metavar="FILE", completes=Names.FILES),
            Flag("html", "write the executed notebooks and a report to this folder", metavar="FOLDER",
                 completes=Names.FILES),
        ),
    ),
    Verb(
        ("notebook", "lint"), "what is wrong with committed notebooks, told without running them",
        "kaos_ext.testing.verbs:lint", "kaos notebook lint notebooks/", arguments=(PATHS,),
    ),
    Verb(
        ("notebook", "refresh"), "run notebooks and commit what they show, in the form that stays the same",
        "kaos_ext.testing.verbs:refresh", "kaos notebook refresh notebooks/", arguments=(PATHS,), flags=(TIMEOUT,),
    ),
)  # fmt: skip
