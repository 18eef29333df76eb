"""The HTTP interface, asked over a real socket."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventually import eventually

from coordinator.errors import ListenError
from coordinator.http_server import HttpServer, application
from coordinator.site import EMPTY
from coordinator.status_report import StatusReport, status_report

SHA256 = "ab" * 32
CONTENT = bytes(range(256)) * 1_000


def report() -> StatusReport:
    return status_report("lab", EMPTY, now=1.0, power=(), inferences={}, lost_telemetry=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    model = tmp_path / "model.tflite"
    model.write_bytes(CONTENT)
    before = set(threading.enumerate())
    serving = HttpServer("127.0.0.1", 0)
    serving.start(application({SHA256: model, "cd" * 32: tmp_path / "gone"}, report))
    yield serving
    serving.close()
    # The web stack's idle worker ends by itself, a moment after its loop.
    assert eventually(lambda: set(threading.enumerate()) <= before, 5.0)


def get(server: HttpServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_a_model_is_served_by_its_hash(server: HttpServer) -> None:
    """The whole file comes, with its length."""
    status, headers, body = get(server, f"/models/{SHA256}")
    assert (status, body) == (200, CONTENT)
    assert headers["content-length"] == str(len(CONTENT))


def test_a_download_can_be_resumed(server: HttpServer) -> None:
    """A range asks for the rest of the file, and gets it."""
    status, headers, body = get(server, f"/models/{SHA256}", Range="bytes=100000-")
    assert (status, body) == (206, CONTENT[100_000:])
    assert headers["content-range"] == f"bytes 100000-{len(CONTENT) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("wanted", ["ef" * 32, "cd" * 32, "..%2f..%2fetc%2fpasswd", "../../etc/passwd", ""])
def test_nothing_else_is_served(server: HttpServer, wanted: str) -> None:
    """An unknown hash, a file that vanished and a path out of the directory are all not found."""
    assert get(server, f"/models/{wanted}")[0] == 404


def test_the_status_is_json(server: HttpServer) -> None:
    """The report travels as one JSON object."""
    status, headers, body = get(server, "/v1/status")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["site"] == "lab"


def test_it_says_that_it_is_alive(server: HttpServer) -> None:
    """Whatever watches the coordinator asks /healthz."""
    assert get(server, "/healthz")[::2] == (200, b"ok\n")


def test_an_address_that_is_taken_is_an_error(server: HttpServer) -> None:
    """A second server on the port is refused with a sentence."""
    with pytest.raises(ListenError, match=rf"cannot serve HTTP on 127\.0\.0\.1:{server.port}: Address already in use"):
        HttpServer("127.0.0.1", server.port)


def test_a_server_that_never_started_lets_go_of_its_port() -> None:
    """Closing frees the address, so that a failed start leaves nothing behind."""
    idle = HttpServer("127.0.0.1", 0)
    port = idle.port
    idle.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_the_url_names_the_port_that_was_taken(server: HttpServer) -> None:
    """Port 0 takes a free one, and the URL tells which."""
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.port != 0
