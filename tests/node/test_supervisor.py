"""The supervisor: holds processes beyond its clients, and leaves none beyond itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kaos_ext.cluster.node.logs import LogOptions, LogReader
from kaos_ext.cluster.node.processes import birth, marked
from kaos_ext.cluster.node.protocol import PID_FILE, SOCKET, ProcessSpec
from kaos_ext.cluster.node.supervisor_client import StartError, SupervisorClient, stop_node
from kaos_ext.model.errors import UnreachableError

from .harness import CODE, until

pytestmark = pytest.mark.process
Make = Callable[..., ProcessSpec]


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    client = SupervisorClient(tmp_path / "node")
    await client.connect()
    yield client
    await client.close()
    await stop_node(client.root, grace=0.1)
    assert list(marked(client.root)) == []


def spec(client: SupervisorClient, code: str, **options: object) -> ProcessSpec:
    values = {
        "id": uuid.uuid4().hex,
        "argv": [sys.executable, "-u", "-S", "-c", code],
        "env": {"PATH": os.defpath},
        "cwd": str(client.root),
        "log": str(client.root / "logs" / "0.log"),
    }
    return ProcessSpec(**(values | options))  # type: ignore[arg-type]


def forked(client: SupervisorClient, code: str, **options: object) -> ProcessSpec:
    environment = {"env": {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}, "template": ("json",)}
    return spec(client, "", argv=[sys.executable, "-m", CODE, code], **(environment | options))


@pytest.fixture(params=[spec, forked])
def made(request: pytest.FixtureRequest) -> Make:
    """Makes the spec of a process: one to exec, one to fork."""
    return request.param  # type: ignore[no-any-return]


def said(process: ProcessSpec) -> str:
    return LogReader(Path(process.log), LogOptions()).read().decode()


async def says(process: ProcessSpec, text: str) -> str:
    await until(lambda: text in said(process))
    return said(process)


async def test_it_runs_a_process_and_tells_its_end_with_all_it_said(supervisor: SupervisorClient, made: Make) -> None:
    process = made(supervisor, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(9)")
    record = await supervisor.exit_of(await supervisor.start(process))
    assert (record.exit_code, record.signal) == (9, 0)
    assert sorted(said(process).split()) == ["err", "out"]


async def test_an_end_by_signal_is_told_as_a_shell_does(supervisor: SupervisorClient, made: Make) -> None:
    record = await supervisor.start(made(supervisor, "import time; time.sleep(60)"))
    assert await supervisor.signal(record.id, signal.SIGKILL)
    ended = await supervisor.exit_of(record)
    assert (ended.exit_code, ended.signal) == (137, 9)
    assert not await supervisor.signal(record.id, signal.SIGKILL)


async def test_a_program_that_does_not_exist_is_refused_and_leaves_nothing(supervisor: SupervisorClient) -> None:
    with pytest.raises(StartError, match="No such file"):
        await supervisor.start(spec(supervisor, "", argv=["/no/such"]))
    assert (await supervisor.call("hello"))["processes"] == []


async def test_a_process_has_exactly_its_environment_and_its_own_session(supervisor: SupervisorClient) -> None:
    code = "import os; print(sorted(os.environ), os.getsid(0) == os.getpid(), os.listdir('/proc/self/fd'))"
    process = spec(supervisor, code, env={"ONLY": "this", "LC_ALL": "C"})
    await supervisor.exit_of(await supervisor.start(process))
    assert said(process) == "['KAOS_PROCESS', 'LC_ALL', 'ONLY'] True ['0', '1', '2', '3']\n"


async def test_signals_are_not_ignored_in_processes(supervisor: SupervisorClient, made: Make) -> None:
    code = "import signal; print([signal.getsignal(n) == signal.SIG_DFL for n in (1, 15, 17)])"
    process = made(supervisor, code)
    await supervisor.exit_of(await supervisor.start(process))
    assert said(process) == "[True, True, True]\n"


async def test_with_the_first_process_end_all_it_started_even_those_that_left_its_session(
    supervisor: SupervisorClient,
) -> None:
    code = """
import os, subprocess, sys, time
python = [sys.executable, "-S", "-c"]
sleep = [*python, "import time; time.sleep(600)"]
subprocess.Popen(sleep)
subprocess.Popen([*python, f"import subprocess; subprocess.Popen({sleep!r}, start_new_session=True)"])
time.sleep(0.3)
"""
    record = await supervisor.exit_of(await supervisor.start(spec(supervisor, code)))
    await until(lambda: not list(marked(supervisor.root, record.id)))


async def test_processes_outlive_the_client_and_the_next_one_learns_how_they_fared(
    supervisor: SupervisorClient,
) -> None:
    ends = await supervisor.start(spec(supervisor, "import time; time.sleep(0.2); raise SystemExit(4)"))
    stays = await supervisor.start(spec(supervisor, "import time; time.sleep(600)"))
    await supervisor.close()
    await until(lambda: birth(ends.pid) != ends.birth)
    second = SupervisorClient(supervisor.root)
    known = {record.id: record for record in await second.connect()}
    assert second.pid == supervisor.pid
    assert (await second.exit_of(known[ends.id])).exit_code == 4
    assert known[stays.id].running and birth(known[stays.id].pid) == stays.birth
    await second.close()


async def test_starting_the_same_process_again_is_the_same_process(supervisor: SupervisorClient, made: Make) -> None:
    process = made(supervisor, "import time; time.sleep(600)")
    assert (await supervisor.start(process)).pid == (await supervisor.start(process)).pid


async def test_only_one_supervisor_lives_however_many_ask(tmp_path: Path) -> None:
    clients = [SupervisorClient(tmp_path / "node") for _ in range(4)]
    await asyncio.gather(*(client.connect() for client in clients))
    assert len({client.pid for client in clients}) == 1
    assert int((tmp_path / "node" / PID_FILE).read_text()) == clients[0].pid
    for client in clients:
        await client.close()
    assert await stop_node(tmp_path / "node")
    assert not await stop_node(tmp_path / "node")


async def test_a_crashed_supervisors_processes_are_ended_and_recorded_as_lost(
    supervisor: SupervisorClient, made: Make
) -> None:
    record = await supervisor.start(made(supervisor, "import time; time.sleep(600)"))
    os.kill(supervisor.pid, signal.SIGKILL)
    ended = await asyncio.wait_for(supervisor.exit_of(record), 10)
    assert (ended.exit_code, ended.reason) == (137, "ContainerStatusUnknown")
    assert birth(record.pid) != record.birth
    after = made(supervisor, "print('again')")
    assert (await supervisor.exit_of(await supervisor.start(after))).exit_code == 0


async def test_a_pid_that_now_belongs_to_another_program_is_left_alone(tmp_path: Path) -> None:
    client = SupervisorClient(tmp_path / "node")
    await client.connect()
    record = await client.start(spec(client, "import time; time.sleep(600)"))
    await client.close()
    os.kill(client.pid, signal.SIGKILL)
    os.kill(record.pid, signal.SIGKILL)
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    stranger = subprocess.Popen(command, start_new_session=True)  # noqa: ASYNC220
    try:
        path = client.root / "processes" / f"{record.id}.json"
        known = json.loads(path.read_text())
        path.write_text(json.dumps(known | {"pid": stranger.pid, "birth": "another boot:1"}))
        await stop_node(client.root)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_stop_all_asks_first_and_then_kills(supervisor: SupervisorClient, made: Make) -> None:
    polite = made(
        supervisor,
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(print('bye')))\nprint('up')\ntime.sleep(60)",
        log=str(supervisor.root / "polite.log"),
    )
    stubborn = made(
        supervisor,
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)",
        log=str(supervisor.root / "stubborn.log"),
    )
    for process in (polite, stubborn):
        await supervisor.start(process)
        await says(process, "up")
    assert await stop_node(supervisor.root, grace=0.3)
    assert said(polite) == "up\nbye\n"
    assert list(marked(supervisor.root)) == []
    assert birth(supervisor.pid) is None
    assert not (supervisor.root / SOCKET).exists()


async def test_a_client_does_not_start_again_what_was_told_to_stop(supervisor: SupervisorClient) -> None:
    pid = supervisor.pid
    assert await stop_node(supervisor.root)
    await supervisor.close()
    assert supervisor.pid == pid
    with pytest.raises(UnreachableError):
        await SupervisorClient(supervisor.root).connect(start=False)


async def test_sigterm_ends_it_and_everything(supervisor: SupervisorClient) -> None:
    record = await supervisor.start(spec(supervisor, "import time; time.sleep(600)"))
    await supervisor.close()
    os.kill(supervisor.pid, signal.SIGTERM)
    await until(lambda: birth(supervisor.pid) is None)
    assert birth(record.pid) != record.birth


async def test_it_ends_by_itself_when_told_not_to_stay_alone(supervisor: SupervisorClient, made: Make) -> None:
    record = await supervisor.start(made(supervisor, "import time; time.sleep(600)"))
    await supervisor.end_when_alone(0.1)
    await supervisor.close()
    await until(lambda: birth(supervisor.pid) is None)
    assert birth(record.pid) != record.birth


async def test_an_address_is_held_for_one_cluster_only(supervisor: SupervisorClient, tmp_path: Path) -> None:
    other = SupervisorClient(tmp_path / "other")
    await other.connect()
    host = f"127.200.{os.getpid() % 250}.254"
    assert await supervisor.claim(host)
    assert await supervisor.claim(host)
    assert not await other.claim(host)
    await other.close()
    await stop_node(other.root)


async def test_its_socket_is_the_owners_alone_and_its_path_may_be_long(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100) / "node"
    client = SupervisorClient(root)
    await client.connect()
    assert (root / SOCKET).stat().st_mode & 0o077 == 0
    await client.close()
    assert await stop_node(root)


async def test_without_a_supervisor_a_visitor_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no supervisor is running"):
        await SupervisorClient(tmp_path).connect(start=False)


async def test_a_flood_of_output_arrives_whole(supervisor: SupervisorClient, made: Make) -> None:
    process = made(supervisor, "import sys\nfor n in range(100000): sys.stdout.write(f'{n}\\n')")
    await supervisor.exit_of(await supervisor.start(process))
    assert said(process).split() == [str(n) for n in range(100000)]
