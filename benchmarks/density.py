"""How many resident agents a machine carries: a real cluster, real Agents, one iteration a second each.

    python benchmarks/density.py [--agents 200] [--seconds 20] [--exec]

`kaos up` in a home of its own, one ModelAPI, then so many Agents with recorded answers by the real path: operator,
Deployments, pods. Once every agent loops it measures for a while:

  lateness   from the agents' own events: how long after the moment that was announced an iteration started
  pss        of every process of the cluster: daemon, supervisor, forwarder, templates, operator, ModelAPI, agents
  cpu        of the same, in cores

`--exec` takes the templates out of the image table, so each pod is an interpreter of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

NAMESPACE = "default"
PATIENCE = 600.0
BATCH = 10
"""Deployed together, and awaited before the next: what a burst needs at its peak stays with the processes."""


def kaos(env: dict[str, str], *words: str) -> None:
    command = [sys.executable, "-c", "from kaos_ext.cli.main import main; main()", *words]
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def resource(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "kaos.tools/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def agent(name: str) -> dict[str, Any]:
    mocks = [{"name": "DEBUG_MOCK_RESPONSES", "value": '["All good."]'}]
    loop = {"goal": "Look whether all is well", "intervalSeconds": 1}
    return resource(
        "Agent", name, modelAPI="api", model="m", config={"autonomous": loop}, container={"env": mocks}
    )  # fmt: skip


def role(process: psutil.Process) -> str:
    words = process.cmdline()
    line = " ".join(words)
    if line.startswith("kaos: "):
        return line.split()[1]
    return next((name for name in ("supervisor", "forwarder", "template") if name in line), "other")


def processes(home: Path) -> Iterator[psutil.Process]:
    """Every process of the cluster: the daemon, and the supervisor with all it holds."""
    folder = home / "clusters" / "density"
    for file in (folder / "daemon.pid", folder / "node" / "supervisor.pid"):
        root = psutil.Process(int(file.read_text().split()[0]))
        yield root
        yield from root.children(recursive=True)


def measured(home: Path, value: Any) -> dict[int, tuple[str, float]]:
    found = {}
    for process in processes(home):
        try:
            found[process.pid] = (role(process), value(process))
        except psutil.NoSuchProcess:
            continue
    return found


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def addresses(kube: Any, count: int) -> dict[str, str]:
    """Address of each agent's pod, once all of them are ready."""
    from kaos_ext.kube.objects import PODS

    async def ready() -> dict[str, str]:
        found = {}
        for pod in (await kube.list(PODS, NAMESPACE)).items:
            status = pod.get("status") or {}
            conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
            if conditions.get("Ready") == "True" and (name := pod["metadata"]["labels"].get("agent")):
                found[name] = status["podIP"]
        return found

    async with asyncio.timeout(PATIENCE):
        while len(found := await ready()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    return found


async def measure(home: Path, kube: Any, count: int, seconds: float) -> dict[str, Any]:
    import aiohttp

    from kaos_ext.kube.objects import Object
    from kaos_ext.model.events import seconds_of

    began = time.monotonic()
    found: dict[str, str] = {}
    while len(found) < count:
        upto = min(count, len(found) + BATCH)
        made: list[Object] = [agent(f"a{n:03}") for n in range(len(found), upto)]
        await asyncio.gather(*(kube.apply(each) for each in made))
        found = await addresses(kube, upto)
    up = time.monotonic() - began
    print(f"{count} agents ready after {up:.1f} s", file=sys.stderr)
    late: list[float] = []
    made_iterations = 0
    async with aiohttp.ClientSession() as session:

        async def get(address: str, path: str) -> Any:
            async with session.get(f"http://{address}:8000{path}") as answer:
                return await answer.json()

        async with asyncio.timeout(PATIENCE):
            for address in found.values():
                while (await get(address, "/loop"))["totals"]["iterations"] < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        await asyncio.sleep(5)
        first, before, memory = time.time(), measured(home, cpu), measured(home, lambda p: p.memory_full_info().pss)
        busy_before = psutil.cpu_times()
        await asyncio.sleep(seconds)
        last, after = time.time(), measured(home, cpu)
        busy = psutil.cpu_times()
        for address in found.values():
            due = 0.0
            path = "/memory/events?type=iteration_started,iteration_finished&order=desc&limit=1000"
            for event in reversed((await get(address, path))["events"]):
                at = seconds_of(event["timestamp"])
                if event["event_type"] == "iteration_finished":
                    due = seconds_of(event["content"]["next_at"])
                elif due and first <= due < last - 1:
                    late.append(1000 * (at - due))
                    made_iterations += 1
    pss: defaultdict[str, float] = defaultdict(float)
    for who, value in memory.values():
        pss[who] += value
    cores: defaultdict[str, float] = defaultdict(float)
    for pid, (who, value) in after.items():
        cores[who] += (value - before.get(pid, (who, 0.0))[1]) / (last - first)
    others = sum(busy) - sum(busy_before) - (busy.idle - busy_before.idle) - sum(cores.values()) * (last - first)
    return {
        "agents": count,
        "ready_after_seconds": round(up, 1),
        "iterations": made_iterations,
        "expected": round(count * (last - first - 1)),
        "late_ms": {str(part): round(percentile(late, part), 1) for part in (0.5, 0.9, 0.99, 0.999)},
        "pss_mb": {
            "total": round(sum(pss.values()) / 1e6),
            **{who: round(value / 1e6, 1) for who, value in pss.items()},
        },
        "pss_mb_each": round(pss["agent"] / count / 1e6, 2),
        "cores": {who: round(value, 3) for who, value in [("total", sum(cores.values())), *cores.items()]},
        "cores_of_others": round(others / (last - first), 2),
    }


async def run(count: int, seconds: float, by_exec: bool) -> dict[str, Any]:
    from kaos_ext.kube.client import KubeClient

    with tempfile.TemporaryDirectory(prefix="kaos-density-") as folder:
        home = Path(folder)
        env = {"PATH": os.environ["PATH"], "HOME": folder, "KAOS_HOME": folder, "KUBECONFIG": f"{folder}/kubeconfig"}
        kaos(env, "up", "density")
        try:
            if by_exec:
                images = home / "clusters" / "density" / "images.json"
                table = json.loads(images.read_text())
                for entry in table["images"].values():
                    entry.pop("template", None)
                images.with_suffix(".new").write_text(json.dumps(table))
                images.with_suffix(".new").replace(images)
            kube = await KubeClient.connect(kubeconfig=f"{folder}/kubeconfig")
            try:
                api = resource(
                    "ModelAPI", "api", mode="Proxy", proxyConfig={"apiBase": "http://127.0.0.1:9", "models": ["*"]}
                )
                await kube.apply(api)
                return await measure(home, kube, count, seconds)
            finally:
                await kube.close()
        finally:
            began = time.monotonic()
            kaos(env, "down", "density", "--delete")
            print(f"down after {time.monotonic() - began:.1f} s", file=sys.stderr)


def density(count: int, seconds: float = 20.0, *, by_exec: bool = False) -> dict[str, Any]:
    return asyncio.run(run(count, seconds, by_exec))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--exec", action="store_true", help="pods by exec, for comparison")
    given = parser.parse_args()
    print(json.dumps(density(given.agents, given.seconds, by_exec=given.exec), indent=1))


if __name__ == "__main__":
    main()
