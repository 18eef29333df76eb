"""Speaks the tensor plane's wire over a plain or secured socket, without being a transport: as strangers would."""

import base64
import socket
import ssl

from edge_agent.keys import NodeKey
from edge_agent.wire import Hello, WireMessage, encode
from edge_agent.wire_reading import decode, read_prefix

PATIENCE_S = 30


def port_of(endpoint: str) -> int:
    """Of `tcp://host:port`."""
    return int(endpoint.rsplit(":", 1)[1])


def packed(message: WireMessage) -> bytes:
    """A message as it goes over the wire."""
    return b"".join(encode(message))


class WireSpeaker:
    """One end of a connection, which waits for what it sends and hears."""

    def __init__(self, connected: socket.socket) -> None:
        """Speak over this socket."""
        self.socket = connected
        self.socket.settimeout(PATIENCE_S)

    @classmethod
    def calling(cls, endpoint: str, key: NodeKey | None = None, server_key: str | None = None) -> "WireSpeaker":
        """Call a transport; with a key of its own, under TLS. OSError if the transport will not have it."""
        connected = socket.create_connection(("127.0.0.1", port_of(endpoint)), PATIENCE_S)
        if key is None or server_key is None:
            return cls(connected)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=base64.b64decode(server_key))
        key.show(context)
        return cls(context.wrap_socket(connected))

    def greet(self, node: str) -> None:
        """Say who this is, and wait for the welcome. OSError if there is none."""
        self.say(Hello(node))
        self.hear()

    def say(self, message: WireMessage) -> None:
        """Send a whole message."""
        self.socket.sendall(packed(message))

    def hear(self) -> WireMessage:
        """The next message; OSError at the end."""
        prefix = self._read(16)
        _, header_bytes, payload_bytes = read_prefix(prefix)
        return decode(prefix + self._read(header_bytes + payload_bytes))

    @property
    def is_cut(self) -> bool:
        """Whether the other end ends the connection, whatever it says before."""
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def __enter__(self) -> "WireSpeaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self.socket.recv(count - len(received))
            if not more:
                raise ConnectionResetError("the other end has closed the connection")
            received += more
        return received
