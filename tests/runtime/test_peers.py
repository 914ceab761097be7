"""Whose a connection is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from kaos_ext.runtime import peers

ME = os.getuid()
CONNECT = """
import encodings.idna, os, socket, sys
os.setuid(int(sys.argv[3]))
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sys.stdin.read()
"""

Ask = Callable[[peers.Address, peers.Address], int | None]


def listed(peer: peers.Address, own: peers.Address) -> int | None:
    return peers._listed((peers._ip(peer[0]), peer[1]), (peers._ip(own[0]), own[1]))


@pytest.mark.parametrize("ask", [peers.peer_uid, listed])
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_of_this_process_is_its_users(ask: Ask, family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener, socket.socket(family) as client:
        try:
            listener.bind((host, 0))
        except OSError:
            assert family == socket.AF_INET6, "this machine has no IPv6"
            return
        listener.listen()
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        with server:
            assert ask(server.getpeername()[:2], server.getsockname()[:2]) == ME
            assert ask((host, 1), server.getsockname()[:2]) is None


@pytest.mark.process
@pytest.mark.parametrize("ask", [peers.peer_uid, listed])
def test_a_connection_of_another_user_is_told_apart(ask: Ask) -> None:
    # Only root can be somebody else; anybody else sees at least themselves in another process.
    other = 4242 if ME == 0 else ME
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        host, port = listener.getsockname()
        command = [sys.executable, "-c", CONNECT, host, str(port), str(other)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        try:
            server, _ = listener.accept()
            with server:
                assert ask(server.getpeername(), server.getsockname()) == other
        finally:
            child.communicate()
