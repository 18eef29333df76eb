"""The coordinator's HTTP interface: models by their sha256, the site's status, and whether it is alive.

What the status says is decided elsewhere; this only serves it.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from coordinator.errors import ListenError
from coordinator.status_report import StatusReport


def application(models: Mapping[str, Path], status: Callable[[], StatusReport]) -> Starlette:
    """The ASGI application that serves `models` (by sha256, with ranges) and `status` as JSON."""

    def model(request: Request) -> Response:
        path = models.get(request.path_params["sha256"])
        if path is None or not path.is_file():
            return PlainTextResponse("no model of this sha256 is served here\n", status_code=404)
        return FileResponse(path, media_type="application/octet-stream")

    def report(_request: Request) -> Response:
        return Response(msgspec.json.encode(status()), media_type="application/json")

    def alive(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/models/{sha256}", model), Route("/v1/status", report), Route("/healthz", alive)])


class HttpServer:
    """Serves an application in a thread of its own; ListenError where the address cannot be had."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = _listening_socket(host, port)
        self._host = host
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 was asked for."""
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """The base URL on this machine."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self, served: Starlette) -> None:
        """Serve until `close`."""
        config = uvicorn.Config(
            served,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._socket]}, name="splitrail-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread's end."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()


def _listening_socket(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
            undo.pop_all()
            return listening
    except OSError as error:
        raise ListenError(
            f"cannot serve HTTP on {host}:{port}: {error.strerror or error}; choose another `http.host` or `http.port`"
        ) from None
