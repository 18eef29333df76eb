"""The agent's small HTTP server, asked over real sockets: its pages, its bounds, and who is let in."""

import contextlib
import http.client
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import metrics_server
from edge_agent.configuration import MetricsSettings
from edge_agent.errors import MetricsError
from edge_agent.metrics_server import MetricsServer, Pages, answer

pytestmark = pytest.mark.usefixtures("nothing_left")

FREE_PORT = MetricsSettings(port=0)


def pages(
    metrics: Callable[[], bytes] = lambda: b"up 1\n", *, standstill: str | None = None, unreadiness: str | None = None
) -> Pages:
    return Pages(metrics, "text/plain; version=0.0.4", lambda: standstill, lambda: unreadiness)


PAGES = pages()

Serve = Callable[..., MetricsServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that end with the test."""
    with contextlib.ExitStack() as serving:

        def start(settings: MetricsSettings = FREE_PORT, served: Pages = PAGES) -> MetricsServer:
            server = MetricsServer(settings, served)
            serving.callback(server.close)
            return server

        yield start


def connection(server: MetricsServer) -> http.client.HTTPConnection:
    address = urllib.parse.urlsplit(server.url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)


def ask(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    with contextlib.closing(connection(server)) as asking:
        asking.request(method, path, headers=headers)
        answered = asking.getresponse()
        return answered.status, answered.headers["Content-Type"], answered.read()


def raw(server: MetricsServer) -> socket.socket:
    address = urllib.parse.urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), 10)


def test_the_pages_are_served(serve: Serve) -> None:
    """Metrics in the type that they are told to be, signs of life as text, a query or not."""
    server = serve()
    assert ask(server, "/metrics") == (200, "text/plain; version=0.0.4", b"up 1\n")
    assert ask(server, "/metrics?name[]=up")[0] == 200
    assert ask(server, "/healthz")[::2] == (200, b"ok\n")
    assert ask(server, "/readyz")[::2] == (200, b"ok\n")
    assert ask(server, "/metrics", "HEAD")[::2] == (200, b"")


def test_why_it_is_not_ready_is_told(serve: Serve) -> None:
    """503 and the reason, while it is alive all the same."""
    server = serve(served=pages(unreadiness="the MQTT broker is away"))
    assert ask(server, "/readyz")[::2] == (503, b"the MQTT broker is away\n")
    assert ask(server, "/healthz")[0] == 200


def test_an_agent_that_stands_still_says_so(serve: Serve) -> None:
    """To whoever would start it again."""
    server = serve(served=pages(standstill="the agent has stood still for 61 s"))
    assert ask(server, "/healthz")[::2] == (503, b"the agent has stood still for 61 s\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("GET", "//metrics", 404), ("POST", "/metrics", 405)],
)
def test_nothing_else_is_answered(serve: Serve, method: str, path: str, status: int) -> None:
    """One line says what there is."""
    answered, _, body = ask(serve(), path, method)
    assert (answered, body.count(b"\n")) == (status, 1)


def test_a_body_does_not_lose_the_answer(serve: Serve) -> None:
    """Who sends more than it is asked for still reads what it did wrong."""
    with contextlib.closing(connection(serve())) as asking:
        asking.request("POST", "/metrics", body=bytes(500_000))
        assert asking.getresponse().status == 405


def test_a_fault_in_the_figures_is_no_end(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; what is asked next is answered."""
    server = serve(served=pages(lambda: bytes(1 // 0)))
    assert ask(server, "/metrics")[0] == 500
    assert "ZeroDivisionError" in caplog.text
    assert ask(server, "/healthz")[0] == 200


def test_a_page_larger_than_the_sockets_buffers_arrives_whole(serve: Serve) -> None:
    """In as many pieces as it takes."""
    page = bytes(range(256)) * 40_000
    assert ask(serve(served=pages(lambda: page)), "/metrics")[2] == page


def test_with_a_token_only_who_bears_it_reads_the_metrics(serve: Serve, tmp_path: Path) -> None:
    """No token, a wrong one, another scheme and two headers are refused; a renewed one counts at once."""
    file = tmp_path / "token"
    file.write_text("secret\nsecond line\n")
    server = serve(MetricsSettings(port=0, token_file=file))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": ""}):
        assert ask(server, "/metrics", **headers)[0] == 401
    with contextlib.closing(connection(server)) as asking:
        asking.putrequest("GET", "/metrics")
        asking.putheader("Authorization", "Bearer secret")
        asking.putheader("Authorization", "Bearer secret")
        asking.endheaders()
        assert asking.getresponse().status == 401
    assert ask(server, "/metrics", Authorization="Bearer secret")[0] == 200
    assert [ask(server, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    file.write_text("renewed\n")
    assert ask(server, "/metrics", Authorization="Bearer secret")[0] == 401
    assert ask(server, "/metrics", Authorization="Bearer renewed")[0] == 200
    file.unlink()
    assert ask(server, "/metrics", Authorization="Bearer renewed")[0] == 503


def test_without_a_token_only_this_machine_is_served(tmp_path: Path, serve: Serve) -> None:
    """Another interface needs one, and a file that has it."""
    with pytest.raises(MetricsError, match=r"serves more than this machine: give metrics\.token_file"):
        MetricsServer(MetricsSettings(host="0.0.0.0", port=0), PAGES)
    for content in (None, "", "\nsecret\n", "x" * 1_001):
        file = tmp_path / "token"
        if content is not None:
            file.write_text(content)
        with pytest.raises(MetricsError, match=r"metrics\.token_file .* (cannot be read|has no token)"):
            MetricsServer(MetricsSettings(host="0.0.0.0", port=0, token_file=file), PAGES)
    (tmp_path / "token").write_text("secret")
    assert ask(serve(MetricsSettings(host="0.0.0.0", port=0, token_file=tmp_path / "token")), "/healthz")[0] == 200


def test_an_address_that_cannot_be_had_is_one_sentence(serve: Serve) -> None:
    """Taken, or nobody's."""
    taken = urllib.parse.urlsplit(serve().url).port
    for settings in (MetricsSettings(port=taken), MetricsSettings(host="no.such.host.invalid", port=0)):
        with pytest.raises(MetricsError, match=r"cannot serve metrics on .*choose another") as caught:
            MetricsServer(settings, PAGES)
        assert "\n" not in str(caught.value)


def test_a_request_that_is_too_long_is_refused(serve: Serve) -> None:
    """Nothing beyond the bound is kept."""
    server = serve()
    with raw(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert client.recv(1_000).startswith(b"HTTP/1.1 431 ")
    assert ask(server, "/healthz")[0] == 200


def test_who_asks_too_slowly_is_hung_up_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that sends a little now and then, and one that takes nothing of its answer."""
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.3)
    server = serve(served=pages(lambda: bytes(30_000_000)))
    with raw(server) as silent, raw(server) as dripping, raw(server) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        dripping.sendall(b"GET /met")
        assert silent.recv(1) == b""
        with contextlib.suppress(ConnectionError):
            assert dripping.recv(1) == b""
        assert eventually(lambda: not server._clients)
    assert ask(server, "/healthz")[0] == 200


def test_of_too_many_connections_the_oldest_goes(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who does nothing keeps out nobody for long."""
    monkeypatch.setattr(metrics_server, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 60.0)
    server = serve()
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(raw(server)) for _ in range(8)]
        assert [ask(server, "/healthz")[0] for _ in range(3)] == [200, 200, 200]
        assert all(client.recv(1) == b"" for client in idle[:4])
        assert len(server._clients) <= 4


def test_it_ends_with_clients_connected() -> None:
    """Its thread, its port and their connections."""
    server = MetricsServer(MetricsSettings(port=0), PAGES)
    with raw(server) as idle:
        assert eventually(lambda: server._clients)
        server.close()
        assert idle.recv(1) == b""
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]


@given(st.binary(max_size=300))
def test_whatever_is_asked_is_answered(head: bytes) -> None:
    """With a whole HTTP answer, and the metrics for nobody without the token."""
    answered = answer(head, PAGES, "secret")
    top, _, body = answered.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 ")
    assert f"Content-Length: {len(body)}".encode() in top or not body
    assert b"up 1" not in body
