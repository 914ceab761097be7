"""Pods as processes: a pod bound to the node runs, is ready, speaks, and goes."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import aiohttp
import pytest

from kaos_ext.cluster.node.processes import marked
from kaos_ext.kube.objects import CONFIGMAPS, LEASES, NODES, PERSISTENTVOLUMECLAIMS, PODS, SECRETS, SERVICES, Object

from .harness import BOTH_WAYS, Node, condition, phase, ready, state, status

pytestmark = pytest.mark.process

SLEEPER = "import time; print('hello'); time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))
print('up', flush=True)
while True: time.sleep(1)
"""
PROBE = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}


async def fetch(pod: Object, path: str) -> Any:
    url = f"http://{status(pod)['podIP']}:8000{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def server(node: Node, name: str, **options: Any) -> Object:
    container = {"image": "test/server", "readinessProbe": PROBE, **options.pop("container", {})}
    await node.run(name, container=container, **options)
    return await node.pod(name, ready)


async def event(node: Node, reason: str) -> Object:
    async with asyncio.timeout(10):
        while not node.client.events(reason):
            await node.client.changed()
    return node.client.events(reason)[0]


async def file_becomes(pod: Object, path: str, text: str) -> None:
    async with asyncio.timeout(5):
        while await fetch(pod, f"/file?path={path}") != text:
            pass


@BOTH_WAYS
async def test_a_bound_pod_runs_becomes_ready_logs_and_goes_when_it_is_deleted(node: Node) -> None:
    await node.run("one", SLEEPER)
    pod = await node.pod("one", ready)
    assert status(pod)["phase"] == "Running"
    assert status(pod)["podIP"].startswith("127.")
    assert state(pod)["state"]["running"]["startedAt"]
    assert list(marked(node.config.root)) != []
    await node.client.delete(PODS, "one", "default", grace_seconds=5)
    await node.gone("one")
    await node.idle()
    assert list((node.config.root / "pods").iterdir()) == []
    assert list((node.config.root / "logs").iterdir()) == []
    assert [each["reason"] for each in node.client.events()] == ["Pulled", "Created", "Started", "Killing"]


@BOTH_WAYS
async def test_a_program_that_ends_well_under_never_is_succeeded_and_its_log_stays_readable(node: Node) -> None:
    await node.run("task", "print('done')", restartPolicy="Never")
    pod = await node.pod("task", phase("Succeeded"))
    assert state(pod)["state"]["terminated"]["reason"] == "Completed"
    assert await node.logs("task") == (200, "done\n")


@BOTH_WAYS
async def test_the_environment_is_built_from_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    spec = {"clusterIP": "127.1.0.10", "ports": [{"port": 8000}]}
    await node.client.create(SERVICES, {"metadata": {"name": "api"}, "spec": spec}, "default")
    pod = await server(node, "env", container={"env": [
        {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(API_SERVICE_HOST):$(API_SERVICE_PORT)"},
    ]})  # fmt: skip
    env = json.loads(await fetch(pod, "/env"))
    address = status(pod)["podIP"]
    assert env["HOST"] == env["POD_IP"] == env["WHERE"] == address
    assert env["URL"] == "http://127.1.0.10:8000"
    assert env["FROM_IMAGE"] == "yes"
    assert env["HOME"] == env["POD_ROOT"] and env["HOME"].startswith(str(node.config.root))
    assert env["KUBECONFIG"].startswith(str(node.config.root / "pods"))
    allowed = "PATH HOME TMPDIR LANG HOSTNAME HOST POD_IP POD_ROOT PYTHONPATH PYTHONUNBUFFERED KUBECONFIG TZ LC_CTYPE "
    allowed += "KAOS_HOSTS KAOS_SEARCH KAOS_PROCESS WHERE URL FROM_IMAGE SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE"
    assert {name for name in env if not name.startswith("API_")} <= set(allowed.split())


async def test_the_kubeconfig_of_a_pod_carries_its_service_accounts_token(node: Node) -> None:
    pod = await server(node, "client")
    config = json.loads(await fetch(pod, f"/file?path={node.config.root}/pods/{pod['metadata']['uid']}/kubeconfig"))
    assert config["users"][0]["user"]["token"] == "token-1"
    assert config["contexts"][0]["context"]["namespace"] == "default"
    assert config["clusters"][0]["cluster"]["server"] == node.config.api_server


@BOTH_WAYS
async def test_volumes_lie_where_the_container_looks_and_follow_their_objects(node: Node) -> None:
    create = node.client.create
    await create(CONFIGMAPS, {"metadata": {"name": "conf"}, "data": {"a": "one"}}, "default")
    secret = base64.b64encode(b"hush").decode()
    await create(SECRETS, {"metadata": {"name": "key"}, "data": {"k": secret}}, "default")
    claim = {"metadata": {"name": "claim"}, "spec": {}, "status": {"phase": "Bound"}}
    claim = await create(PERSISTENTVOLUMECLAIMS, claim, "default")
    pod = await server(
        node,
        "files",
        container={
            "volumeMounts": [
                {"name": "conf", "mountPath": "/etc/conf"},
                {"name": "key", "mountPath": "/etc/key"},
                {"name": "scratch", "mountPath": "/scratch"},
                {"name": "state", "mountPath": "/var/lib/state"},
            ],
            "env": [{"name": "STATE", "value": "/var/lib/state"}, {"name": "CONF", "value": "/etc/conf/a"}],
        },
        volumes=[
            {"name": "conf", "configMap": {"name": "conf"}},
            {"name": "key", "secret": {"secretName": "key"}},
            {"name": "scratch", "emptyDir": {}},
            {"name": "state", "persistentVolumeClaim": {"claimName": "claim"}},
        ],
    )
    env = json.loads(await fetch(pod, "/env"))
    assert await fetch(pod, f"/file?path={env['CONF']}") == "one"
    assert await fetch(pod, f"/file?path={env['POD_ROOT']}/etc/key/k") == "hush"
    folder = node.config.volumes / f"default-claim-{claim['metadata']['uid']}"
    (folder / "x").write_text("kept")
    assert await fetch(pod, f"/file?path={env['STATE']}/x") == "kept"
    began = time.monotonic()
    await node.client.patch(CONFIGMAPS, "conf", {"data": {"a": "two"}}, "default")
    await file_becomes(pod, env["CONF"], "two")
    assert time.monotonic() - began < 1
    await node.client.delete(PODS, "files", "default", grace_seconds=2)
    await node.gone("files")
    assert (folder / "x").read_text() == "kept"


async def test_a_pod_waits_for_what_it_refers_to_and_says_for_what(node: Node) -> None:
    reference = {"configMapKeyRef": {"name": "later", "key": "k"}}
    await node.run("waits", "import os; print(os.environ['K'])", restartPolicy="Never", container={
        "env": [{"name": "K", "valueFrom": reference}]})  # fmt: skip
    pod = await node.pod("waits", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("message"))
    waiting = state(pod)["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "later" not found'}
    await node.client.create(CONFIGMAPS, {"metadata": {"name": "later"}, "data": {"k": "there"}}, "default")
    await node.pod("waits", phase("Succeeded"))
    assert await node.logs("waits") == (200, "there\n")


async def test_an_image_that_is_not_in_the_table_never_runs_and_the_event_names_the_table(node: Node) -> None:
    await node.run("pull", container={"image": "busybox", "command": ["sleep", "600"]})
    await node.pod("pull", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("reason") == "ErrImagePull")
    await node.pod(
        "pull", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff"
    )
    failed = await event(node, "Failed")
    assert "test/python, test/server" in failed["message"]
    assert node.processes() == []


async def test_a_program_that_cannot_be_started_says_why_and_backs_off(node: Node) -> None:
    await node.run("no", container={"command": ["/no/such/program"]})
    pod = await node.pod("no", lambda pod: state(pod).get("restartCount", 0) >= 2)
    assert state(pod)["lastState"]["terminated"]["reason"] == "StartError"
    assert "No such file" in (await event(node, "Failed"))["message"]


@BOTH_WAYS
async def test_a_crashing_container_is_restarted_with_back_off_and_its_last_words_stay(node: Node) -> None:
    await node.run("crash", "import sys; print('boom'); sys.exit(3)")
    pod = await node.pod(
        "crash",
        lambda pod: (
            state(pod).get("restartCount", 0) >= 2
            and state(pod)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
        ),
    )
    assert state(pod)["lastState"]["terminated"]["exitCode"] == 3
    assert status(pod)["phase"] == "Running"
    assert condition(pod, "Ready") == "False"
    assert await node.logs("crash", previous="true") == (200, "boom\n")
    assert (await event(node, "BackOff"))["type"] == "Warning"


@BOTH_WAYS
async def test_on_failure_restarts_until_it_works(node: Node) -> None:
    code = "import os, sys; n = len(os.listdir('/state')); open(f'/state/{n}', 'w'); print(n); sys.exit(n < 2)"
    await node.run("retry", code, restartPolicy="OnFailure", volumes=[{"name": "s", "emptyDir": {}}], container={
        "volumeMounts": [{"name": "s", "mountPath": "/state"}]})  # fmt: skip
    pod = await node.pod("retry", phase("Succeeded"))
    assert state(pod)["restartCount"] == 2
    assert await node.logs("retry") == (200, "2\n")
    assert await node.logs("retry", previous="true") == (200, "1\n")


@BOTH_WAYS
async def test_init_containers_run_in_order_before_the_others(node: Node) -> None:
    def init(name: str) -> Object:
        return {"name": name, "image": "test/python", "args": [f"open('/w/{name}', 'x').close()"],
                "volumeMounts": [{"name": "w", "mountPath": "/w"}]}  # fmt: skip

    await node.run(
        "init",
        "import os; print(sorted(os.listdir('/w')))",
        restartPolicy="Never",
        initContainers=[init("a"), init("b")],
        volumes=[{"name": "w", "emptyDir": {}}],
        container={"volumeMounts": [{"name": "w", "mountPath": "/w"}]},
    )
    pod = await node.pod("init", phase("Succeeded", "Failed"))
    assert await node.logs("init") == (200, "['a', 'b']\n")
    ended = [each["state"]["terminated"]["finishedAt"] for each in status(pod)["initContainerStatuses"]]
    assert ended == sorted(ended)


async def test_a_failing_init_container_keeps_the_others_waiting(node: Node) -> None:
    init = {"name": "first", "image": "test/python", "args": ["raise SystemExit(1)"]}
    await node.run("stuck", SLEEPER, initContainers=[init])
    pod = await node.pod("stuck", lambda pod: state(pod, "first").get("restartCount", 0) >= 2)
    assert status(pod)["phase"] == "Pending"
    assert state(pod)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(pod, "Initialized") == "False"


async def test_readiness_follows_the_probe(node: Node) -> None:
    pod = await server(node, "moody", container={"readinessProbe": {**PROBE, "failureThreshold": 1}})
    await fetch(pod, "/unwell")
    await node.pod("moody", lambda pod: condition(pod, "Ready") == "False")
    unhealthy = await event(node, "Unhealthy")
    assert unhealthy["message"] == "Readiness probe failed: HTTP probe failed with statuscode: 503"


@BOTH_WAYS
async def test_liveness_that_fails_restarts_the_container(node: Node) -> None:
    liveness = {**PROBE, "failureThreshold": 1}
    pod = await server(node, "sick", container={"livenessProbe": liveness}, terminationGracePeriodSeconds=2)
    await fetch(pod, "/unwell")
    pod = await node.pod("sick", lambda pod: state(pod).get("restartCount", 0) == 1 and ready(pod))
    texts = [each["message"] for each in node.client.events("Killing")]
    assert texts == ["Container main failed liveness probe, will be restarted"]


async def test_startup_probe_by_command_holds_back_readiness_until_it_succeeds(node: Node) -> None:
    check = [sys.executable, "-c", "import os, sys; sys.exit(not os.path.exists('/w/go'))"]
    await node.run(
        "slow",
        "import time; time.sleep(0.5); open('/w/go', 'w'); time.sleep(600)",
        volumes=[{"name": "w", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "w", "mountPath": "/w"}],
            "startupProbe": {"exec": {"command": check}, "periodSeconds": 1, "failureThreshold": 30},
        },
    )
    pod = await node.pod("slow", lambda pod: state(pod).get("state", {}).get("running"))
    assert state(pod)["started"] is False and not ready(pod)
    await node.pod("slow", ready)


async def test_tcp_probe(node: Node) -> None:
    await server(node, "tcp", container={"readinessProbe": {"tcpSocket": {"port": 8000}}})


@BOTH_WAYS
async def test_a_stubborn_program_is_killed_when_its_grace_is_over(node: Node) -> None:
    await node.run("stubborn", STUBBORN)
    await node.pod("stubborn", ready)
    while (await node.logs("stubborn"))[1] != "up\n":
        pass
    began = time.monotonic()
    await node.client.delete(PODS, "stubborn", "default", grace_seconds=1)
    await node.gone("stubborn")
    assert 0.9 < time.monotonic() - began < 4
    said = [each["status"]["containerStatuses"] for each in node.client.status_patches if "phase" in each["status"]]
    assert said[-1][0]["state"]["terminated"]["exitCode"] == 137


@BOTH_WAYS
async def test_deleting_by_force_ends_the_processes_as_well(node: Node) -> None:
    await node.run("forced", STUBBORN)
    await node.pod("forced", ready)
    await node.client.delete(PODS, "forced", "default", grace_seconds=0)
    await node.idle()


async def test_pods_past_their_deadline_fail(node: Node) -> None:
    await node.run("late", SLEEPER, activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    pod = await node.pod("late", phase("Failed"))
    assert status(pod)["reason"] == "DeadlineExceeded"


@BOTH_WAYS
async def test_logs_follow_until_the_container_ends(node: Node) -> None:
    code = "import time\nfor n in range(3): print(n); time.sleep(0.1)"
    await node.run("talk", code, restartPolicy="Never")
    await node.pod("talk", lambda pod: state(pod).get("state", {}).get("running"))
    assert await node.logs("talk", follow="true") == (200, "0\n1\n2\n")
    assert await node.logs("talk", tailLines="1") == (200, "2\n")


async def test_logs_of_what_is_not_there_are_refused_by_name(node: Node) -> None:
    assert (await node.logs("none"))[0] == 404
    await node.run("pull", container={"image": "busybox"})
    await node.pod("pull", lambda pod: state(pod).get("state", {}).get("waiting", {}).get("reason") == "ErrImagePull")
    code, text = await node.logs("pull")
    assert code == 400 and text.startswith('container "main" in pod "pull" is waiting to start')
    assert (await node.logs("pull", container="other"))[0] == 400


async def test_the_kubelet_api_refuses_everybody_without_the_token(node: Node) -> None:
    url = f"http://127.0.0.1:{node.agent.kubelet.port}/healthz"
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "node-token"}):
            async with session.get(url, headers=headers) as answer:
                assert answer.status == 401


async def test_the_node_is_registered_and_beats(node: Node) -> None:
    found = await node.client.get(NODES, "node-1")
    assert found["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == node.agent.kubelet.port
    assert {each["type"]: each["status"] for each in found["status"]["conditions"]}["Ready"] == "True"
    lease = await node.client.wait(LEASES, "node-1", "kube-node-lease", lambda lease: lease is not None)
    assert lease["spec"]["holderIdentity"] == "node-1"


@BOTH_WAYS
async def test_a_process_is_spawned_soon_after_its_pod_is_bound(node: Node) -> None:
    code = "import time; print(time.time_ns(), flush=True)"
    took = []
    for n in range(5):
        began = time.time_ns()
        await node.run(f"fast-{n}", code, restartPolicy="Never", container={"image": "test/bare"})
        await node.pod(f"fast-{n}", phase("Succeeded"))
        took.append((int((await node.logs(f"fast-{n}"))[1]) - began) / 1e6)
    assert sorted(took)[2] < 150, took


async def test_a_volume_that_cannot_be_given_is_told_and_given_as_soon_as_it_can(node: Node) -> None:
    await node.run(
        "mounts",
        "print(open('/c/k').read())",
        restartPolicy="Never",
        volumes=[{"name": "c", "configMap": {"name": "later"}}],
        container={"volumeMounts": [{"name": "c", "mountPath": "/c"}]},
    )
    failed = await event(node, "FailedMount")
    assert failed["message"] == 'MountVolume.SetUp failed for volume "c" : configmap "later" not found'
    await node.client.create(CONFIGMAPS, {"metadata": {"name": "later"}, "data": {"k": "now"}}, "default")
    await node.pod("mounts", phase("Succeeded"))
    assert await node.logs("mounts") == (200, "now\n")


async def test_folders_of_the_machine_are_not_given_to_pods(node: Node) -> None:
    await node.run("host", SLEEPER, volumes=[{"name": "h", "hostPath": {"path": "/"}}])
    assert "no hostPath volumes" in (await event(node, "FailedMount"))["message"]
    assert node.processes() == []


@BOTH_WAYS
async def test_hooks_run_after_the_start_and_before_the_end(node: Node) -> None:
    def write(name: str) -> Object:
        return {"exec": {"command": [sys.executable, "-c", f"open('/w/{name}', 'w')"]}}

    claim = {"metadata": {"name": "claim"}, "spec": {}, "status": {"phase": "Bound"}}
    claim = await node.client.create(PERSISTENTVOLUMECLAIMS, claim, "default")
    await node.run(
        "hooks",
        SLEEPER,
        volumes=[{"name": "w", "persistentVolumeClaim": {"claimName": "claim"}}],
        container={
            "volumeMounts": [{"name": "w", "mountPath": "/w"}],
            "lifecycle": {"postStart": write("began"), "preStop": write("ends")},
        },
    )
    await node.pod("hooks", ready)
    folder = node.config.volumes / f"default-claim-{claim['metadata']['uid']}"
    assert [path.name for path in folder.iterdir()] == ["began"]
    await node.client.delete(PODS, "hooks", "default", grace_seconds=5)
    await node.gone("hooks")
    assert sorted(path.name for path in folder.iterdir()) == ["began", "ends"]


async def test_a_sidecar_starts_first_and_ends_last(node: Node) -> None:
    sidecar = {
        "name": "side",
        "image": "test/server",
        "restartPolicy": "Always",
        "startupProbe": {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1},
    }
    code = "import os, urllib.request as r; print(r.urlopen(f'http://{os.environ[\"HOST\"]}:8000/health').status)"
    await node.run("pair", code, restartPolicy="Never", initContainers=[sidecar])
    pod = await node.pod("pair", phase("Succeeded"))
    assert await node.logs("pair") == (200, "200\n")
    pod = await node.pod("pair", lambda pod: state(pod, "side")["state"].get("terminated"))
    assert state(pod, "side")["state"]["terminated"]["exitCode"] == 0


async def test_a_pod_without_a_token_gets_no_kubeconfig(node: Node) -> None:
    pod = await server(node, "plain", automountServiceAccountToken=False)
    assert "KUBECONFIG" not in json.loads(await fetch(pod, "/env"))
    assert node.client.tokens == 0


async def test_a_pod_waits_for_its_service_account(node: Node) -> None:
    node.client.refuse_tokens = True
    await node.run("early", "print('ran')", restartPolicy="Never")
    failed = await event(node, "FailedMount")
    assert "serviceaccounts" in failed["message"]
    node.client.refuse_tokens = False
    await node.pod("early", phase("Succeeded"))


@BOTH_WAYS
async def test_a_pod_deleted_at_any_moment_of_its_start_leaves_no_process(node: Node) -> None:
    for delay in range(12):
        name = f"brief-{delay}"
        await node.run(name, SLEEPER)
        await asyncio.sleep(delay / 1000)
        await node.client.delete(PODS, name, "default", grace_seconds=1)
    for delay in range(12):
        await node.gone(f"brief-{delay}")
    await node.idle()
    assert node.processes() == []
    assert [each for each in await node.agent.supervisor.records() if "pod" in each.labels] == []
