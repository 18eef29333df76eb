"""Ways of carrying bytes between processes, each with the same few methods: bare sockets, under TLS too, and ours.

The libraries that ours was chosen over are in `weighed_transports.py`; which processes there are and what is timed, in
`transports.py`.
"""

import base64
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from edge_agent.deliveries import Delivery
from edge_agent.keys import NodeKey, make_key
from edge_agent.transport import Transport
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord
from edge_agent.wire_tensors import TensorSpec

MOST_BYTES: Final = 4_000_000
LENGTH: Final = struct.Struct("<Q")
RECORD_BYTES: Final = 16_384  # of plain bytes, at most, in one record of TLS
LOOPBACK: Final = "127.0.0.1"
ROUTE: Final = Route("benchmark", 1, bytes(16), 0)

Taker = Callable[[memoryview], None]
"""Gets each payload that has come whole; it is valid until it returns."""


class End(Protocol):
    """One process's end of a way."""

    def listen(self, take: Taker) -> Any:
        """Take payloads from now on; the address by which others connect, which can be pickled."""

    def connect(self, peer: str, address: Any) -> None:
        """Let `peer` be sent to; each end connects to every other one."""

    def send(self, peer: str, payload: memoryview) -> None:
        """Send a payload, from the taker or from the main thread; it may change when the next one is sent."""


def filled(connected: socket.socket, memory: memoryview) -> bool:
    """Fill `memory` from a socket; False at the end."""
    at = 0
    while at < len(memory):
        count = connected.recv_into(memory[at:])
        if not count:
            return False
        at += count
    return True


class RawSockets:
    """`recv_into` and `sendmsg` on blocking sockets, a thread for each that comes in: the reference."""

    def __init__(self) -> None:
        """Nothing is there yet."""
        self._peers: dict[str, socket.socket] = {}

    def listen(self, take: Taker) -> Any:
        """On any port."""
        listener = socket.create_server((LOOPBACK, 0))

        def accept() -> None:
            while True:
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=receive, args=(accepted,), daemon=True).start()

        def receive(connected: socket.socket) -> None:
            accepted = self._secured(connected)
            memory = memoryview(bytearray(LENGTH.size + MOST_BYTES))
            while True:
                count = accepted.recv_into(memory)
                if not count:
                    return
                (size_bytes,) = LENGTH.unpack_from(memory)
                if not filled(accepted, memory[count : LENGTH.size + size_bytes]):
                    return
                take(memory[LENGTH.size : LENGTH.size + size_bytes])

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()

    def connect(self, peer: str, address: Any) -> None:
        """A connection for what goes to it."""
        self._peers[peer] = socket.create_connection(address)
        self._peers[peer].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, peer: str, payload: memoryview) -> None:
        """Wait until the kernel has it."""
        sent = self._peers[peer].sendmsg([LENGTH.pack(len(payload)), payload])
        if sent < LENGTH.size + len(payload):
            self._peers[peer].sendall(payload[sent - LENGTH.size :])

    def _secured(self, accepted: socket.socket) -> socket.socket:
        """The connection that somebody else has made, as it is to be read."""
        return accepted


class BareTls(RawSockets):
    """The same under the standard library's TLS 1.3: what it allows, and so the reference of all that is encrypted."""

    def __init__(self) -> None:
        """A key of its own; who calls shows none, as that makes no difference once hands were shaken."""
        super().__init__()
        key = make_key()
        self._certificate = key.public
        self._called = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key.show(self._called)

    def listen(self, take: Taker) -> Any:
        """The address, and the certificate."""
        return super().listen(take), self._certificate

    def connect(self, peer: str, address: Any) -> None:
        """A connection to the holder of the certificate."""
        where, certificate = address
        calling = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        calling.check_hostname = False
        calling.minimum_version = ssl.TLSVersion.TLSv1_3
        calling.load_verify_locations(cadata=base64.b64decode(certificate))
        super().connect(peer, where)
        self._peers[peer] = calling.wrap_socket(self._peers[peer])

    def send(self, peer: str, payload: memoryview) -> None:
        """What fits into one record goes as one; TLS has no `sendmsg`."""
        begins = LENGTH.pack(len(payload))
        if len(payload) <= RECORD_BYTES - LENGTH.size:
            self._peers[peer].sendall(begins + payload)
        else:
            self._peers[peer].sendall(begins)
            self._peers[peer].sendall(payload)

    def _secured(self, accepted: socket.socket) -> socket.socket:
        return self._called.wrap_socket(accepted, server_side=True)


class Ours:
    """The agents' own transport, as `edge_agent` uses it: acknowledged, bounded, and received where it belongs."""

    def __init__(self, name: str, *, encrypted: bool) -> None:
        """Listen on any port, open or under TLS."""
        self._key: NodeKey | None = make_key() if encrypted else None
        self._transport = Transport(name, f"tcp://{LOOPBACK}:0", self._key)
        self._memory = np.empty(MOST_BYTES, np.uint8)
        self._take: Taker

    def listen(self, take: Taker) -> Any:
        """The endpoint, and the key."""
        self._take = take
        self._transport.start(self)
        return self._transport.endpoint, self._key and self._key.public

    def connect(self, peer: str, address: Any) -> None:
        """A peer that is called, and heard from now on."""
        self._transport.connect(peer, *address)

    def send(self, peer: str, payload: memoryview) -> None:
        """A message of one tensor."""
        self._transport.send(peer, TensorsMessage(ROUTE, (np.frombuffer(payload, np.uint8),)))

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> list[np.ndarray[Any, Any]]:  # noqa: ARG002
        """The same memory each time, as of a segment that computes one after the other."""
        return [self._memory[: specs[0].size_bytes]]

    def on_tensors(self, message: TensorsMessage, src: str) -> None:  # noqa: ARG002  # the protocol's signature
        """A payload."""
        self._take(message.tensors[0].data)

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Not sent here."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Not sent here."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Not timed here."""
