"""Requests to the coordinator's HTTP interface, with its tokens: as the server's parser hands them on."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratch_file import written
from starlette.types import ASGIApp

from coordinator.errors import TokensError
from coordinator.http_server import application
from coordinator.http_tokens import Door, Tokens
from coordinator.status_report import StatusReport

SHA256 = "a" * 64
TOKEN = "secret"
MODEL = bytes(range(256)) * 8


def _status() -> StatusReport:
    raise AssertionError("nobody was let in to the status without a token")


def _metrics() -> bytes:
    raise AssertionError("nobody was let in to the metrics without a token")


def served() -> ASGIApp:
    """The application behind its door."""
    tokens = written("tokens", f"pi {hashlib.sha256(TOKEN.encode()).hexdigest()}\n".encode())
    model: Path = written("served.tflite", MODEL)
    return Door(
        application({SHA256: model}, _status, metrics=_metrics, standstill=lambda: None, unreadiness=lambda: None),
        Tokens(tokens),
    )


def run(data: bytes) -> None:
    """Read as a file of tokens; then as a request: method, path and headers, a line each."""
    try:
        Tokens(written("tokens-to-try", data))
    except TokensError as error:
        assert str(error).isprintable()
    first, *lines = data[:8_000].split(b"\n")
    method, _, path = first.partition(b" ")
    headers = [
        (name.strip().lower(), value.strip())
        for name, colon, value in (line.partition(b":") for line in lines)
        if colon
    ]
    path, _, query = path.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method.decode("latin-1") or "GET",
        "scheme": "http",
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8484),
    }
    status, body = asyncio.run(_answer(scope))
    assert 200 <= status < 500, status
    known = any(name == b"authorization" and TOKEN.encode() in value for name, value in headers)
    if status in (200, 206) and not known:
        assert path in (b"/healthz", b"/readyz")
    assert len(body) <= 2 * len(MODEL) + 1_000


async def _answer(scope: dict[str, Any]) -> tuple[int, bytes]:
    sent: list[Any] = []
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        return await asyncio.get_running_loop().create_future()  # it stays connected, and says no more

    async def send(message: Any) -> None:
        sent.append(message)

    await served()(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def seeds() -> Iterator[bytes]:
    """Whole models and ranges of them, with a token and without, and a file of tokens."""
    for path in (
        f"/models/{SHA256}",
        "/v1/status",
        "/metrics",
        "/healthz",
        "/readyz",
        "/models/../etc/passwd",
        "/models/%2e%2e/x?y=1",
    ):
        yield f"GET {path}".encode()
    for span in ("bytes=0-10", "bytes=5-", "bytes=-5", "bytes=0-1,3-4", "bytes=9999-", "x"):
        yield f"GET /models/{SHA256}\nAuthorization: Bearer {TOKEN}\nRange: {span}\nIf-Range: x".encode()
    yield f"pi {'b' * 64} # a token\n".encode()
