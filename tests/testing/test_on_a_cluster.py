"""Runs that need a cluster: what a failure shows of it, what a claim is held against, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kaos_ext.testing.cases import Case
from kaos_ext.testing.clusters import KAOS, EphemeralCluster
from kaos_ext.testing.findings import Report, Verdict
from kaos_ext.testing.leftovers import wait_until_none
from kaos_ext.testing.runner import Options, run_case
from tests.testing.notebooks import code, notebook, printed, written

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
QUICK = Options(pages=False, timeout=60)
BROKEN = """\
%%kaos mcp deploy broken
raise RuntimeError("no luck today")
def tool(message: str) -> str:
    return message
"""
WAITING = """\
%kaos modelapi deploy auto-api --mode Proxy
%kaos agent deploy hopeful --modelapi auto-api --model gpt-4o --mcp broken --autonomous "Try" --wait --wait-timeout 10
"""
GHOST = code("print(\"✅ Deployed Agent 'ghost'\")", printed("✅ Deployed Agent 'ghost'\n"))
STILL = code("print(\"✅ Deleted ModelAPI 'auto-api'\")", printed("✅ Deleted ModelAPI 'auto-api'\n"))


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Two runs at once, each on a cluster of its own."""
    folder = tmp_path_factory.mktemp("notebooks")
    claims = notebook(
        "%load_ext kaos_ext\n%kaos modelapi deploy auto-api --wait;", GHOST, STILL, kaos={"compare": False}
    )
    made = {"waiting": notebook("%load_ext kaos_ext", BROKEN, WAITING, "1"), "claims": claims}

    async def run() -> list[Report]:
        return await asyncio.gather(*(run_case(Case(written(folder, m, n)), QUICK) for n, m in made.items()))

    return dict(zip(made, asyncio.run(run()), strict=True))


def test_a_failed_wait_shows_conditions_events_and_logs_of_what_it_waited_for(reports: dict[str, Report]) -> None:
    report = reports["waiting"]
    (finding,) = report.findings
    assert (finding.verdict, finding.cell) == (Verdict.ERRORS, 3)
    assert "hopeful" in finding.cause and "NotReadyError" in finding.cause
    told = "\n".join(finding.details).split("in the cluster:")[1]
    assert "agent default/hopeful: " in told and "mcp default/broken: " in told
    assert "condition Ready=False" in told
    assert "    log: " in told and "no luck today" in told and "  pod mcpserver-broken" in told
    assert report.unasked[Verdict.CLUSTER] == "the run ended early"


def test_claims_that_the_cluster_does_not_bear_out_are_red_in_the_cell_that_made_them(
    reports: dict[str, Report],
) -> None:
    found = {finding.cell: finding.cause for finding in reports["claims"].of(Verdict.CLUSTER)}
    assert found == {
        2: "it says Agent default/ghost is deployed, but there is none",
        3: "it says ModelAPI default/auto-api is deleted, but it is there",
    }
    assert {finding.verdict for finding in reports["claims"].findings} == {Verdict.CLUSTER}


def test_a_given_cluster_is_used_and_stays_as_it_is(kaos_cluster: EphemeralCluster, tmp_path: Path) -> None:
    before = kaos_cluster.kubeconfig.read_text()
    made = notebook(
        "%load_ext kaos_ext\n%kaos modelapi deploy given --wait;", "!kubectl config set-context --current --namespace=x"
    )
    options = replace(QUICK, kubeconfig=kaos_cluster.kubeconfig)
    report = asyncio.run(run_case(Case(written(tmp_path, made)), options))
    assert [f for f in report.findings if f.verdict is not Verdict.OUTPUTS] == []
    assert kaos_cluster.kubeconfig.read_text() == before
    assert kaos_cluster.json("modelapi", "get", "given")["status"]["ready"] is True
    kaos_cluster.kaos("modelapi", "delete", "given", "--wait")


def test_the_fixture_gives_a_namespace_that_goes(kaos_cluster: EphemeralCluster, kaos_namespace: str) -> None:
    kaos_cluster.kaos("modelapi", "deploy", "api", "-n", kaos_namespace, "--wait")
    assert "api" in kaos_cluster.kaos("modelapi", "list", "-n", kaos_namespace).stdout


OWNER = """
import sys
from pathlib import Path
from kaos_ext.testing.clusters import EphemeralCluster
cluster = EphemeralCluster(Path(sys.argv[1])).up()
print("up", flush=True)
sys.stdin.read()
"""


def test_a_cluster_ends_with_its_owner_however_that_dies(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None and owner.stdin is not None
    assert owner.stdout.readline() == "up\n"
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    owner.stdout.close()
    owner.stdin.close()
    assert wait_until_none(tmp_path, 20) == []


def test_an_interrupted_run_takes_kernel_and_cluster_down(tmp_path: Path) -> None:
    path = written(tmp_path, notebook("import time\nprint('began', flush=True)\ntime.sleep(300)"))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*KAOS, "test", str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    (run,) = _when(lambda: list(temporary.glob("kaos-nb-*")))
    _when(lambda: [p for p in psutil.process_iter(["cmdline"]) if str(run) in " ".join(p.info["cmdline"] or ())][1:])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert wait_until_none(run, 10) == []
    assert list(temporary.glob("kaos-nb-*")) == []


def _when(probe, seconds: float = 60):  # type: ignore[no-untyped-def]
    """The first answer of `probe` that is something."""
    from tests.e2e.machine import eventually

    return eventually("the run has begun", probe, seconds)


def test_the_command_says_red_by_its_status_and_writes_what_ci_reads(tmp_path: Path) -> None:
    good = written(tmp_path, notebook(code("print(1)", printed("1\n")), kaos={"cluster": False}), "good")
    bad = written(tmp_path, notebook(code("print(2)", printed("1\n")), kaos={"cluster": False}), "bad")
    junit, html = tmp_path / "out" / "junit.xml", tmp_path / "html"
    done = subprocess.run(
        [*KAOS, "test", str(good), str(bad), "-n", "2", "--junit", str(junit), "--html", str(html), "--json"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert [report["green"] for report in said["reports"]] == [True, False]
    assert said["reports"][1]["verdicts"]["outputs"] == "red"
    assert "cell 2 (cell-1): its outputs are not the committed ones" in done.stderr
    assert 'failures="1"' in junit.read_text() and (html / "index.html").exists()
    lint = subprocess.run([*KAOS, "notebook", "lint", str(tmp_path)], capture_output=True, text=True)
    assert lint.returncode == 1 and "last-waits" in lint.stdout
