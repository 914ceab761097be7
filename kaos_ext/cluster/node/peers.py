"""The connections of the supervisor: who talks to it, and what is still to be said to whom. Standard library only."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kaos_ext.cluster.node.protocol import Lines, encode

_CHUNK = 256 * 1024


@dataclass(eq=False)
class Peer:
    connection: socket.socket
    lines: Lines = field(default_factory=Lines)
    pending: bytearray = field(default_factory=bytearray)


class Peers:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        answer: Callable[[Peer, dict[str, Any]], None],
        alone: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._answer = answer
        self._alone = alone
        self._peers: set[Peer] = set()
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def __bool__(self) -> bool:
        return bool(self._peers)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            peer = Peer(connection)
            self._peers.add(peer)
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def converse(self, peer: Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(peer)
            if mask & selectors.EVENT_READ:
                data = peer.connection.recv(_CHUNK)
                if not data:
                    raise ConnectionResetError
                for message in peer.lines.feed(data):
                    self._answer(peer, message)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._hang_up(peer)

    def send(self, peer: Peer, message: dict[str, Any]) -> None:
        if peer not in self._peers:
            return
        peer.pending += encode(message)
        try:
            self._flush(peer)
        except OSError:
            self._hang_up(peer)

    def tell(self, message: dict[str, Any]) -> None:
        """Say it to everybody."""
        for peer in list(self._peers):
            self.send(peer, message)

    def farewell(self, peer: Peer, message: dict[str, Any]) -> None:
        """The last word of this process to a peer."""
        with contextlib.suppress(OSError):
            peer.connection.setblocking(True)
            peer.connection.settimeout(1)
            peer.connection.sendall(bytes(peer.pending) + encode(message))

    def _flush(self, peer: Peer) -> None:
        try:
            while peer.pending:
                del peer.pending[: peer.connection.send(peer.pending)]
        except BlockingIOError:
            pass
        if peer in self._peers:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.pending else 0)
            self._selector.modify(peer.connection, wanted, peer)

    def _hang_up(self, peer: Peer) -> None:
        if peer in self._peers:
            self._peers.discard(peer)
            self._selector.unregister(peer.connection)
            peer.connection.close()
            self._alone()
