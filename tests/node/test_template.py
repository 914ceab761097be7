"""Forks of a template: what a program started by exec would be, sharing nothing with the pods beside it but code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from kaos_ext.cluster.node.logs import LogOptions, LogReader
from kaos_ext.cluster.node.processes import marked
from kaos_ext.cluster.node.protocol import FORK, GO, READY, SHIM, ProcessRecord, ProcessSpec
from kaos_ext.cluster.node.supervisor_client import StartError, SupervisorClient, stop_node
from kaos_ext.cluster.node.templates import fits
from kaos_ext.model import images

from .harness import CODE, templates, until
from .programs import changing

pytestmark = pytest.mark.process
MODULES = ("json",)
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    client = SupervisorClient(tmp_path / "node")
    await client.connect()
    await client.warm([MODULES])
    yield client
    await client.close()
    await stop_node(client.root, grace=0.1)
    assert list(marked(client.root)) == []


def spec(root: Path, code: str, *, template: tuple[str, ...] = MODULES, **env: str) -> ProcessSpec:
    name = uuid.uuid4().hex
    base = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", CODE, code]
    return ProcessSpec(name, argv, base | env, str(root), str(root / "logs" / f"{name}.log"), template=template)


async def said(client: SupervisorClient, process: ProcessSpec) -> str:
    """What the process said until its end."""
    record = await client.exit_of(await client.start(process))
    text = LogReader(Path(process.log), LogOptions()).read().decode()
    assert record.exit_code == 0, text
    return text


def is_fork(record: ProcessRecord) -> bool:
    """A fork's first variables are its template's."""
    return b"SPT_NOENV" in Path(f"/proc/{record.pid}/environ").read_bytes()


async def test_a_process_whose_spec_names_a_template_is_its_fork_and_the_supervisors_child(
    supervisor: SupervisorClient,
) -> None:
    record = await supervisor.start(spec(supervisor.root, SLEEP))
    assert is_fork(record)
    assert psutil.Process(record.pid).ppid() == supervisor.pid
    assert os.getsid(record.pid) == os.getpgid(record.pid) == record.pid
    assert list(marked(supervisor.root, record.id)) == [record.pid]


async def test_a_fork_sees_of_itself_what_an_exec_sees(supervisor: SupervisorClient) -> None:
    code = """
import gc, json, os, signal, sys, threading
handlers = {n: str(signal.getsignal(n)) for n in signal.valid_signals()}
print(json.dumps([sorted(os.environ), os.getcwd(), sys.argv, sys.path, sorted(os.listdir("/proc/self/fd")),
    os.umask(0), handlers, sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), __name__, gc.isenabled(),
    threading.active_count(), sys.stdout.write_through, sys.stdout.encoding, os.readlink("/proc/self/fd/0"),
    __import__("tempfile").gettempdir(), __import__("site").ENABLE_USER_SITE, sys.orig_argv[1:], os.nice(0)]))
"""
    env = {"ONLY": "this", "PYTHONPATH": SHIM, "TMPDIR": str(supervisor.root)}
    fork = json.loads(await said(supervisor, spec(supervisor.root, code, **env)))
    exec_ = json.loads(await said(supervisor, spec(supervisor.root, code, template=(), **env)))
    assert fork == exec_
    assert fork[4] == ["0", "1", "2", "3"]


async def test_nothing_of_one_pod_is_in_the_memory_of_the_next(supervisor: SupervisorClient) -> None:
    await supervisor.start(spec(supervisor.root, SLEEP, SECRET="canary-" + "7f3a91"))
    code = """
import re
needle = "".join(["cana", "ry-7f", "3a91"]).encode()
found = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps:
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if "rw-p" in line:
            memory.seek(low)
            found += (memory.read(high - low) or b"").count(bytes(needle))
print(found - 1 <= 3 and found)
"""
    # The needle itself and what reading it left behind are the only finds.
    alone = await said(supervisor, spec(supervisor.root, code))
    assert int(alone) <= 3
    environs = [path.read_bytes() for path in (Path(f"/proc/{pid}/environ") for pid in templates(supervisor.root))]
    assert environs and all(b"canary" not in each for each in environs)


async def test_each_fork_has_randomness_of_its_own(supervisor: SupervisorClient) -> None:
    code = "import random, uuid, ssl; print(random.random(), uuid.uuid4(), uuid.uuid1(), ssl.RAND_bytes(8).hex())"
    texts = await asyncio.gather(
        *(said(supervisor, spec(supervisor.root, code, template=("ssl", "random"))) for _ in "ab")
    )
    assert not set(texts[0].split()) & set(texts[1].split())


async def test_names_of_services_resolve_in_a_fork(supervisor: SupervisorClient) -> None:
    hosts = supervisor.root / "hosts"
    hosts.write_text("127.9.0.10 web.ns.svc.c\n")
    code = "import socket; print(socket.getaddrinfo('web', 80)[0][4], socket.gethostbyname('web'))"
    env = {"PYTHONPATH": SHIM, "KAOS_HOSTS": str(hosts), "KAOS_SEARCH": "ns.svc.c"}
    assert await said(supervisor, spec(supervisor.root, code, template=("socket",), **env)) == (
        "('127.9.0.10', 80) 127.9.0.10\n"
    )


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONHASHSEED": "0"},
        {"LD_PRELOAD": ""},
        {"LC_ALL": "C"},
        {"PYTHONPATH": "/mine"},
        {"LANG": "de_DE"},
        {"OTEL_PROPAGATORS": "b3"},
    ],
)
def test_a_variable_that_a_fork_would_see_too_late_means_exec(tmp_path: Path, env: dict[str, str]) -> None:
    assert fits(spec(tmp_path, ""))
    assert not fits(spec(tmp_path, "", **env))


def test_a_command_that_is_not_this_pythons_module_means_exec(tmp_path: Path) -> None:
    for argv in (["/bin/true", "-m", CODE], [sys.executable, "-c", "pass"], [sys.executable]):
        fine = spec(tmp_path, "").to_json()
        assert not fits(ProcessSpec.from_json(fine | {"argv": argv}))


async def test_when_a_template_dies_its_pods_go_on_and_the_next_start_finds_a_way(supervisor: SupervisorClient) -> None:
    stays = await supervisor.start(spec(supervisor.root, SLEEP))
    before = templates(supervisor.root)
    os.kill(before[0], signal.SIGKILL)
    assert (await said(supervisor, spec(supervisor.root, "print('on')"))) == "on\n"
    await until(lambda: templates(supervisor.root) not in ([], before))
    again = await supervisor.start(spec(supervisor.root, SLEEP))
    assert is_fork(again)
    assert psutil.pid_exists(stays.pid)
    await supervisor.signal(stays.id, signal.SIGKILL)
    assert (await supervisor.exit_of(stays)).exit_code == 137


async def test_a_template_of_changed_code_does_not_fork_any_more(supervisor: SupervisorClient) -> None:
    module = "tests.node.programs.changing"
    first = await supervisor.start(spec(supervisor.root, SLEEP, template=(module,)))
    assert is_fork(first)
    before = set(templates(supervisor.root))
    os.utime(changing.__file__)
    second = await supervisor.start(spec(supervisor.root, SLEEP, template=(module,)))
    assert not is_fork(second)
    await until(lambda: len(set(templates(supervisor.root)) - before) == 1 and len(templates(supervisor.root)) == 2)
    assert is_fork(await supervisor.start(spec(supervisor.root, SLEEP, template=(module,))))


@pytest.mark.parametrize("module", ["kaos_no_such_module", "tests.node.programs.threaded"])
async def test_what_cannot_be_a_template_is_started_by_exec(supervisor: SupervisorClient, module: str) -> None:
    record = await supervisor.start(spec(supervisor.root, SLEEP, template=(module,)))
    assert not is_fork(record)


async def test_our_runtimes_are_forked_and_named_by_what_they_are(supervisor: SupervisorClient) -> None:
    env = {"MCP_TOOLS_STRING": "def f() -> int: return 1", "MCP_SERVER_NAME": "tools", "PORT": "0"}
    process = spec(supervisor.root, "", template=(images.WARM["mcp-python-string"],), **env).to_json()
    argv = [sys.executable, *images.node_images()["images"]["kaos-ext/mcp-python-string"]["command"][1:]]
    record = await supervisor.start(ProcessSpec.from_json(process | {"argv": argv}))
    assert is_fork(record)
    log = LogReader(Path(process["log"]), LogOptions())
    await until(lambda: b"mcp listens on" in log.read())
    assert psutil.Process(record.pid).cmdline()[0] == "kaos: mcp tools"


async def test_a_fork_into_a_folder_that_is_not_there_is_refused_as_an_exec_is(supervisor: SupervisorClient) -> None:
    for template in (MODULES, ()):
        process = spec(supervisor.root, SLEEP, template=template).to_json() | {"cwd": "/no/such"}
        with pytest.raises(StartError, match="No such file"):
            await supervisor.start(ProcessSpec.from_json(process))
    assert await supervisor.records() == []


async def test_many_starts_at_once_wait_for_the_one_template(tmp_path: Path) -> None:
    client = SupervisorClient(tmp_path / "node")
    await client.connect()
    records = await asyncio.gather(*(client.start(spec(client.root, SLEEP)) for _ in range(20)))
    assert all(is_fork(record) for record in records)
    assert len(templates(client.root)) == 1
    await client.close()
    await stop_node(client.root, grace=0.1)
    assert list(marked(client.root)) == []


async def test_a_supervisor_that_is_killed_takes_its_template_along(supervisor: SupervisorClient) -> None:
    record = await supervisor.start(spec(supervisor.root, SLEEP))
    template = templates(supervisor.root)
    os.kill(supervisor.pid, signal.SIGKILL)
    assert (await supervisor.exit_of(record)).reason == "ContainerStatusUnknown"
    await until(lambda: not set(template) & set(templates(supervisor.root)))


@pytest.fixture
def control(tmp_path: Path) -> Iterator[socket.socket]:
    """A template of our own, and the supervisor's end of its control."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "kaos_ext.cluster.node.template", "--control", str(theirs.fileno()), "json"]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env={"PYTHONUNBUFFERED": "1"})
    theirs.close()
    assert ours.recv(1) == READY
    yield ours
    ours.close()
    assert process.wait(10) == 0


@pytest.mark.parametrize("word", [GO, b""])
def test_what_is_forked_does_nothing_until_it_is_on_disk(control: socket.socket, tmp_path: Path, word: bytes) -> None:
    talk, theirs = socket.socketpair()
    out, stdout = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    socket.send_fds(control, [FORK], [theirs.fileno(), null, stdout, null])
    theirs.close()
    os.close(stdout)
    os.close(null)
    birth = {"module": CODE, "arguments": ["print('ran')"], "env": {}, "cwd": str(tmp_path)}
    talk.sendall(json.dumps(birth).encode() + b"\n")
    pid = json.loads(talk.recv(100))["pid"]
    assert Path(f"/proc/{pid}").exists()
    talk.sendall(word)
    talk.close()  # as a supervisor that dies now
    with os.fdopen(out, "rb") as output:
        assert output.read() == (b"ran\n" if word else b"")
