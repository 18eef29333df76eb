"""The peers that a node calls: each one's connection is made, and made anew when it ends, as long as it is wanted.

It is the way to them by TCP; what is known of each is `edge_agent.dialled`'s, who is there `edge_agent.opening`'s.
"""

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from socket import socket as new_socket

from edge_agent import tcp
from edge_agent.connection import Connection
from edge_agent.connections import Connections
from edge_agent.dialled import Address, Dialled, resolved
from edge_agent.wire_tensors import Frame

log = logging.getLogger("splitrail.transport")


class Dialler:
    """Calls peers, and is the `edge_agent.ways.Way` to them; all methods may be called from any thread.

    What waits to be sent is bounded: what finds its place full is dropped, and counted.
    """

    def __init__(self, poll: "select.epoll", connections: Connections, look_by: Callable[[float], object]) -> None:
        """Have the connections served by `poll`; `look_by` is told by when (monotonic, s) to `attend` at the latest."""
        self._poll, self._connections, self._look_by = poll, connections, look_by
        self._lock = threading.Lock()
        self._dialled: dict[str, Dialled] = {}  # replaced as a whole at each change, so that any thread may read it
        self._is_closed = False
        self.dropped = 0
        """Messages that found no room, or that no such peer was called for."""

    def close(self) -> None:
        """Call nobody any more; what waits is dropped. Connections that are there are ended by whoever serves them."""
        self._is_closed = True
        for dialled in self._dialled.values():
            dialled.forget()

    # --- the way

    def open(self, peer: str, endpoint: str) -> None:
        """Reach `peer` at `endpoint`, in place of an earlier connection to it; tried until the peer is there."""
        dialled = Dialled(peer, endpoint)
        with self._lock:
            old = self._dialled.get(peer)
            self._dialled = {**self._dialled, peer: dialled}
        self._forget(old)
        self._dial(dialled)

    def shut(self, peer: str) -> None:
        """Drop the connection to `peer` and what waits for it, and end those on which it called this node."""
        with self._lock:
            old = self._dialled.get(peer)
            self._dialled = {name: each for name, each in self._dialled.items() if name != peer}
        self._forget(old)
        self._connections.dismiss(peer)

    def pace(self, peer: str, bytes_per_s: float | None) -> None:
        """Send to `peer` no faster than this from now on, on its later connections too; None lifts that."""
        dialled = self._dialled.get(peer)
        if dialled is not None:
            dialled.pace(bytes_per_s)

    def is_ready(self, peer: str) -> bool:
        """Whether `peer` is called, has been reached, and has welcomed this node."""
        dialled = self._dialled.get(peer)
        return dialled is not None and dialled.is_ready

    def withdraw(self, peer: str) -> list[Frame]:
        """Take back the messages that wait until `peer` is reached, in order."""
        dialled = self._dialled.get(peer)
        return dialled.withdraw() if dialled is not None else []

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Send to `peer`, or keep a copy until it is reached; what finds no room there is counted as dropped."""
        dialled = self._dialled.get(peer)
        if dialled is None or not dialled.send(frames):
            with self._lock:
                self.dropped += 1

    # --- from whoever serves the connections

    def attend(self) -> None:
        """Call those who are due."""
        for dialled in self._dialled.values():
            self._dial(dialled)

    def connected(self, connection: Connection) -> None:
        """A connection is there, but nobody has said yet who is at its other end."""
        dialled = self._of(connection)
        if dialled is not None:
            dialled.connected(connection)

    def welcomed(self, connection: Connection) -> None:
        """The peer takes messages on it from now on."""
        dialled = self._of(connection)
        if dialled is not None:
            dialled.welcomed(connection)

    def lost(self, connection: Connection) -> None:
        """A connection has come to its end, whoever made it: the peer it was to is called again before long."""
        unsent = self._connections.ended(connection)
        dialled = self._of(connection)
        if dialled is not None:
            due_s = dialled.lost(connection, unsent, time.monotonic())
            if due_s is not None:
                self._look_by(due_s)

    # --- calling

    def _of(self, connection: Connection) -> Dialled | None:
        return self._dialled.get(connection.peer) if connection.peer is not None else None

    def _dial(self, dialled: Dialled) -> None:
        if not dialled.begin(time.monotonic()):
            return
        address = dialled.address()
        if address is None:
            # A name service may take seconds to answer.
            threading.Thread(target=self._find, args=(dialled,), name="tensor-resolver", daemon=True).start()
        else:
            self._call(dialled, address)

    def _find(self, dialled: Dialled) -> None:
        try:
            dialled.found(resolved(dialled.endpoint))
        except OSError as error:
            self._cannot_call(dialled, error)
            return
        address = dialled.address()
        if address is not None:
            self._call(dialled, address)

    def _call(self, dialled: Dialled, address: Address) -> None:
        try:
            calling = new_socket(address[0], socket.SOCK_STREAM)
        except OSError as error:
            self._cannot_call(dialled, error)
            return
        connection = Connection(calling, self._poll, peer=dialled.peer)
        if not dialled.called(connection):
            calling.close()
            return
        self._connections.opened(connection)
        tcp.set_up(calling)
        if self._is_closed or calling.connect_ex(address[1]) not in (0, errno.EINPROGRESS):
            self.lost(connection)
        connection.watch()

    def _cannot_call(self, dialled: Dialled, error: OSError) -> None:
        """Nothing could even be tried: said once."""
        dialled.failed(time.monotonic())
        if not dialled.has_complained:
            dialled.has_complained = True
            log.warning("cannot connect to %s at %s: %s", dialled.peer, dialled.endpoint, error.strerror)

    def _forget(self, dialled: Dialled | None) -> None:
        connection = dialled.forget() if dialled is not None else None
        if connection is not None:
            self._connections.ended(connection)
