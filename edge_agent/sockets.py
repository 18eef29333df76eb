"""The ZeroMQ sockets of the tensor plane: one that listens, and one to each peer. All but `wake` is for one thread.

What is sent and received are frames; their meaning is `edge_agent.wire`'s.
"""

import itertools
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import zmq

from edge_agent.errors import TransportError
from edge_agent.wire import MAX_TENSOR_BYTES, Frame

log = logging.getLogger("splitrail.transport")

_MAX_REPLY_BYTES: Final = 4_096
_RECEIVED_PER_TURN: Final = 64
_ENDPOINT_FORM: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5}|\*)")
WILDCARD_HOSTS: Final = ("*", "0.0.0.0", "[::]")  # where one can listen but not be reached


@dataclass(frozen=True, slots=True)
class Arrived:
    """The frames of one message; from a peer that this node called, or from one that called this node (None)."""

    peer: str | None
    frames: list[Frame]
    """Where `peer` is None, the first one is the caller's routing id."""
    at_ns: int


def check_peer_endpoint(peer: str, endpoint: str) -> None:
    """TransportError if `endpoint` is no `tcp://host:port` that can be connected to."""
    match = _ENDPOINT_FORM.fullmatch(endpoint)
    if not match or not match[2].isdigit() or not 0 < int(match[2]) < 2**16:
        raise TransportError(endpoint, f"is not an address of {peer}, write tcp://HOST:PORT")
    if match[1] in WILDCARD_HOSTS:
        raise TransportError(endpoint, f"says where {peer} listens, not where it can be reached; advertise a host")


class TensorSockets:
    """The sockets of one node; the thread that made it may hand it over to another one, once."""

    def __init__(self, node: str, listen: str) -> None:
        """Listen on `tcp://host:port`; TransportError if that is not an address or cannot be listened on."""
        match = _ENDPOINT_FORM.fullmatch(listen)
        if not match:
            raise TransportError(listen, "is not an address to listen on, write tcp://HOST:PORT")
        # Each socket has a routing id of its own, so that two agents of one name, or two lives of one, never clash.
        self._identities = (f"{node}/{secrets.token_hex(8)}{number:x}" for number in itertools.count())
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that reconnects takes its own old place
        self._router.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
        self._router.setsockopt(zmq.RCVHWM, 128)
        _set_options(self._router, ipv6=match[1].startswith(("[", "*")))
        try:
            self._router.bind(listen)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise TransportError(listen, f"cannot listen for tensors there: {error.strerror}") from None
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where this node listens, with the port that was taken."""
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        self.sent_bytes = self.received_bytes = 0
        self.dropped = 0
        """How many messages found their connection's queue full."""

    def wake(self) -> None:
        """Let the `receive` that another thread waits in return; not to be called after `close`."""
        os.eventfd_write(self._wake, 1)

    def open(self, peer: str, endpoint: str) -> None:
        """Connect to `peer`, in place of an earlier connection to it; ZeroMQ tries until the peer is there."""
        self.shut(peer)
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, next(self._identities).encode())
        dealer.setsockopt(zmq.MAXMSGSIZE, _MAX_REPLY_BYTES)
        dealer.setsockopt(zmq.RECONNECT_IVL, 100)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
        _set_options(dealer, ipv6=True)
        try:
            dealer.connect(endpoint)
        except zmq.ZMQError as error:
            log.warning("cannot connect to %s at %s: %s", peer, endpoint, error.strerror)
            dealer.close(linger=0)
            return
        self._dealers[peer] = dealer
        self._poller.register(dealer, zmq.POLLIN)

    def shut(self, peer: str) -> None:
        """Drop the connection to `peer` and what is queued on it."""
        dealer = self._dealers.pop(peer, None)
        if dealer is not None:
            self._poller.unregister(dealer)
            dealer.close(linger=0)

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Queue a message to `peer`; without a connection, or with a full queue, it is counted as dropped."""
        dealer = self._dealers.get(peer)
        if dealer is None:
            self.dropped += 1
        else:
            self._transmit(dealer, frames)

    def reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Answer the caller with this routing id; nothing happens if it has gone."""
        self._transmit(self._router, [identity, *frames])

    def receive(self, timeout_ms: int) -> Iterator[Arrived]:
        """What has come in, after waiting for it `timeout_ms` at most; each message is stamped as it is taken."""
        names = {dealer: name for name, dealer in self._dealers.items()}
        for socket, _ in self._poller.poll(timeout_ms):
            if socket == self._wake:
                os.eventfd_read(self._wake)
                continue
            # One busy socket must not starve the others.
            for _ in range(_RECEIVED_PER_TURN):
                try:
                    received = socket.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                at_ns = time.monotonic_ns()
                self.received_bytes += sum(map(len, received))
                yield Arrived(names.get(socket), [frame.buffer for frame in received], at_ns)

    def close(self) -> None:
        """Close every socket; what is queued is dropped."""
        self._context.destroy(linger=0)
        os.close(self._wake)

    def _transmit(self, socket: "zmq.Socket[bytes]", frames: Sequence[Frame]) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.dropped += 1
        else:
            self.sent_bytes += sum(map(len, frames))


def _set_options(socket: "zmq.Socket[bytes]", *, ipv6: bool) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, ipv6)
    # ZeroMQ's own heartbeats would take a thin line with a large frame on it for dead; `edge_agent.lines` knows better.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
