"""Daemon, supervisor and machine may die at any moment; pods are adopted, or restarted, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from kaos_ext.cluster.node.protocol import PROCESSES
from kaos_ext.cluster.node.supervisor_client import stop_node
from kaos_ext.kube.objects import PODS

from .harness import BOTH_WAYS, Node, phase, ready, state, status
from .test_pods import PROBE, SLEEPER, server

pytestmark = pytest.mark.process


@BOTH_WAYS
async def test_a_running_pod_is_adopted_as_it_is(node: Node) -> None:
    before = await server(node, "keeps")
    processes = node.processes()
    await node.restart_agent()
    assert node.processes() == processes
    pod = await node.client.get(PODS, "keeps", "default")
    assert ready(pod) and status(pod)["podIP"] == status(before)["podIP"]
    assert state(pod)["restartCount"] == 0
    await node.client.delete(PODS, "keeps", "default", grace_seconds=5)
    await node.gone("keeps")
    await node.idle()
    assert node.processes() == []


async def test_an_adopted_pod_never_looks_unready(node: Node) -> None:
    await server(node, "steady")
    patches = len(node.client.status_patches)
    await node.restart_agent()
    await node.run("other", SLEEPER)
    await node.pod("other", ready)
    name = [each for each in node.client.status_patches[patches:] if each["status"].get("podIP")]
    first = (await node.client.get(PODS, "steady", "default"))["status"]["podIP"]
    for patch in name:
        if patch["status"]["podIP"] == first:
            assert {each["type"]: each["status"] for each in patch["status"]["conditions"]}["Ready"] == "True"


@BOTH_WAYS
async def test_what_ended_while_no_daemon_lived_is_known_afterwards(node: Node) -> None:
    await node.run("ends", "import time; time.sleep(0.2); print('end'); raise SystemExit(7)", restartPolicy="Never")
    await node.pod("ends", lambda pod: state(pod).get("state", {}).get("running"))
    await node.agent.stop()
    await node.no_processes()
    await node.restart_agent()
    pod = await node.pod("ends", phase("Failed"))
    assert state(pod)["state"]["terminated"]["exitCode"] == 7
    assert await node.logs("ends") == (200, "end\n")


async def test_the_disk_knows_an_exit_before_anybody_is_told(node: Node) -> None:
    await node.run("ends", "raise SystemExit(5)", restartPolicy="Never")
    await node.pod("ends", phase("Failed"))
    records = [json.loads(path.read_text()) for path in (node.config.root / PROCESSES).glob("*.json")]
    assert [each["exit_code"] for each in records if each["labels"].get("container") == "main"] == [5]


@BOTH_WAYS
async def test_a_pod_deleted_while_no_daemon_lived_is_ended(node: Node) -> None:
    await node.run("orphan", SLEEPER)
    await node.pod("orphan", ready)
    await node.agent.stop()
    await node.client.delete(PODS, "orphan", "default", grace_seconds=0)
    await node.restart_agent()
    assert node.processes() == []
    assert list((node.config.root / "pods").iterdir()) == []
    assert list((node.config.root / "logs").iterdir()) == []


@BOTH_WAYS
async def test_a_supervisors_crash_is_noticed_its_processes_are_ended_and_pods_start_again(node: Node) -> None:
    await server(node, "again")
    old = node.processes()
    os.kill(node.agent.supervisor.pid, signal.SIGKILL)
    pod = await node.pod("again", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(pod)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert len(node.processes()) == 1
    assert not set(old) & set(node.processes())


@BOTH_WAYS
async def test_after_a_reboot_pods_start_again_in_their_old_objects(node: Node) -> None:
    await server(node, "machine")
    await node.agent.stop()
    await stop_node(node.config.root, grace=0)
    for path in (node.config.root / PROCESSES).glob("*.json"):
        path.unlink()
    await node.restart_agent()
    pod = await node.pod("machine", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 137


@BOTH_WAYS
async def test_a_crash_of_the_supervisor_while_nobody_was_there_is_healed_by_the_next_agent(node: Node) -> None:
    await server(node, "both", container={"readinessProbe": PROBE})
    supervisor = node.agent.supervisor.pid
    await node.agent.stop()
    os.kill(supervisor, signal.SIGKILL)
    await node.restart_agent()
    await node.pod("both", lambda pod: state(pod).get("restartCount") == 1 and ready(pod))
    assert len(node.processes()) == 1


@BOTH_WAYS
async def test_ten_pods_come_and_go_together(node: Node) -> None:
    names = [f"many-{n}" for n in range(10)]
    await asyncio.gather(*(node.run(name, SLEEPER) for name in names))
    pods = await asyncio.gather(*(node.pod(name, ready) for name in names))
    assert len({status(pod)["podIP"] for pod in pods}) == 10
    await asyncio.gather(*(node.client.delete(PODS, name, "default", grace_seconds=5) for name in names))
    await asyncio.gather(*(node.gone(name) for name in names))
    await node.idle()
    assert node.processes() == []


async def test_a_finished_pod_stays_finished_after_a_restart(node: Node) -> None:
    await node.run("over", "print('x')", restartPolicy="Never")
    before = await node.pod("over", phase("Succeeded"))
    patches = len(node.client.status_patches)
    await node.restart_agent()
    await node.run("other", SLEEPER)
    await node.pod("other", ready)
    after = await node.client.get(PODS, "over", "default")
    assert after["status"] == before["status"]
    assert await node.logs("over") == (200, "x\n")
    uid = before["metadata"]["uid"]
    said = [each["status"] for each in node.client.status_patches[patches:] if each.get("metadata") == {"uid": uid}]
    assert all(each["phase"] == "Succeeded" for each in said), "nobody was told anything else in between"


async def test_init_containers_that_are_done_do_not_run_again(node: Node) -> None:
    init = {"name": "first", "image": "test/python", "args": ["print('once')"]}
    await server(node, "done", initContainers=[init])
    patches = len(node.client.status_patches)
    await node.restart_agent()
    await node.run("other", SLEEPER)
    await node.pod("other", ready)
    pod = await node.client.get(PODS, "done", "default")
    assert state(pod, "first")["restartCount"] == 0
    uid = pod["metadata"]["uid"]
    said = [each["status"] for each in node.client.status_patches[patches:] if each.get("metadata") == {"uid": uid}]
    assert all(each["phase"] == "Running" for each in said)


@BOTH_WAYS
async def test_nothing_is_kept_of_a_pod_that_is_gone(node: Node) -> None:
    await node.run("crash", "raise SystemExit(1)")
    await node.pod("crash", lambda pod: state(pod).get("restartCount", 0) >= 3)
    await node.client.delete(PODS, "crash", "default", grace_seconds=1)
    await node.gone("crash")
    await node.idle()
    known = await node.agent.supervisor.records()
    assert [each.labels.get("container") for each in known if "pod" in each.labels] == []
