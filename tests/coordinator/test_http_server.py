"""The HTTP interface, asked over a real socket."""

import contextlib
import hashlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from certificates_for_tests import write_certificate
from eventually import eventually

from coordinator import http_connection
from coordinator.configuration import HttpSettings
from coordinator.errors import ListenError, TokensError
from coordinator.http_server import HttpServer, application
from coordinator.http_tokens import Tokens
from coordinator.site import EMPTY
from coordinator.status_report import StatusReport, status_report

pytestmark = pytest.mark.usefixtures("nothing_left")

SHA256 = "ab" * 32
CONTENT = bytes(range(256)) * 1_000
LARGE_SHA256 = "ef" * 32
LARGE_BYTES = 64_000_000

Serve = Callable[[HttpSettings], HttpServer]


def report() -> StatusReport:
    return status_report("lab", EMPTY, now=1.0, power=(), inferences={}, lost_telemetry=0)


@pytest.fixture
def obstacles() -> list[str | None]:
    """Why the coordinator cannot do its work; the last one counts."""
    return [None]


@pytest.fixture
def standstills() -> list[str | None]:
    """Why the coordinator has to be started again; the last one counts."""
    return [None]


@pytest.fixture
def serve(tmp_path: Path, obstacles: list[str | None], standstills: list[str | None]) -> Iterator[Serve]:
    model, large = tmp_path / "model.tflite", tmp_path / "large.tflite"
    model.write_bytes(CONTENT)
    with large.open("wb") as sparse:
        sparse.truncate(LARGE_BYTES)
    before = set(threading.enumerate())
    serving: list[HttpServer] = []

    def start(settings: HttpSettings) -> HttpServer:
        server = HttpServer(settings)
        serving.append(server)
        models = {SHA256: model, LARGE_SHA256: large, "cd" * 32: tmp_path / "gone"}
        served = application(
            models,
            report,
            metrics=lambda: b"up 1\n",
            standstill=lambda: standstills[-1],
            unreadiness=lambda: obstacles[-1],
        )
        server.start(served)
        return server

    yield start
    for server in serving:
        server.close()
    # The web stack's idle worker ends by itself, a moment after its loop.
    assert eventually(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def server(serve: Serve) -> HttpServer:
    return serve(HttpSettings(port=0))


def get(server: HttpServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def tokens_file(path: Path, **tokens: str) -> Path:
    written = path.with_suffix(".written")
    lines = [f"{name} {digest(token)}" for name, token in tokens.items()]
    written.write_text("\n".join(["# who may ask", *lines, ""]))
    written.replace(path)
    return path


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


@pytest.mark.parametrize("wanted", ["00" * 32, "cd" * 32, "..%2f..%2fetc%2fpasswd", "../../etc/passwd", ""])
def test_nothing_else_is_served(server: HttpServer, wanted: str) -> None:
    """An unknown hash, a file that vanished and a path out of the directory are all not found."""
    assert get(server, f"/models/{wanted}")[0] == 404


def test_the_status_is_json(server: HttpServer) -> None:
    """The report travels as one JSON object."""
    status, headers, body = get(server, "/v1/status")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["site"] == "lab"


def test_the_metrics_are_in_prometheus_form(server: HttpServer) -> None:
    """As text, of the type that Prometheus asks for."""
    status, headers, body = get(server, "/metrics")
    assert (status, body) == (200, b"up 1\n")
    assert headers["content-type"].startswith("text/plain; version=")


def test_it_says_whether_it_is_ready_and_why_not(server: HttpServer, obstacles: list[str | None]) -> None:
    """503 with one line, as whoever restarts or balances expects."""
    assert get(server, "/readyz")[::2] == (200, b"ok\n")
    obstacles.append("the MQTT broker is away")
    assert get(server, "/readyz")[::2] == (503, b"the MQTT broker is away\n")
    assert get(server, "/healthz")[0] == 200


def test_it_says_whether_it_is_alive(server: HttpServer, standstills: list[str | None]) -> None:
    """Whatever would start the coordinator again asks /healthz."""
    assert get(server, "/healthz")[::2] == (200, b"ok\n")
    standstills.append("the coordinator has stood still for 61 s")
    assert get(server, "/healthz")[::2] == (503, b"the coordinator has stood still for 61 s\n")


def test_an_address_that_is_taken_is_an_error(server: HttpServer) -> None:
    """A second server on the port is refused with a sentence."""
    with pytest.raises(ListenError, match=rf"cannot serve HTTP on 127\.0\.0\.1:{server.port}: Address already in use"):
        HttpServer(HttpSettings(port=server.port))


def test_a_server_that_never_started_lets_go_of_its_port() -> None:
    """Closing frees the address, so that a failed start leaves nothing behind."""
    idle = HttpServer(HttpSettings(port=0))
    port = idle.port
    idle.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_the_url_names_the_port_that_was_taken(server: HttpServer) -> None:
    """Port 0 takes a free one, and the URL tells which."""
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.port != 0


# --- tokens


@pytest.mark.parametrize("path", ["/v1/status", "/metrics", f"/models/{SHA256}", "/anything"])
def test_without_a_known_token_nothing_is_told(serve: Serve, tmp_path: Path, path: str) -> None:
    """No token, a wrong one, another scheme and two headers are refused with a line; what a supervisor asks is open."""
    server = serve(HttpSettings(port=0, tokens_file=tokens_file(tmp_path / "tokens", pi="secret")))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": ""}):
        status, answered, body = get(server, path, **headers)
        assert (status, answered["www-authenticate"], body.count(b"\n")) == (401, "Bearer", 1)
    assert [get(server, asked)[0] for asked in ("/healthz", "/readyz")] == [200, 200]


def test_a_known_token_opens_the_door(serve: Serve, tmp_path: Path) -> None:
    """Each name has a token of its own."""
    server = serve(HttpSettings(port=0, tokens_file=tokens_file(tmp_path / "tokens", pi="one", laptop="two")))
    for token in ("one", "two"):
        assert get(server, f"/models/{SHA256}", Authorization=f"Bearer {token}")[2] == CONTENT


def test_a_token_that_is_taken_away_opens_no_more(tmp_path: Path) -> None:
    """The file is read anew when it has changed, at most once a second; a broken one lets nobody in."""
    now = 100.0
    path = tokens_file(tmp_path / "tokens", pi="one", laptop="two")
    tokens = Tokens(path, lambda: now)
    assert (tokens.holder("one"), tokens.holder("two"), tokens.holder("three")) == ("pi", "laptop", None)
    tokens_file(path, laptop="two")
    now += 1.0
    assert (tokens.holder("one"), tokens.holder("two")) == (None, "laptop")
    path.write_text("laptop\n")
    now += 1.0
    assert tokens.holder("two") is None
    path.unlink()
    now += 1.0
    assert tokens.holder("two") is None
    tokens_file(path, pi="one")
    now += 1.0
    assert tokens.holder("one") == "pi"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (f"pi {digest('one')}\nlaptop\n", r"tokens:2: not a token's line"),
        (f"pi {digest('one')[:-1]}\n", r"tokens:1: not a token's line"),
        (None, r"tokens cannot be read: No such file"),
    ],
)
def test_a_file_that_holds_no_tokens_is_an_error(tmp_path: Path, content: str | None, sentence: str) -> None:
    """The coordinator does not start with it, and says which line is wrong."""
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokensError, match=sentence):
        HttpServer(HttpSettings(port=0, tokens_file=path))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_tokens_only_this_machine_is_served(host: str) -> None:
    """An interface that others reach needs tokens, and the error says where they come from."""
    with pytest.raises(ListenError, match=r"give http\.tokens_file \(`splitrail site init` makes one\) or keep it"):
        HttpServer(HttpSettings(host=host, port=0))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_tokens(host: str) -> None:
    """By whatever number or name: what counts is the address that is bound."""
    HttpServer(HttpSettings(host=host, port=0)).close()


def test_tokens_without_tls_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody of ours would send one there."""
    HttpServer(HttpSettings(host="0.0.0.0", port=0, tokens_file=tokens_file(tmp_path / "tokens", pi="one"))).close()
    assert "agents send their tokens over https alone" in caplog.text


# --- TLS


def test_https_is_served_with_a_certificate(serve: Serve, tmp_path: Path) -> None:
    """Its URL says https, a client that knows the authority is served, and TLS 1.1 is not spoken."""
    certificate, key = write_certificate(tmp_path, "localhost", "127.0.0.1")
    server = serve(HttpSettings(port=0, certificate_file=certificate, key_file=key))
    assert server.url == f"https://127.0.0.1:{server.port}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=trusting)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()
    old = ssl.create_default_context(cafile=str(certificate))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", server.port), 10) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    """One without its key, a missing file, a key of another certificate and a file of something else."""
    certificate, key = write_certificate(tmp_path, "localhost")
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = write_certificate(other, "localhost")
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("no certificate")
    for given, sentence in (
        (HttpSettings(certificate_file=certificate), "go together: give both or neither"),
        (
            HttpSettings(certificate_file=certificate, key_file=tmp_path / "none"),
            r"http.key_file .*/none cannot be read",
        ),
        (HttpSettings(certificate_file=certificate, key_file=other_key), "the key is not this certificate's"),
        (HttpSettings(certificate_file=nonsense, key_file=key), "cannot be used"),
    ):
        with pytest.raises(ListenError, match=sentence) as caught:
            HttpServer(given)
        assert "\n" not in str(caught.value)


# --- bounds


def test_a_head_that_is_too_long_is_refused(server: HttpServer) -> None:
    """Neither a long request line nor endless headers are kept."""
    for raw in (b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000):
        with socket.create_connection(("127.0.0.1", server.port), 10) as flooding:
            try:
                flooding.sendall(raw)
                answer = flooding.recv(100)
            except ConnectionError:
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_who_does_not_ask_in_time_is_hung_up_on(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that trickles in holds its connection only so long, also after a request that came whole."""
    monkeypatch.setattr(http_connection, "REQUEST_TIMEOUT_S", 0.3)
    for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 10) as slow:
            slow.sendall(before + b"GET /healthz HTTP/1.1\r\n")
            slow.settimeout(10)
            with pytest.raises((ConnectionError, StopIteration)):
                while True:
                    slow.sendall(b"a")
                    time.sleep(0.05)


def is_served(port: int) -> bool:
    """Whether this process still holds its end of the connection of a client at that port."""
    return any(each.raddr and each.raddr.port == port for each in psutil.Process().net_connections("tcp"))


def test_who_does_not_take_its_answer_is_hung_up_on(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for a large model and reads nothing does not hold it for ever."""
    monkeypatch.setattr(http_connection, "TAKING_TIMEOUT_S", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), 10) as idle:
        idle.sendall(f"GET /models/{LARGE_SHA256} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        port = idle.getsockname()[1]
        assert select.select([idle], [], [], 20)[0], "no answer begins"
        assert eventually(lambda: not is_served(port))
        received = 0
        idle.settimeout(10)
        with pytest.raises(ConnectionError):
            while received < LARGE_BYTES:
                chunk = idle.recv(1 << 20)
                received += len(chunk)
                if not chunk:
                    raise ConnectionError
        assert received < LARGE_BYTES


def test_one_connection_too_many_is_hung_up_on(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that there are go on, and once one has left there is room again."""
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 3)
    held = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(3)]
    try:
        assert eventually(lambda: is_refused(server))
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert held[0].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for each in held:
            each.close()
    assert eventually(lambda: not is_refused(server))


def test_handshakes_that_do_not_end_are_bounded_too(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects and says nothing takes no more than a place, and that only until it has gone."""
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(http_connection, "MAX_HANDSHAKES", 2)
    monkeypatch.setattr(http_connection, "HANDSHAKE_TIMEOUT_S", 60.0)
    certificate, key = write_certificate(tmp_path, "127.0.0.1")
    address = ("127.0.0.1", serve(HttpSettings(port=0, certificate_file=certificate, key_file=key)).port)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(socket.create_connection(address, 10))
        with socket.create_connection(address, 10) as surplus, contextlib.suppress(ConnectionError):
            assert surplus.recv(1) == b""

    def is_served() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(address, 10) as plain:
            trusting.wrap_socket(plain, server_hostname="127.0.0.1").close()
            return True
        return False

    assert eventually(is_served)


def is_refused(server: HttpServer) -> bool:
    try:
        return get(server, "/healthz")[0] != 200
    except (ConnectionError, http.client.HTTPException):
        return True


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_of_what_was_hung_up_on(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that come and go cost nothing that stays."""
    monkeypatch.setattr(http_connection, "REQUEST_TIMEOUT_S", 0.1)
    get(server, "/healthz")
    before = open_descriptors()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), 10) as idle, contextlib.suppress(ConnectionError):
            idle.sendall(b"GET ")
            assert idle.recv(1) == b""
    assert eventually(lambda: open_descriptors() <= before)
