"""How a connection is opened: it is made, both ends prove themselves, who called says who it is, and is welcomed.

What is said on it after that is `edge_agent.sockets`'; who is let in, `edge_agent.admission`'s to decide.
"""

import os
import socket
import threading

from edge_agent.admission import Admission
from edge_agent.channels import SecureChannel
from edge_agent.connection import Connection, Phase
from edge_agent.connections import Connections
from edge_agent.dialling import Dialler
from edge_agent.errors import WireError
from edge_agent.handshakes import Handshakes
from edge_agent.stream import REPLY_BUFFER_BYTES, MessageReader, TensorMemory
from edge_agent.wire import Hello, Welcome, WireMessage


class Opening:
    """The steps of it, each for the thread that has claimed the connection; OSError and WireError end that."""

    def __init__(
        self,
        node: str,
        admission: Admission,
        handshakes: Handshakes | None,
        connections: Connections,
        dialler: Dialler,
    ) -> None:
        """Speak as `node`; without `handshakes` nothing is secret."""
        self._node, self._admission, self._handshakes = node, admission, handshakes
        self._connections, self._dialler = connections, dialler
        self._lock = threading.Lock()
        self.refused = 0
        """How many said to be who they are not, or whom this node does not know."""

    def made(self, connection: Connection) -> None:
        """A peer that was called is there, or turns out not to be."""
        number = connection.channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        connection.await_room(False)
        self.secure(connection)
        self._dialler.connected(connection)

    def secure(self, connection: Connection) -> None:
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

    def is_secured(self, connection: Connection, memory: TensorMemory) -> bool:
        """Go on with the handshake; once it is done, messages are read, tensors of a caller into `memory`."""
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
            connection.reader = MessageReader(memory, lambda size: self._connections.reserve(connection, size))
            connection.begin(Phase.GREETING)
        return True

    def hear(self, connection: Connection, message: WireMessage) -> None:
        """Who called says who it is: it is welcomed, or cut."""
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

    def welcomed(self, connection: Connection, message: WireMessage) -> None:
        """The peer that was called answers the hello."""
        if not isinstance(message, Welcome):
            raise WireError(f"a {type(message).__name__} in place of a welcome")
        connection.phase = Phase.OPEN
        self._dialler.welcomed(connection)
