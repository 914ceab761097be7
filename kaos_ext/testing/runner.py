"""Runs one case: one execution, from which every verdict is taken.

    place, cluster and kernel (both start at once) ─ the cells ─ what the cluster says ─ kernel, cluster and place away
    └ meanwhile nbconvert is loaded                             └ meanwhile the page is rendered, the outputs compared

A run is repeated once, on a fresh cluster, only when the infrastructure failed: the kernel or the cluster did not
start, or the kernel died. A failing cell is never tried again.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import NAMESPACES
from kaos_ext.model.errors import KaosError
from kaos_ext.testing import budget, clusters, traces, trouble
from kaos_ext.testing.bundles import check_bundles
from kaos_ext.testing.cases import Case, Proof, read
from kaos_ext.testing.claims import check_claims
from kaos_ext.testing.execution import Pass, execute
from kaos_ext.testing.faults import Fault, Injector
from kaos_ext.testing.findings import CellRun, Finding, Report, Verdict
from kaos_ext.testing.kernels import Place, baseline, default_python, kernel
from kaos_ext.testing.outputs import compare
from kaos_ext.testing.page import check_page, render
from kaos_ext.testing.parameters import changed, parameterised

SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.1
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How cases are run: with a `kubeconfig` on the cluster it leads to, which stays as it is; else on a fresh one."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    kubeconfig: Path | None = None
    cluster: bool = True
    timeout: float = 120.0
    python: Path | None = None
    pages: bool = True


class Infrastructure(Exception):
    """What a run needs did not work; the notebook has not been at fault yet."""


async def run_case(case: Case, options: Options | None = None, say: Say = lambda _: None) -> Report:
    """The report of one case."""
    chosen = options or Options()
    began = time.monotonic()
    retried = ""
    while True:
        report, trouble_of_machine = await _attempt(case, chosen, say)
        if trouble_of_machine and not retried:
            retried = trouble_of_machine
            say(f"  once more: {retried}")
            continue
        return replace(report, seconds=time.monotonic() - began, retried=retried)


async def _attempt(case: Case, options: Options, say: Say) -> tuple[Report, str]:
    """A report, and what of the infrastructure failed, if anything did."""
    original = read(case.notebook)
    notebook = parameterised(case.notebook, original, options.parameters)
    place = Place(Path(tempfile.mkdtemp(prefix="kaos-nb-"))).make()
    _furnish(place, case.notebook)
    run = _Run(case, options, say, original, notebook, place)
    try:
        return await run.run()
    except (clusters.ClusterError, Infrastructure) as error:
        cause = error.message if isinstance(error, KaosError) else str(error)
        details = error.details if isinstance(error, KaosError) else ()
        finding = Finding(Verdict.ERRORS, cause, details=details)
        return Report(case.name, case.notebook, (finding,), unasked=run.unasked("the run did not begin")), cause
    finally:
        traces.stop(place)
        shutil.rmtree(place.root, ignore_errors=True)


class _Run:
    """One attempt: what it is about, and what it has found so far."""

    def __init__(self, case: Case, options: Options, say: Say, original: Any, notebook: Any, place: Place) -> None:
        self.case, self.options, self.say, self.place = case, options, say, place
        self.original, self.notebook = original, notebook
        self.python = case.python or options.python or default_python()
        self.findings: list[Finding] = []
        self.skipped: dict[Verdict, str] = {}
        self.baseline = 0.0
        self.threads: list[threading.Thread] = []
        self.total = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells)

    # -- before and after ----------------------------------------------------------------------------------------

    async def run(self) -> tuple[Report, str]:
        was = traces.files(self.place)
        warm = asyncio.create_task(asyncio.to_thread(_load))
        async with AsyncExitStack() as stack:
            environment = await self._cluster(stack)
            done = await self._passes(environment)
            await self._ask_cluster(done)
            self.findings += traces.files_left(self.place, was)
            await warm
            ending = asyncio.create_task(self._end())
            pages = await asyncio.to_thread(self._judge, done)
            await ending
        self.findings += await asyncio.to_thread(traces.processes_left, self.place)
        self.findings += traces.threads_left(self.threads)
        report = Report(
            self.case.name,
            self.case.notebook,
            tuple(_in_order(self.findings)),
            budget.judged(done.cells, self._budget, self.baseline),
            self.skipped,
            baseline=self.baseline,
            executed=done.notebook,
            html=pages.get("light", ""),
        )
        return report, "the kernel died" if done.dead else ""

    async def _cluster(self, stack: AsyncExitStack) -> dict[str, str]:
        """What leads to the cluster. A fresh one is still starting when this returns."""
        self._starting: asyncio.Task[None] | None = None
        # A copy, so that what the notebook sets in it stays its own, and outlives a restart of the cluster.
        self.kubeconfig = str(self.place.runtime / "kubeconfig")
        if self.options.kubeconfig is not None:
            _copy_private(self.options.kubeconfig, Path(self.kubeconfig))
        elif self._wants_cluster:
            self._starting = asyncio.create_task(self._start())
            stack.push_async_callback(self._never_started)
        return {"KUBECONFIG": self.kubeconfig}

    async def _start(self) -> None:
        await clusters.start(self.place.home)
        own = clusters.cluster_environment(self.place.home)["KUBECONFIG"]
        await asyncio.to_thread(_copy_private, Path(own), Path(self.kubeconfig))

    async def _never_started(self) -> None:
        """When the run ended early: the cluster is waited for, so that it can be ended."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
            await self._end()

    async def _end(self) -> None:
        try:
            await clusters.end(self.place.home)
        except clusters.ClusterError as error:
            self.findings.append(Finding(Verdict.LEFTOVERS, f"the cluster does not end: {error.message}"))

    # -- the cells -----------------------------------------------------------------------------------------------

    async def _passes(self, environment: Mapping[str, str]) -> Pass:
        """The passes that the case asks for; the last one is judged."""
        environment = self.place.environment(environment, self.python)
        injector: Injector | None = None
        fault = self._fault
        if fault is not None:
            injector = Injector(fault, self.place.home, self.kubeconfig)
        if self.case.proof is Proof.RESTART:
            first = await self._kernel(environment, copy.deepcopy(self.notebook), until=self.case.after)
            if first.findings:
                return first
        done = await self._kernel(environment, self.notebook, injector=injector)
        if injector is not None and (why := await injector.end()):
            self.findings.append(Finding(Verdict.CLUSTER, f"the fault {injector.fault} proved nothing: {why}"))
        return done

    @property
    def _fault(self) -> Fault | None:
        named = str(self.options.parameters.get("fault") or "")
        return self.case.fault or (Fault(named) if named in tuple(Fault) else None)

    async def _kernel(
        self,
        environment: Mapping[str, str],
        notebook: Any,
        *,
        until: int | None = None,
        injector: Injector | None = None,
    ) -> Pass:
        """The cells in one kernel: once, or twice if that is to be proved."""
        async with AsyncExitStack() as stack:
            try:
                manager, client = await stack.enter_async_context(kernel(self.place, environment, self.python))
            except (RuntimeError, OSError, TimeoutError) as error:
                raise Infrastructure(f"the kernel did not start: {error}") from error
            self.threads.append(client.hb_channel)
            if self._starting is not None:
                await self._starting
            first_baseline = await baseline(client)
            options: dict[str, Any] = {"timeout": self.options.timeout, "told": self._told, "until": until}
            if injector is not None:
                options["before"] = injector
            done = await execute(notebook, manager, client, **options)
            if self.case.proof is Proof.TWICE and not done.findings:
                done = await self._again(done, manager, client)
            if not done.dead:
                usable = done.stopped is None
                self.baseline = max(first_baseline, await baseline(client) if usable else 0.0)
                self.findings += await asyncio.to_thread(traces.children_left, manager.provisioner.pid)
            if done.findings:
                await self._explain(done)
        return done

    async def _again(self, first: Pass, manager: Any, client: Any) -> Pass:
        await self._settled()
        self.say("  the second time")
        second = await execute(
            copy.deepcopy(self.notebook), manager, client, timeout=self.options.timeout, told=self._told
        )
        second.findings = [replace(f, cause=f"the second time: {f.cause}") for f in second.findings]
        for finding in compare(first.notebook, second.notebook) if second.stopped is None else ():
            was = finding.cause.removeprefix("its outputs are not the committed ones: ").split("; if they are")[0]
            second.findings.append(replace(finding, cause=f"the second time it shows something else: {was}"))
        return second

    def _told(self, run: CellRun) -> None:
        number = sum(c.cell_type == "code" and bool(c.source.strip()) for c in self.notebook.cells[: run.cell + 1])
        mark = "✗" if run.failed else "✓"
        self.say(f"  {mark} {number:2}/{self.total}  {run.seconds:6.2f} s  {run.line}")

    async def _explain(self, done: Pass) -> None:
        """What the cluster has to say about the cell that failed; asked while it still can be."""
        if not self._has_cluster or done.stopped is None:
            return
        failed = done.findings[-1]
        about = done.notebook.cells[done.stopped].source + failed.cause
        lines = await trouble.look(self.kubeconfig, about)
        if lines:
            done.findings[-1] = replace(failed, details=(*failed.details, "in the cluster:", *lines))

    async def _settled(self) -> None:
        """Until nothing is on its way out: twice is not a race with what the first time deleted."""
        if not self._has_cluster:
            return
        kube = await KubeClient.connect(kubeconfig=self.kubeconfig)
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
        try:
            while any(item["metadata"].get("deletionTimestamp") for item in (await kube.list(NAMESPACES)).items):
                if asyncio.get_running_loop().time() > deadline:
                    return
                await asyncio.sleep(POLL_SECONDS)
        finally:
            await kube.close()

    @property
    def _has_cluster(self) -> bool:
        return self._wants_cluster or self.options.kubeconfig is not None

    @property
    def _wants_cluster(self) -> bool:
        """A notebook that needs none says so (`metadata.kaos.cluster` is false)."""
        own = (self.original.metadata.get("kaos") or {}).get("cluster")
        return self.options.cluster and own is not False

    # -- the verdicts --------------------------------------------------------------------------------------------

    async def _ask_cluster(self, done: Pass) -> None:
        if not self._has_cluster:
            self.skipped[Verdict.CLUSTER] = "there is no cluster"
        elif done.stopped is not None:
            self.skipped[Verdict.CLUSTER] = "the run ended early"
        else:
            self.findings += await check_claims(done.notebook, self.kubeconfig)

    def _judge(self, done: Pass) -> dict[str, str]:
        """Everything that can be told from the executed notebook alone; its pages."""
        self.findings += done.findings
        self._judge_outputs(done)
        self._judge_budget(done)
        self.findings += check_bundles(done.notebook)
        if not self.options.pages:
            self.skipped[Verdict.PAGE] = "no page was asked for"
            return {}
        pages = render(done.notebook)
        self.findings += check_page(done.notebook, pages)
        return pages

    def _judge_outputs(self, done: Pass) -> None:
        parameters = changed(self.original, self.options.parameters)
        if done.stopped is not None:
            self.skipped[Verdict.OUTPUTS] = "the run ended early"
        elif self._fault:
            self.skipped[Verdict.OUTPUTS] = "a fault may show"
        elif self.case.proof is Proof.RESTART:
            self.skipped[Verdict.OUTPUTS] = "what was made before the restart was there already"
        elif self.case.proof is Proof.TWICE:
            return  # the second time was compared with the first
        elif parameters:
            self.skipped[Verdict.OUTPUTS] = f"they were made with other parameters ({', '.join(parameters)})"
        elif (self.original.metadata.get("kaos") or {}).get("compare") is False:
            self.skipped[Verdict.OUTPUTS] = "the notebook commits none (metadata.kaos.compare)"
        else:
            self.findings += compare(self.original, done.notebook)

    def _judge_budget(self, done: Pass) -> None:
        if not self._budget:
            self.skipped[Verdict.BUDGET] = "no budget is committed: kaos notebook refresh"
        elif self._fault or changed(self.original, self.options.parameters):
            self.skipped[Verdict.BUDGET] = "this run does other work"
        elif self.baseline <= 0:
            self.skipped[Verdict.BUDGET] = "the run ended early"
        else:
            cells = budget.judged(done.cells, self._budget, self.baseline)
            self.findings += budget.check_budget(cells, self._budget, self.baseline)

    @property
    def _budget(self) -> dict[str, float]:
        return budget.committed(self.original)

    def unasked(self, why: str) -> dict[Verdict, str]:
        return {verdict: why for verdict in Verdict if verdict is not Verdict.ERRORS}


def _furnish(place: Place, notebook: Path) -> None:
    """The files beside the notebook are where it looks for them; what it writes is not beside it."""
    for path in notebook.resolve().parent.iterdir():
        if not path.name.startswith(".") and path.name != "__pycache__":
            (place.cwd / path.name).symlink_to(path)


def _copy_private(source: Path, target: Path) -> None:
    target.touch(0o600)
    target.write_bytes(source.read_bytes())


def _load() -> None:
    """What the verdicts need takes a second to import; there is time while cluster and kernel start."""
    for module in ("nbconvert", "pytest_notebook.diffing", "nbdime.prettyprint"):
        importlib.import_module(module)


def _in_order(findings: list[Finding]) -> list[Finding]:
    order = list(Verdict)
    return sorted(dict.fromkeys(findings), key=lambda finding: order.index(finding.verdict))
