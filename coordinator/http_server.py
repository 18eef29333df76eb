"""The coordinator's HTTP interface: models by their sha256, status and metrics, whether it is alive and ready.

What these say is decided elsewhere, who may ask by `coordinator.http_tokens`; this only serves it.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from coordinator.configuration import HttpSettings
from coordinator.errors import ListenError
from coordinator.http_connection import MAX_HEAD_BYTES, BoundedListener, PatientConnection, PatientLoop
from coordinator.http_tokens import Door, Tokens
from coordinator.status_report import StatusReport
from splitrail.metric_families import CONTENT_TYPE

log = logging.getLogger("splitrail.coordinator")


def application(
    models: Mapping[str, Path],
    status: Callable[[], StatusReport],
    *,
    metrics: Callable[[], bytes],
    standstill: Callable[[], str | None],
    unreadiness: Callable[[], str | None],
) -> Starlette:
    """The ASGI application that serves `models` (by sha256, with ranges), `status` as JSON, and `metrics` as they are.

    `standstill` says why the coordinator has to be started again, `unreadiness` why it cannot do its work now; None
    where neither is so.
    """

    def model(request: Request) -> Response:
        path = models.get(request.path_params["sha256"])
        if path is None or not path.is_file():
            return PlainTextResponse("no model of this sha256 is served here\n", status_code=404)
        return FileResponse(path, media_type="application/octet-stream")

    def report(_request: Request) -> Response:
        return Response(msgspec.json.encode(status()), media_type="application/json")

    def alive(_request: Request) -> Response:
        return _ok_unless(standstill())

    def measured(_request: Request) -> Response:
        return Response(metrics(), headers={"Content-Type": CONTENT_TYPE})

    def ready(_request: Request) -> Response:
        return _ok_unless(unreadiness())

    return Starlette(
        routes=[
            Route("/models/{sha256}", model),
            Route("/v1/status", report),
            Route("/metrics", measured),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ]
    )


def _ok_unless(reason: str | None) -> Response:
    return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", status_code=503)


class HttpServer:
    """Serves an application in a thread of its own.

    ListenError where the address cannot be had, may not be had without tokens, or its certificate cannot be used;
    TokensError where the tokens cannot be read.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._host = settings.host
        self._tokens = None if settings.tokens_file is None else Tokens(settings.tokens_file)
        self._tls = _tls_context(settings)
        self._socket = _listening_socket(settings.host, settings.port)
        if not ipaddress.ip_address(self._socket.getsockname()[0]).is_loopback:
            self._check_exposure()
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
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    def start(self, served: Starlette) -> None:
        """Serve until `close`."""
        config = uvicorn.Config(
            served if self._tokens is None else Door(served, self._tokens),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            http=PatientConnection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            ws="none",
            timeout_graceful_shutdown=1,
        )
        config.load()
        config.ssl = self._tls
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, args=(self._server,), name="splitrail-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread's end."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()

    def _check_exposure(self) -> None:
        """What serves others than this machine needs tokens, and TLS for them."""
        if self._tokens is None:
            self._socket.close()
            raise ListenError(
                f"http.host {self._host} serves more than this machine: give http.tokens_file "
                "(`splitrail site init` makes one) or keep it on 127.0.0.1"
            )
        if self._tls is None:
            log.warning(
                "http.host %s is served without TLS, and agents send their tokens over https alone: "
                "give http.certificate_file and http.key_file",
                self._host,
            )

    def _serve(self, server: uvicorn.Server) -> None:
        with asyncio.Runner(loop_factory=PatientLoop) as runner:
            runner.run(server.serve(sockets=[self._socket]))


def _tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    certificate, key = settings.certificate_file, settings.key_file
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ListenError("http.certificate_file and http.key_file go together: give both or neither")
    for name, path in (("http.certificate_file", certificate), ("http.key_file", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ListenError(f"{name} {path} cannot be read: {error.strerror or error}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key that asks for a password would make the library ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "they hold no PEM certificate and key"
        if reason == "KEY_VALUES_MISMATCH":
            reason = "the key is not this certificate's"
        raise ListenError(
            f"http.certificate_file {certificate} and http.key_file {key} cannot be used: {str(reason).lower()}"
        ) from None
    return context


def _listening_socket(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as undo:
            listening = undo.enter_context(BoundedListener(family, socket.SOCK_STREAM))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(128)
            undo.pop_all()
            return listening
    except OSError as error:
        raise ListenError(
            f"cannot serve HTTP on {host}:{port}: {error.strerror or error}; choose another `http.host` or `http.port`"
        ) from None
