"""HTTP connections whose patience is bounded: with requests that do not come, and answers that nobody takes.

What is answered is the application's; how many connections there may be is said here too.
"""

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
MAX_HANDSHAKES = 256
"""So many more may be there before their TLS handshake has ended."""
MAX_HEAD_BYTES = 16_384
REQUEST_TIMEOUT_S = 10.0
"""From the connection, or from the answer before, until the head of a request has come."""
TAKING_TIMEOUT_S = 30.0
"""How long a client may take nothing of its answer."""
HANDSHAKE_TIMEOUT_S = 5.0


class BoundedListener(socket.socket):
    """A listening socket that hangs up on surplus clients: those whose handshake lasts are not the web server's yet."""

    def __init__(self, family: int, kind: int) -> None:
        super().__init__(family, kind)
        self._accepted: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """The next client; ConnectionAbortedError, which an event loop expects, for one too many."""
        client, address = super().accept()
        self._accepted = [each for each in self._accepted if each.fileno() >= 0]
        if len(self._accepted) >= MAX_CONNECTIONS + MAX_HANDSHAKES:
            client.close()
            raise ConnectionAbortedError
        self._accepted.append(client)
        return client, address


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers give up a TLS handshake in time, for which the web server has no setting."""

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        """As the loop's own."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = HANDSHAKE_TIMEOUT_S
        return await super().create_server(*arguments, **options)


class PatientConnection(H11Protocol):
    """Hangs up on whoever opens one connection too many, does not ask in time, or does not take what it asked for."""

    _hanging_up: asyncio.TimerHandle | None = None
    _is_surplus = False
    _untaken_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client has connected."""
        self._is_surplus = len(self.connections) >= MAX_CONNECTIONS
        super().connection_made(transport)
        if self._is_surplus:
            transport.abort()
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something of a request has come."""
        if self._is_surplus:
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """An answer has been handed over whole."""
        self._await_request()
        super().on_response_complete()
        # The next request may have come already.
        if not self.cycle.response_complete:
            self._stop_waiting()

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than it is read."""
        super().pause_writing()
        self._hang_up_after(TAKING_TIMEOUT_S)

    def resume_writing(self) -> None:
        """The client has taken what waited for it."""
        super().resume_writing()
        self._stop_waiting()

    def _await_request(self) -> None:
        self._hang_up_after(REQUEST_TIMEOUT_S)

    def _hang_up_after(self, patience_s: float) -> None:
        self._stop_waiting()
        self._untaken_bytes = self.transport.get_write_buffer_size()
        self._hanging_up = self.loop.call_later(patience_s, self._hang_up)

    def _hang_up(self) -> None:
        if 0 < self.transport.get_write_buffer_size() < self._untaken_bytes:
            # It takes its answer, if slowly.
            self._hang_up_after(TAKING_TIMEOUT_S)
        else:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()
            self._hanging_up = None
