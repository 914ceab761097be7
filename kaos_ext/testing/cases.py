"""Which runs there are: a notebook plainly, or under a proof.

    plain          once, from top to bottom, on a fresh cluster
    twice          all cells twice in one kernel: the second time has to be as good and to show the same
    restart k      the kernel dies after cell k; a new one runs everything from the top on what is there
    fault NAME     a fault while it waits (see `faults`)
    kernel         on another Python, with the ipykernel that is there

`matrix` is all proofs of a notebook, `sample` some of them, the same ones for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kaos_ext.model.errors import NotFoundError, UsageError
from kaos_ext.testing.faults import Fault

SKIPPED = frozenset({".ipynb_checkpoints", "node_modules", "__pycache__"})


class Proof(StrEnum):
    TWICE = "twice"
    RESTART = "restart"
    FAULTS = "faults"
    KERNEL = "kernel"


@dataclass(frozen=True)
class Case:
    """One run. `after` is the index of the cell after which the kernel dies."""

    notebook: Path
    proof: Proof | None = None
    after: int | None = None
    fault: Fault | None = None
    python: Path | None = None

    @property
    def name(self) -> str:
        what = {
            Proof.TWICE: "twice",
            Proof.RESTART: f"restart after cell {(self.after or 0) + 1}",
            Proof.FAULTS: f"fault={self.fault}",
            Proof.KERNEL: f"kernel of {self.python}",
        }
        return f"{self.notebook}" + (f" [{what[self.proof]}]" if self.proof else "")


def find_notebooks(paths: Sequence[str | Path]) -> list[Path]:
    """The notebooks that files and folders mean, in the order of their names."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (p for p in path.rglob("*.ipynb") if not SKIPPED & set(p.parts))
            found += sorted(inside, key=lambda p: (len(p.parts), p))
        elif path.is_file():
            if path.suffix != ".ipynb":
                raise UsageError(f"{path} is not a notebook", hint="kaos test notebooks/")
            found.append(path)
        else:
            raise NotFoundError(f"there is no {path}", hint="kaos test notebooks/")
    if not found:
        raise NotFoundError(f"there is no notebook in {', '.join(map(str, paths))}", hint="kaos test FOLDER")
    return list(dict.fromkeys(found))


def matrix(notebook: Path, proofs: Iterable[Proof], python: Path | None = None) -> list[Case]:
    """Every case of these proofs."""
    cases: list[Case] = []
    for proof in proofs:
        if proof is Proof.TWICE:
            cases.append(Case(notebook, proof))
        elif proof is Proof.RESTART:
            cases += [Case(notebook, proof, after=index) for index in restart_places(notebook)]
        elif proof is Proof.FAULTS:
            cases += [Case(notebook, proof, fault=fault) for fault in Fault]
        elif proof is Proof.KERNEL and python is not None:
            cases.append(Case(notebook, proof, python=python))
    return cases


def sample(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Some of them, in their order; the same ones for the same seed."""
    chosen = random.Random(seed).sample(range(len(cases)), min(count, len(cases)))  # noqa: S311
    return [cases[index] for index in sorted(chosen)]


def restart_places(notebook: Path) -> list[int]:
    """Indexes of the code cells but the last: a restart after the last is no restart of anything."""
    code = [index for index, cell in enumerate(read(notebook).cells) if cell.cell_type == "code"]
    return code[:-1]


def read(notebook: Path) -> Any:
    """The notebook, with ids for cells of old formats."""
    import nbformat
    from nbformat.reader import NotJSONError

    try:
        return nbformat.read(notebook, as_version=4)
    except (NotJSONError, nbformat.ValidationError) as error:
        raise UsageError(f"{notebook} is not a notebook: {str(error).splitlines()[0]}") from error
