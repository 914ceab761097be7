"""Clusters as processes: they start, are found again, survive what may be killed, and leave nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from kaos_ext import __version__
from kaos_ext.cluster.config import ClusterConfig, load_config
from kaos_ext.cluster.kubeconfig import entries
from kaos_ext.cluster.lifecycle import (
    ClusterState,
    cluster_status,
    list_clusters,
    start_cluster,
    stop_cluster,
)
from kaos_ext.cluster.network import choose_octet, is_claimed, port_is_free
from kaos_ext.kube.objects import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICES, Object, Resource
from kaos_ext.model.errors import KaosError, NotFoundError
from tests.lifecycle.conftest import IMAGES, processes, until

pytestmark = pytest.mark.process


class Api:
    """The bare API over HTTPS, with the cluster's own kubeconfig."""

    def __init__(self, config: ClusterConfig) -> None:
        document = yaml.safe_load(config.kubeconfig.read_text())
        assert document["clusters"][0] == entries(config)["clusters"]
        self._server = document["clusters"][0]["cluster"]["server"]
        self._token = document["users"][0]["user"]["token"]
        self._context = ssl.create_default_context(cafile=str(config.pki / "ca.crt"))

    def call(self, method: str, path: str, body: Object | None = None) -> Any:
        request = urllib.request.Request(
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
            },
        )
        with urllib.request.urlopen(request, context=self._context, timeout=10) as answer:
            return json.load(answer)

    def create(self, resource: Resource, body: Object) -> Object:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        found: Object = self.call("POST", resource.path("default"), body)
        return found

    def items(self, resource: Resource) -> list[Object]:
        return list(self.call("GET", resource.path("default"))["items"])

    def deploy(self) -> None:
        """A Deployment of one server, and its Service."""
        labels = {"app": "server"}
        self.create(
            DEPLOYMENTS,
            {
                "metadata": {"name": "server"},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "main", "image": "test/server"}]},
                    },
                },
            },
        )
        self.create(SERVICES, {"metadata": {"name": "server"}, "spec": {"selector": labels, "ports": [{"port": 8000}]}})

    def asked(self) -> str:
        """What the server behind the Service answers (its pid); empty while it does not."""
        address = self.call("GET", SERVICES.path("default", "server"))["spec"]["clusterIP"]
        try:
            with urllib.request.urlopen(f"http://{address}:8000/", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""


async def start(name: str = "default", **options: Any) -> ClusterConfig:
    return (await start_cluster(name, images=IMAGES, **options)).config


async def serving(api: Api) -> psutil.Process:
    """The process of the deployed server, once the Service reaches it."""
    return psutil.Process(int(await until(api.asked, "the Service answers")))


def daemon(config: ClusterConfig) -> psutil.Process:
    return psutil.Process(int(config.pid_file.read_text().split()[0]))


def end(process: psutil.Process) -> None:
    process.kill()
    process.wait(10)


async def test_a_cluster_starts_runs_a_deployment_and_leaves_nothing_behind(home: Path) -> None:
    steps: list[str] = []
    handle = await start_cluster(images=IMAGES, on_progress=steps.append)
    config = handle.config
    assert handle.started and "the API server" in steps
    assert (await cluster_status()).state is ClusterState.RUNNING
    api = Api(config)
    api.deploy()
    server = await serving(api)
    assert server.is_running() and is_claimed(config.octet)
    assert daemon(config).ppid() == 1 or daemon(config).parent() != psutil.Process()
    assert os.getsid(daemon(config).pid) != os.getsid(0)
    again = await start_cluster()
    assert not again.started and again.version == __version__, "a second up connects"
    pid, born, _ = config.pid_file.read_text().split()
    config.pid_file.write_text(f"{pid} {born}\n")
    assert (await start_cluster()).version == "", "a daemon of a version that did not say it"

    assert await stop_cluster()
    assert processes(home) == []
    assert port_is_free(config.port) and not is_claimed(config.octet)
    assert not config.pid_file.exists() and config.database.exists()
    assert (await cluster_status()).state is ClusterState.STOPPED
    assert not await stop_cluster(), "there is nothing left to stop"


async def test_what_was_stored_is_there_after_down_and_up_at_the_same_address(home: Path) -> None:
    config = await start()
    api = Api(config)
    stored = api.create(CONFIGMAPS, {"metadata": {"name": "kept"}, "data": {"a": "b"}})
    api.deploy()
    await serving(api)
    address = api.call("GET", SERVICES.path("default", "server"))["spec"]["clusterIP"]
    await stop_cluster()
    again = await start()
    assert (again.port, again.octet) == (config.port, config.octet)
    api = Api(again)
    kept = next(item for item in api.items(CONFIGMAPS) if item["metadata"]["name"] == "kept")
    assert kept["metadata"]["uid"] == stored["metadata"]["uid"]
    await serving(api)
    assert api.call("GET", SERVICES.path("default", "server"))["spec"]["clusterIP"] == address
    await stop_cluster(delete_state=True)
    assert not config.root.exists()
    with pytest.raises(NotFoundError, match="no cluster 'default'"):
        await cluster_status()


async def test_a_killed_daemon_is_replaced_by_one_that_adopts_the_pods(home: Path) -> None:
    config = await start()
    api = Api(config)
    api.deploy()
    server = await serving(api)
    (pod,) = api.items(PODS)
    end(daemon(config))
    assert server.is_running(), "pods do not depend on the daemon"
    assert (await cluster_status()).state is ClusterState.CRASHED
    handle = await start_cluster(images=IMAGES)
    assert handle.started
    (same,) = api.items(PODS)
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] == 0
    assert (await serving(api)).pid == server.pid
    await stop_cluster()


async def test_after_a_reboot_everything_comes_back(home: Path) -> None:
    config = await start()
    api = Api(config)
    api.deploy()
    server = await serving(api)
    for process in processes(home):
        process.kill()
    await until(lambda: not processes(home), "all processes are dead")
    config.pid_file.write_text(f"{os.getpid()} not-my-birth\n")
    assert (await start_cluster(images=IMAGES)).started
    assert (await serving(Api(config))).pid != server.pid
    await stop_cluster()


@pytest.mark.parametrize("stale", ["nonsense", f"{os.getpid()}\n", f"{os.getpid()} boot:1\n"])
async def test_a_stale_pid_file_stops_nobody_from_starting_and_kills_nobody(home: Path, stale: str) -> None:
    config = await start()
    await stop_cluster()
    config.pid_file.write_text(stale)
    assert not await stop_cluster()
    config.pid_file.write_text(stale)
    assert (await start_cluster(images=IMAGES)).started
    await stop_cluster()


async def test_two_ups_at_once_make_one_cluster(home: Path) -> None:
    code = (
        "import asyncio\n"
        "from kaos_ext.cluster.lifecycle import start_cluster\n"
        "print(asyncio.run(start_cluster('default')).started)\n"
    )
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        for _ in range(3)
    ]
    said = sorted([(await process.communicate())[0].decode().strip() for process in running])
    assert said == ["False", "False", "True"]
    assert (await cluster_status()).state is ClusterState.RUNNING
    await stop_cluster()


async def test_two_clusters_have_their_own_addresses(home: Path) -> None:
    # Names that would have the same range, were each alone.
    names: dict[int, str] = {}
    for number in itertools.count():
        name, octet = f"c{number}", choose_octet(home / "clusters" / f"c{number}")
        if octet in names:
            break
        names[octet] = name
    one, two = names[octet], name
    first, second = await asyncio.gather(start(one), start(two))
    assert first.port != second.port and first.octet != second.octet
    assert {status.config.name: status.state for status in await list_clusters()} == {
        one: ClusterState.RUNNING,
        two: ClusterState.RUNNING,
    }
    await asyncio.gather(stop_cluster(one), stop_cluster(two))


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGTERM]])
async def test_an_ephemeral_cluster_ends_with_its_owner_however_that_dies(home: Path, signals: list[int]) -> None:
    code = (
        "import asyncio, sys, time\n"
        "from kaos_ext.cluster.lifecycle import start_cluster\n"
        "asyncio.run(start_cluster('short', ephemeral=True))\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert owner.stdout is not None and owner.stdout.readline() == "up\n"
    config = load_config(home / "clusters" / "short")
    assert config.ephemeral and config.owner_pid == owner.pid and len(processes(home)) >= 3
    owner.send_signal(signals[0])
    owner.wait(10)
    owner.stdout.close()
    await until(lambda: not processes(home), "every process is gone")
    assert not config.root.exists()


async def test_an_ephemeral_cluster_whose_daemon_was_killed_first_is_swept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220
    config = await start("short", ephemeral=True, owner_pid=owner.pid)
    end(daemon(config))
    owner.kill()
    owner.wait(10)
    assert owner.stdin is not None
    owner.stdin.close()
    await start("other")
    assert not config.root.exists()
    await stop_cluster("other")


async def test_a_cluster_that_keeps_its_state_never_becomes_ephemeral(home: Path) -> None:
    config = await start()
    for _ in ("it runs", "it is stopped"):
        with pytest.raises(KaosError, match="keeps its state"):
            await start(ephemeral=True)
        await stop_cluster()
    assert config.database.exists() and not load_config(config.root).ephemeral


async def test_a_port_that_another_program_took_is_replaced(home: Path) -> None:
    config = await start()
    await stop_cluster()
    steps: list[str] = []
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", config.port))
        taken.listen()
        handle = await start_cluster(images=IMAGES, on_progress=steps.append)
    assert handle.config.port != config.port
    assert any("another program listens" in step for step in steps)
    assert Api(handle.config).call("GET", NAMESPACES.path(name="default"))["status"]["phase"] == "Active"
    await stop_cluster()


async def test_a_start_that_cannot_succeed_says_why_and_leaves_nothing(home: Path) -> None:
    from kaos_ext.model.errors import KaosError

    config = await start()
    await stop_cluster()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim:
        claim.bind((f"127.{config.octet}.255.254", 7443))
        with pytest.raises(KaosError, match="network"):
            await start()
    assert processes(home) == []
    await start()
    await stop_cluster()


async def test_the_daemon_inherits_no_secrets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    config = await start()
    for process in processes(home):
        assert "sk-canary" not in process.environ().values()
        assert "JPY_PARENT_PID" not in process.environ()
    assert config.root.stat().st_mode & 0o077 == 0
    await stop_cluster()


async def test_a_daemon_that_cannot_start_reports_it_and_ends(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kaos_ext.model.errors import KaosError

    config = await start()
    await stop_cluster()
    monkeypatch.setattr("kaos_ext.cluster.lifecycle.is_claimed", lambda octet: False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim:
        claim.bind((f"127.{config.octet}.255.254", 7443))
        with pytest.raises(KaosError, match=f"127.{config.octet}.255.254"):
            await start()
    assert processes(home) == []


async def test_a_cluster_that_nobody_uses_stops_itself_and_keeps_its_state(home: Path) -> None:
    config = await start(idle_seconds=0.5)
    await until(lambda: not processes(home), "every process is gone")
    assert config.database.exists() and not config.pid_file.exists()
    config = await start(idle_seconds=0.5)
    api = Api(config)
    api.deploy()
    server = await serving(api)
    running, began = daemon(config), asyncio.get_running_loop().time()
    await until(lambda: asyncio.get_running_loop().time() > began + 1.2, "more than the idle time has passed")
    assert running.is_running() and server.is_running(), "a workload keeps the cluster"
    api.call("DELETE", DEPLOYMENTS.path("default", "server"))
    await until(lambda: not processes(home), "every process is gone")


async def test_a_damaged_cluster_is_named_gets_in_nobodys_way_and_can_be_removed(home: Path) -> None:
    from kaos_ext.model.errors import KaosError

    config = await start("broken")
    config.file.write_text("{")
    with pytest.raises(KaosError, match=r"config\.json is damaged") as caught:
        await start("broken")
    assert "--delete" in caught.value.hint
    assert await list_clusters() == []
    assert await stop_cluster("broken", delete_state=True)
    assert not config.root.exists() and processes(home) == []


async def test_a_rollout_survives_a_daemon_that_is_killed_in_the_middle(home: Path) -> None:
    config = await start()
    api = Api(config)
    api.deploy()
    path = DEPLOYMENTS.path("default", "server")

    def settled() -> bool:
        found = api.call("GET", path)
        status = found["status"]
        counts = [status.get(key) for key in ("replicas", "updatedReplicas", "availableReplicas")]
        return counts == [3, 3, 3] and status["observedGeneration"] == found["metadata"]["generation"]

    api.call("PATCH", path, {"spec": {"replicas": 3}})
    await until(settled, "three pods")
    for number in range(3):
        container = {"name": "main", "image": "test/server", "env": [{"name": "N", "value": str(number)}]}
        api.call("PATCH", path, {"spec": {"template": {"spec": {"containers": [container]}}}})
        end(daemon(config))
        await start()
    await until(settled, "the last template, three times")
    values = [pod["spec"]["containers"][0]["env"][0]["value"] for pod in api.items(PODS) if not ending(pod)]
    assert values == ["2", "2", "2"]
    await until(lambda: len(servers(home)) == 3, "no process of an older template is left")
    await stop_cluster()


def ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def servers(home: Path) -> list[psutil.Process]:
    return [process for process in processes(home) if "http.server" in " ".join(process.cmdline())]


async def test_up_and_down_at_once_come_to_one_end(home: Path) -> None:
    await start()
    code = "import asyncio\nfrom kaos_ext.cluster.lifecycle import start_cluster, stop_cluster\nasyncio.run({}())\n"
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code.format(verb))
        for verb in ("stop_cluster", "start_cluster", "stop_cluster", "start_cluster")
    ]
    assert [await process.wait() for process in running] == [0, 0, 0, 0]
    assert (await cluster_status()).state in (ClusterState.RUNNING, ClusterState.STOPPED)
    await stop_cluster()
