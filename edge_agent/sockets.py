"""TCP, the way of a node's tensors: it listens, calls each peer, and serves all connections by a few threads.

What the messages mean is `edge_agent.transport`'s; what is known of a peer that is called, `edge_agent.dialling`'s.
"""

import errno
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from socket import socket as new_socket
from typing import Final

from edge_agent import tcp
from edge_agent.admission import Admission
from edge_agent.channels import SecureChannel
from edge_agent.connection import Connection, Phase
from edge_agent.connections import Connections
from edge_agent.dialling import Address, Dialled, resolved
from edge_agent.endpoints import check_listening_endpoint, listening_socket
from edge_agent.errors import WireError
from edge_agent.handshakes import Handshakes
from edge_agent.keys import NodeKey
from edge_agent.stream import REPLY_BUFFER_BYTES, MessageReader
from edge_agent.ways import Incoming
from edge_agent.wire import Hello, Welcome, WireMessage
from edge_agent.wire_tensors import Frame

log = logging.getLogger("splitrail.transport")

THREADS: Final = 2
ATTEND_S: Final = 0.25
MAX_COMPLAINTS: Final = 100

_TAKEN_PER_TURN: Final = 64
_BACKLOG: Final = 128


class TensorSockets:
    """The connections of one node, and the threads that serve them from `start` on.

    What waits to be sent is bounded: what finds its place full is dropped, and counted. A peer that sends faster than
    it is served is slowed down by TCP. A thread that takes a message may keep it, and compute, once `may_stay` let it.
    """

    def __init__(self, node: str, listen: str, key: NodeKey | None, admission: Admission) -> None:
        """Listen on `tcp://host:port`, to holders of certificates that are admitted, or to all if `key` is None.

        TransportError if that is not an address, cannot be listened on, or is open to more than this machine.
        """
        check_listening_endpoint(listen, is_open=key is None)
        self._node, self._admission = node, admission
        self._handshakes = Handshakes(key, admission) if key is not None else None
        self._listener, self.endpoint = listening_socket(listen, _BACKLOG)
        """Where this node listens, with the port that was taken."""
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        self._poll.register(self._listener, select.EPOLLIN | select.EPOLLONESHOT)
        self._dialled: dict[str, Dialled] = {}
        self._connections = Connections()
        self._handed_over: deque[Connection] = deque()
        self._incoming: Incoming
        self._threads: list[threading.Thread] = []
        self._serving = threading.local()
        self._lock = threading.Lock()
        self._lent = 0
        self._closing = False
        self._is_deaf = False
        self._attend_at_s = time.monotonic() + ATTEND_S
        self._attending = threading.Lock()
        self._complained: set[str] = set()
        self.malformed = self.refused = 0
        self._dropped = 0

    @property
    def cut(self) -> int:
        """How many connections were cut, for their bounds, for what came on them, or for who spoke there."""
        return self._connections.cut

    @property
    def passed(self) -> tuple[int, int, int]:
        """The bytes that were sent and received, and the messages that were dropped for want of room."""
        passed = self._connections.passed
        return passed.sent_bytes, passed.received_bytes, passed.dropped + self._dropped

    def start(self, incoming: Incoming) -> None:
        """Serve from now on; call once."""
        self._incoming = incoming
        self._threads = [
            threading.Thread(target=self._run, name=f"tensor-transport-{number}", daemon=True)
            for number in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close every connection and end the threads; what waits is dropped. Not to be called by one of them."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join()
        for dialled in self._dialled.values():
            dialled.forget()
        self._connections.close()
        self._listener.close()
        self._poll.close()
        os.close(self._wake)

    @property
    def serving(self) -> Connection | None:
        """The connection from which the calling thread has taken a message that it has not done with."""
        connection: Connection | None = getattr(self._serving, "connection", None)
        return connection

    def may_stay(self) -> bool:
        """Whether the calling thread, which took a message, may compute before it returns: another one serves.

        From then on that one may take the next message of the same peer. False on any other thread than these, and
        where too many have stayed already: then what takes long has to be done elsewhere.
        """
        serving = self._serving
        connection = self.serving
        if connection is None:
            return getattr(serving, "is_lent", False)
        with self._lock:
            if self._lent >= THREADS - 1:
                return False
            self._lent += 1
        serving.connection, serving.is_lent = None, True
        self._hand_over(connection)
        return True

    # --- the way, for any thread

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
                self._dropped += 1

    # --- on the threads that serve

    def _run(self) -> None:
        serving = self._serving
        serving.connection, serving.is_lent = None, False
        poll, connections = self._poll, self._connections
        while not self._closing:
            now_s = time.monotonic()
            if now_s >= self._attend_at_s:
                self._attend(now_s)
                continue
            # Another thread may have put it forward meanwhile; less than nothing would be without end.
            for descriptor, events in poll.poll(max(self._attend_at_s - now_s, 0.0), 1):
                connection = connections.get(descriptor)
                if connection is not None:
                    self._serve(connection, events)
                elif descriptor == self._wake:
                    self._take_over()
                elif descriptor == self._listener.fileno():
                    self._accept()

    def _take_over(self) -> None:
        """Go on with a connection that another thread left though there is more to be taken on it."""
        if self._closing:
            return  # the other threads have to be woken too
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        with suppress(IndexError):
            self._serve(self._handed_over.popleft(), 0)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            connection.flush()
        if not connection.claim():
            return
        self._serving.connection = connection
        has_more = False
        try:
            has_more = self._go_on(connection)
        except WireError as error:
            self._complain(connection, error)
            self._connections.refuse(connection)
            self._lost(connection)
        except OSError:
            self._lost(connection)
        except Exception:
            # One faulty connection must not end the thread that serves them all.
            log.exception("a connection failed")
            self._lost(connection)
        if self._serving.is_lent:
            self._serving.is_lent = False
            with self._lock:
                self._lent -= 1
            return
        self._serving.connection = None
        if has_more:
            self._hand_over(connection)
        else:
            connection.release()

    def _go_on(self, connection: Connection) -> bool:
        """Do what can be done on it now; whether there is more than one turn's."""
        if connection.phase is Phase.CONNECTING:
            self._connected(connection)
        if connection.phase is Phase.SECURING and not self._is_secured(connection):
            return False
        reader, channel, serving = connection.reader, connection.channel, self._serving
        if reader is None:
            return False
        for _ in range(_TAKEN_PER_TURN):
            message = reader.take(channel.fill)
            if message is None:
                connection.expect(reader.missing_bytes)
                return False
            connection.expect(0)
            self._take(connection, message)
            if serving.is_lent or connection.is_over:
                return False
            if reader.is_drained and not channel.has_pending:
                return False
        return True

    def _take(self, connection: Connection, message: WireMessage) -> None:
        at_ns = time.monotonic_ns()
        if connection.peer is None:
            if connection.speaker is None:
                self._hear(connection, message)
            elif not self._incoming.take(connection, connection.speaker, message, at_ns):
                raise WireError(f"a {type(message).__name__} is nothing that a caller says")
        elif connection.phase is not Phase.OPEN:
            dialled = self._dialled.get(connection.peer)
            if not isinstance(message, Welcome):
                raise WireError(f"a {type(message).__name__} in place of a welcome")
            connection.phase = Phase.OPEN
            if dialled is not None:
                dialled.welcomed(connection)
        elif not self._incoming.take_reply(connection.peer, message, at_ns):
            raise WireError(f"a {type(message).__name__} is no reply")

    def _hear(self, connection: Connection, message: WireMessage) -> None:
        if not isinstance(message, Hello):
            raise WireError(f"a {type(message).__name__} before any hello")
        connection.speaker = message.node  # before it is judged: from here on it may be dismissed
        if not self._admission.may_speak(message.node, connection.channel.certificate()):
            with self._lock:
                self.refused += 1
            self._connections.refuse(connection)
            return
        connection.phase = Phase.OPEN
        connection.reply(Welcome())

    def _connected(self, connection: Connection) -> None:
        number = connection.channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        connection.await_room(False)
        self._secure(connection)
        dialled = self._dialled.get(connection.peer or "")
        if dialled is not None:
            dialled.connected(connection)

    def _secure(self, connection: Connection) -> None:
        """The other end is there: shake hands with it, if tensors are secret here."""
        connection.begin(Phase.SECURING)
        if self._handshakes is not None:
            is_called = connection.peer is None
            secured = self._handshakes.context(is_called=is_called).wrap_socket(
                connection.channel.socket,
                server_side=is_called,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            connection.channel = SecureChannel(secured)

    def _is_secured(self, connection: Connection) -> bool:
        step = connection.channel.handshake()
        connection.await_room(step == "writes")
        if step != "done":
            return False
        if connection.peer is not None:
            if not self._admission.may_speak(connection.peer, connection.channel.certificate()):
                raise ConnectionRefusedError("another holds the address of this peer")
            connection.reader = MessageReader(None, lambda _: None, REPLY_BUFFER_BYTES)
            connection.begin(Phase.GREETING)
            connection.reply(Hello(self._node))
        else:
            connection.reader = MessageReader(self._incoming, lambda size: self._connections.reserve(connection, size))
            connection.begin(Phase.GREETING)
        return True

    def _accept(self) -> None:
        try:
            while True:
                accepted, _ = self._listener.accept()
                connection = Connection(accepted, self._poll, peer=None)
                self._connections.opened(connection)
                try:
                    tcp.set_up(accepted)
                    self._secure(connection)
                except OSError:
                    self._connections.ended(connection)  # it has gone already
                connection.watch()
        except BlockingIOError:
            self._poll.modify(self._listener, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError as error:
            # Most likely there are no descriptors left: those who call are let in when the next look comes.
            log.warning("cannot let in who calls at %s: %s", self.endpoint, error.strerror)
            self._is_deaf = True

    def _hand_over(self, connection: Connection) -> None:
        """Let any thread read it; what is here already is told of, as the poll knows nothing of that."""
        reader = connection.reader
        has_more = reader is not None and (reader.has_buffered or connection.channel.has_pending)
        connection.release()
        if has_more:
            self._handed_over.append(connection)
            os.eventfd_write(self._wake, 1)

    def _lost(self, connection: Connection) -> None:
        unsent = self._connections.ended(connection)
        dialled = self._dialled.get(connection.peer) if connection.peer is not None else None
        if dialled is not None:
            due_s = dialled.lost(connection, unsent, time.monotonic())
            if due_s is not None:
                self._attend_at_s = min(self._attend_at_s, due_s)

    def _complain(self, connection: Connection, error: WireError) -> None:
        """Once of each node, and of so many: a log is not to be filled from outside."""
        who = connection.peer or connection.speaker or "a stranger"
        with self._lock:
            self.malformed += 1
            is_new = who not in self._complained and len(self._complained) < MAX_COMPLAINTS
            if is_new:
                self._complained.add(who)
        if is_new:
            log.warning("cut a connection with %s: %s", who, error)

    # --- peers that are called

    def _attend(self, now_s: float) -> None:
        if not self._attending.acquire(blocking=False):
            return
        try:
            self._attend_at_s = now_s + ATTEND_S
            for connection in self._connections.overdue(now_s):
                self._lost(connection)
            for dialled in self._dialled.values():
                self._dial(dialled)
            if self._is_deaf:
                self._is_deaf = False
                self._accept()
            self._incoming.attend()
        except Exception:
            # What fails for one peer must not end the thread that serves them all.
            log.exception("the connections could not be looked after")
        finally:
            self._attending.release()

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
        if self._closing or calling.connect_ex(address[1]) not in (0, errno.EINPROGRESS):
            self._lost(connection)
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
