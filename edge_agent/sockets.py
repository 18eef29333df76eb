"""A node's TCP connections: it listens, and serves those that come, and those that it makes, by a few threads.

What the messages mean is `edge_agent.transport`'s; peers are called by `edge_agent.dialling`.
"""

import logging
import os
import select
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from edge_agent import tcp
from edge_agent.admission import Admission
from edge_agent.complaints import Complaints
from edge_agent.connection import Connection, Phase
from edge_agent.connections import Connections
from edge_agent.dialling import Dialler
from edge_agent.endpoints import check_listening_endpoint, listening_socket
from edge_agent.errors import WireError
from edge_agent.handshakes import Handshakes
from edge_agent.keys import NodeKey
from edge_agent.opening import Opening
from edge_agent.ways import Incoming
from edge_agent.wire import WireMessage

log = logging.getLogger("splitrail.transport")

THREADS: Final = 2
ATTEND_S: Final = 0.25

_TAKEN_PER_TURN: Final = 64
_BACKLOG: Final = 128


class TensorSockets:
    """The connections of one node, and the threads that serve them from `start` on.

    A peer that sends faster than it is served is slowed down by TCP. A thread that takes a message may keep it, and
    compute, once `may_stay` let it.
    """

    def __init__(self, node: str, listen: str, key: NodeKey | None, admission: Admission) -> None:
        """Listen on `tcp://host:port`, to holders of certificates that are admitted, or to all if `key` is None.

        TransportError if that is not an address, cannot be listened on, or is open to more than this machine.
        """
        check_listening_endpoint(listen, is_open=key is None)
        self._listener, self.endpoint = listening_socket(listen, _BACKLOG)
        """Where this node listens, with the port that was taken."""
        self._poll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake, select.EPOLLIN)
        self._poll.register(self._listener, select.EPOLLIN | select.EPOLLONESHOT)
        self._connections = Connections()
        self.dialler = Dialler(self._poll, self._connections, self._attend_by)
        """The way to peers."""
        handshakes = Handshakes(key, admission) if key is not None else None
        self._opening = Opening(node, admission, handshakes, self._connections, self.dialler)
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
        self._complaints = Complaints()
        self.malformed = 0
        """How many connections were ended because what came on them was no message of ours."""

    @property
    def cut(self) -> int:
        """How many connections were cut, for their bounds, for what came on them, or for who spoke there."""
        return self._connections.cut

    @property
    def refused(self) -> int:
        """How many of them for who spoke there."""
        return self._opening.refused

    @property
    def passed(self) -> tuple[int, int, int]:
        """The bytes that were sent and received, and the messages that were dropped for want of room."""
        passed = self._connections.passed
        return passed.sent_bytes, passed.received_bytes, passed.dropped + self.dialler.dropped

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
        self.dialler.close()
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
            self.dialler.lost(connection)
        except OSError:
            self.dialler.lost(connection)
        except Exception:
            # One faulty connection must not end the thread that serves them all.
            log.exception("a connection failed")
            self.dialler.lost(connection)
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
            self._opening.made(connection)
        if connection.phase is Phase.SECURING and not self._opening.is_secured(connection, self._incoming):
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
                self._opening.hear(connection, message)
            elif not self._incoming.take(connection, connection.speaker, message, at_ns):
                raise WireError(f"a {type(message).__name__} is nothing that a caller says")
        elif connection.phase is not Phase.OPEN:
            self._opening.welcomed(connection, message)
        elif not self._incoming.take_reply(connection.peer, message, at_ns):
            raise WireError(f"a {type(message).__name__} is no reply")

    def _accept(self) -> None:
        try:
            while True:
                accepted, _ = self._listener.accept()
                connection = Connection(accepted, self._poll, peer=None)
                self._connections.opened(connection)
                try:
                    tcp.set_up(accepted)
                    self._opening.secure(connection)
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

    def _complain(self, connection: Connection, error: WireError) -> None:
        who = connection.peer or connection.speaker or "a stranger"
        with self._lock:
            self.malformed += 1
        if self._complaints.is_news(who):
            log.warning("cut a connection with %s: %s", who, error)

    # --- now and then

    def _attend_by(self, due_s: float) -> None:
        self._attend_at_s = min(self._attend_at_s, due_s)

    def _attend(self, now_s: float) -> None:
        if not self._attending.acquire(blocking=False):
            return
        try:
            self._attend_at_s = now_s + ATTEND_S
            for connection in self._connections.overdue(now_s):
                self.dialler.lost(connection)
            self.dialler.attend()
            if self._is_deaf:
                self._is_deaf = False
                self._accept()
            self._incoming.attend()
        except Exception:
            # What fails for one peer must not end the thread that serves them all.
            log.exception("the connections could not be looked after")
        finally:
            self._attending.release()
