"""A small HTTP server for /metrics, /healthz and /readyz: one thread, and bounds on who asks, how much and how long.

What the pages say is told by whoever opens it; a node of the edge has no web stack.
"""

import contextlib
import hmac
import ipaddress
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.configuration import MetricsSettings
from edge_agent.errors import MetricsError

MAX_CONNECTIONS: Final = 32
MAX_HEAD_BYTES: Final = 8_192
MAX_TOKEN_BYTES: Final = 1_000
PATIENCE_S: Final = 5.0
"""From the connection until its answer has been taken."""
OUT_OF_DESCRIPTORS_S: Final = 0.1
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_EXTRA: Final = {401: "WWW-Authenticate: Bearer\r\n", 405: "Allow: GET, HEAD\r\n"}
_END = b"\r\n\r\n"

log = logging.getLogger("splitrail.agent")


@dataclass(frozen=True, slots=True)
class Pages:
    """What is served; each is asked on the server's thread."""

    metrics: Callable[[], bytes]
    metrics_type: str
    """The content type of the metrics."""
    standstill: Callable[[], str | None]
    """Why the agent has to be started again, in one sentence; None while it runs."""
    unreadiness: Callable[[], str | None]
    """Why the agent cannot do its work now, in one sentence; None while it can."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


def answer(head: bytes, pages: Pages, token: str | None) -> bytes:
    """The whole HTTP answer to a request's head; where there is a `token`, /metrics wants it."""
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    path, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        return _encoded(_Answer(400, b"this is no HTTP request\n"), with_body=True)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    made = _answer(method, path.partition("?")[0], headers, pages, token)
    return _encoded(made, with_body=method != "HEAD")


def _answer(method: str, path: str, headers: list[tuple[str, str]], pages: Pages, token: str | None) -> _Answer:
    if method not in ("GET", "HEAD"):
        return _Answer(405, b"only GET and HEAD are answered\n")
    match path:
        case "/healthz":
            return _ok_unless(pages.standstill())
        case "/readyz":
            return _ok_unless(pages.unreadiness())
        case "/metrics" if token is not None and not _bears(headers, token):
            return _Answer(401, b"this agent wants its token: `Authorization: Bearer TOKEN`\n")
        case "/metrics":
            return _Answer(200, pages.metrics(), pages.metrics_type)
        case _:
            return _Answer(404, b"there is /metrics, /healthz and /readyz\n")


def _ok_unless(reason: str | None) -> _Answer:
    return _Answer(200, b"ok\n") if reason is None else _Answer(503, f"{reason}\n".encode())


def _bears(headers: list[tuple[str, str]], token: str) -> bool:
    given = [value for name, value in headers if name == "authorization"]
    if len(given) != 1:
        return False
    scheme, _, shown = given[0].partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())


def _encoded(made: _Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {made.status} {_REASONS[made.status]}\r\nContent-Type: {made.kind}\r\n"
        f"Content-Length: {len(made.body)}\r\n{_EXTRA.get(made.status, '')}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (made.body if with_body else b"")


@dataclass(slots=True)
class _Client:
    """A connection: what has come of its request, and what it has not taken yet of its answer."""

    socket: socket.socket
    until_s: float
    head: bytearray = field(default_factory=bytearray)
    unsent: bytes | None = None


class MetricsServer:
    """Serves `pages` until `close`; MetricsError where it may not or cannot listen, or has no token to ask for.

    A connection is for one request. Of too many connections the oldest is hung up on.
    """

    def __init__(self, settings: MetricsSettings, pages: Pages) -> None:
        self._host = settings.host
        self._token_file = settings.token_file
        self._pages = pages
        self._token()
        self._listening = _listening_socket(settings.host, settings.port or 0)
        if self._token_file is None and not ipaddress.ip_address(self._listening.getsockname()[0]).is_loopback:
            self._listening.close()
            raise MetricsError(
                f"metrics.host {settings.host} serves more than this machine: give metrics.token_file, "
                "or keep it on 127.0.0.1"
            )
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL on this machine, with the port that was taken."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Stop serving and wait for the thread's end."""
        self._wake_sender.send(b"\0")
        self._thread.join()
        for each in (self._wake_sender, self._wake_receiver, self._listening):
            each.close()
        self._selector.close()

    def _run(self) -> None:
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(self._patience_s()):
                if key.fileobj is self._wake_receiver:
                    for client in list(self._clients.values()):
                        self._hang_up(client)
                    return
                if key.fileobj is self._listening:
                    self._accept()
                elif key.fd in self._clients:
                    self._attend(self._clients[key.fd])
            now_s = time.monotonic()
            for client in [each for each in self._clients.values() if each.until_s <= now_s]:
                self._hang_up(client)

    def _patience_s(self) -> float | None:
        """Until the next client's time is over; they stand in the order in which they came."""
        oldest = next(iter(self._clients.values()), None)
        return None if oldest is None else max(0.0, oldest.until_s - time.monotonic())

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except OSError:
            # It has gone already; or there are no descriptors left, and to be asked again at once would help nobody.
            time.sleep(OUT_OF_DESCRIPTORS_S)
            return
        accepted.setblocking(False)
        if len(self._clients) >= MAX_CONNECTIONS:
            self._hang_up(next(iter(self._clients.values())))
        self._clients[accepted.fileno()] = _Client(accepted, time.monotonic() + PATIENCE_S)
        self._selector.register(accepted, selectors.EVENT_READ)

    def _attend(self, client: _Client) -> None:
        try:
            if client.unsent:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            return
        except OSError:
            self._hang_up(client)

    def _receive(self, client: _Client) -> None:
        received = client.socket.recv(4_096)
        if not received:
            self._hang_up(client)
            return
        if client.unsent is not None:
            return  # it was answered; what still comes is thrown away, or it would lose the answer
        client.head += received
        head, end, _ = client.head.partition(_END)
        if end:
            client.unsent = self._answered(bytes(head))
        elif len(client.head) > MAX_HEAD_BYTES:
            client.unsent = _encoded(_Answer(431, b"this request is too long\n"), with_body=True)
        if client.unsent:
            self._selector.modify(client.socket, selectors.EVENT_WRITE)

    def _send(self, client: _Client) -> None:
        assert client.unsent is not None  # it is attended to only then
        client.unsent = client.unsent[client.socket.send(client.unsent) :]
        if not client.unsent:
            client.socket.shutdown(socket.SHUT_WR)
            self._selector.modify(client.socket, selectors.EVENT_READ)

    def _answered(self, head: bytes) -> bytes:
        try:
            return answer(head, self._pages, self._token())
        except MetricsError as error:
            return _encoded(_Answer(503, f"{error}\n".encode()), with_body=True)
        except Exception:
            # A fault in one figure must not end the thread that says whether the agent lives.
            log.exception("the metrics cannot be told")
            return _encoded(_Answer(500, b"the metrics cannot be told: see the agent's log\n"), with_body=True)

    def _hang_up(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        self._selector.unregister(client.socket)
        client.socket.close()

    def _token(self) -> str | None:
        """The token as the file holds it now, so that a renewal needs no restart."""
        return None if self._token_file is None else _read_token(self._token_file)


def _read_token(path: Path) -> str:
    try:
        with path.expanduser().open("rb") as file:
            first = file.readline(MAX_TOKEN_BYTES + 1).decode("ascii", "replace").strip()
    except OSError as error:
        raise MetricsError(f"metrics.token_file {path} cannot be read: {error.strerror or error}") from None
    if not first or len(first) > MAX_TOKEN_BYTES or not first.isascii():
        raise MetricsError(f"metrics.token_file {path} has no token in its first line: write one of letters and digits")
    return first


def _listening_socket(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(MAX_CONNECTIONS)
            listening.setblocking(False)
            undo.pop_all()
            return listening
    except OSError as error:
        raise MetricsError(
            f"cannot serve metrics on {host}:{port}: {error.strerror or error}; choose another `metrics.host` or "
            "`metrics.port`"
        ) from None
