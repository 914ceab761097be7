"""Our own notebooks: each once, a seeded sample of the proofs; all proofs, and every runner, in `make proof`.

`KAOS_SEED` chooses another sample.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from kaos_ext.testing.cases import Case, Proof, find_notebooks, matrix, sample
from kaos_ext.testing.clusters import EphemeralCluster
from kaos_ext.testing.runner import Options, run_case
from tests.testing.notebooks import CLEAN, code, notebook, printed, written

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
NOTEBOOKS = find_notebooks([ROOT / "notebooks"])
ALL = [case for path in NOTEBOOKS for case in matrix(path, (Proof.TWICE, Proof.RESTART, Proof.FAULTS))]
SEED = int(os.environ.get("KAOS_SEED", "6"))
SAMPLE = sample(ALL, 2, SEED)


def named(case: Case) -> str:
    return case.name.removeprefix(f"{ROOT}/notebooks/")


async def green(case: Case, options: Options | None = None) -> None:
    lines: list[str] = []
    report = await run_case(case, options, lines.append)
    assert report.findings == (), "\n".join([*lines, *(f"{f}\n{chr(10).join(f.details)}" for f in report.findings)])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_it_is_green(path: Path) -> None:
    await green(Case(path))


@pytest.mark.parametrize("case", SAMPLE, ids=named)
async def test_it_is_green_under_a_sampled_proof(case: Case) -> None:
    await green(case)


@pytest.mark.proof
@pytest.mark.parametrize("case", ALL, ids=named)
async def test_it_is_green_under_every_proof(case: Case) -> None:
    await green(case)


@pytest.fixture(scope="session")
def ipykernel_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with ipykernel 6: an environment that borrows every other library from this one."""
    folder = tmp_path_factory.mktemp("ipykernel-6")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--target", str(site), "ipykernel>=6.29,<7"], check=True)
    # `.pth` files of a borrowed folder are not read; what is installed editable is on the path by ours.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join([*borrowed, str(ROOT), str(ROOT / "operator")]) + "\n")
    python = folder / "bin" / "python"
    version = subprocess.run(
        [str(python), "-c", "import ipykernel; print(ipykernel.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert version.stdout.startswith("6.")
    return python


async def test_a_clean_notebook_is_green_on_ipykernel_6(ipykernel_6: Path, tmp_path: Path) -> None:
    version = code("import ipykernel\nprint(ipykernel.version_info[0])", printed("6\n"))
    await green(Case(written(tmp_path, notebook(version)), python=ipykernel_6), Options(cluster=False))
    await green(Case(written(tmp_path, CLEAN, "clean"), python=ipykernel_6), Options(cluster=False))


@pytest.mark.proof
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_it_is_green_on_ipykernel_6(path: Path, ipykernel_6: Path) -> None:
    await green(Case(path, Proof.KERNEL, python=ipykernel_6))


@pytest.mark.proof
def test_plain_papermill_and_pytest_notebook_pass_too(kaos_cluster: EphemeralCluster, tmp_path: Path) -> None:
    bin = Path(sys.executable).parent
    environment = kaos_cluster.environment | {"PATH": f"{bin}:{os.environ['PATH']}"}
    kaos_cluster.kaos("modelapi", "list")
    for path in NOTEBOOKS:
        given = ["-p", "namespace", "tutorial"] if path.parent.name == "notebooks" else []
        words = [str(bin / "papermill"), str(path), str(tmp_path / path.name), "--cwd", str(tmp_path), *given]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    # The published example leaves its own namespace current, and deletes it.
    back = ["kubectl", "config", "set-context", "--current", "--namespace=default"]
    subprocess.run(back, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nb-test-files", "notebooks/"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0 and f"{len(NOTEBOOKS)} passed" in done.stdout, done.stdout


@pytest.mark.proof
def test_the_runner_costs_at_most_two_seconds_more_than_bare_nbclient(tmp_path: Path) -> None:
    """Cluster included, on a machine that has nothing else to do; on one that is busy, as many times more as it is."""
    path = written(tmp_path, notebook(code("print(1)", printed("1\n"))))
    costs = []
    for _ in range(3):
        began = time.monotonic()
        NotebookClient(nbformat.read(path, as_version=4)).execute()
        without = time.monotonic() - began
        began = time.monotonic()
        report = asyncio.run(run_case(Case(path), Options(timeout=60)))
        costs.append((time.monotonic() - began - without) / max(1.0, report.baseline / 0.008))
    assert statistics.median(costs) <= 2.0
