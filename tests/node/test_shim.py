"""The resolver in pods' Python: cluster names by the node's file, all others by the system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaos_ext.cluster.node.pod_setup import SHIM

pytestmark = pytest.mark.process


def run(tmp_path: Path, code: str, *, path: str = "", search: str = "ns.svc.c svc.c c") -> str:
    hosts = tmp_path / "hosts"
    if not hosts.exists():
        hosts.write_text("127.9.0.10 web.ns.svc.c\n127.9.0.11 db.ns.svc.c\n127.9.0.12 db.ns.svc.c\n")
    env = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SHIM), path])),
        "KAOS_HOSTS": str(hosts),
        "KAOS_SEARCH": search,
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def lookup(name: str) -> str:
    return (
        f"import socket\ntry: print(sorted({{each[4][0] for each in socket.getaddrinfo({name!r}, 80)}}))\n"
        "except OSError as error: print(type(error).__name__, error.errno == socket.EAI_NONAME)"
    )


@pytest.mark.parametrize("name", ["web", "WEB", "web.ns", "web.ns.svc", "web.ns.svc.c", "web.ns.svc.c."])
def test_every_form_of_a_services_name_resolves(tmp_path: Path, name: str) -> None:
    assert run(tmp_path, lookup(name)) == "['127.9.0.10']\n"


def test_a_name_may_have_many_addresses(tmp_path: Path) -> None:
    assert run(tmp_path, lookup("db")) == "['127.9.0.11', '127.9.0.12']\n"


def test_an_unknown_name_of_the_cluster_is_unknown_at_once(tmp_path: Path) -> None:
    assert run(tmp_path, lookup("none.ns.svc.c")) == "gaierror True\n"


def test_other_names_and_addresses_go_to_the_system(tmp_path: Path) -> None:
    assert "127.0.0.1" in run(tmp_path, lookup("localhost"))
    assert run(tmp_path, lookup("127.0.0.7")) == "['127.0.0.7']\n"


def test_names_that_come_later_are_seen(tmp_path: Path) -> None:
    code = f"""
import os, socket
print(socket.gethostbyname("web"))
open({str(tmp_path / "new")!r}, "w").write("127.9.0.99 web.ns.svc.c")
os.replace({str(tmp_path / "new")!r}, {str(tmp_path / "hosts")!r})
print(socket.gethostbyname("web"), socket.gethostbyname_ex("web")[2])
"""
    assert run(tmp_path, code) == "127.9.0.10\n127.9.0.99 ['127.9.0.99']\n"


def test_the_sitecustomize_that_it_hides_runs_too(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("print('mine as well')")
    assert run(tmp_path, "pass", path=str(other)) == "mine as well\n"


def test_it_imports_no_socket_and_no_package(tmp_path: Path) -> None:
    code = (
        "import sys; print([name for name in ('socket', 'pathlib', 're', 'json', 'kaos_ext') if name in sys.modules])"
    )
    bare = {"PATH": os.defpath}
    baseline = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True).stdout
    assert run(tmp_path, code) == baseline


def test_asyncio_resolves_as_well(tmp_path: Path) -> None:
    code = (
        "import asyncio\nasync def main(): print((await asyncio.get_running_loop().getaddrinfo('web', 1))[0][4][0])\n"
    )
    assert run(tmp_path, code + "asyncio.run(main())") == "127.9.0.10\n"
