"""The token that opens a model server goes there and nowhere else; whose certificate counts is the user's to say."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certificates_for_tests import write_certificate

from models import model_server
from models.cache import ModelCache
from models.errors import FetchError, ServerAccessError
from models.fetch import Retries, fetch_model
from models.model_server import ServerAccess

CONTENT = bytes(range(256)) * 50
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ONCE = Retries(attempts=1)


class Server:
    """Answers `/model` with the content, if it wants no token or gets its own, and redirects everything else."""

    def __init__(self, port: int, scheme: str, wanted: str | None, target: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.wanted = wanted
        self.target = target
        self.tokens: list[str | None] = []


@contextmanager
def serving(
    wanted: str | None = None, target: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = self.headers.get("Authorization")
            server.tokens.append(token)
            if self.path != "/model":
                self._answer(302, b"", Location=server.target)
            elif server.wanted is not None and token != f"Bearer {server.wanted}":
                self._answer(401, b"")
            else:
                self._answer(200, CONTENT)

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002  # the signature is the library's

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
    server = Server(listening.server_port, "http" if certificate is None else "https", wanted, target)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("secret\nwhat follows is not read\n")
    return path


def fetch(url: str, tmp_path: Path, access: ServerAccess) -> bytes:
    return fetch_model(
        url, SHA256, len(CONTENT), ModelCache(tmp_path / "cache"), access=access, retries=ONCE
    ).read_bytes()


def test_the_token_is_sent_to_the_server(tmp_path: Path, token: Path) -> None:
    """The file's first line, as a bearer token."""
    with serving(wanted="secret") as server:
        assert fetch(f"{server.url}/model", tmp_path, ServerAccess(token)) == CONTENT
    assert server.tokens == ["Bearer secret"]


def test_a_token_that_was_renewed_counts_at_the_next_fetch(tmp_path: Path, token: Path) -> None:
    """The file is read each time."""
    access = ServerAccess(token)
    with serving(wanted="renewed") as server:
        with pytest.raises(FetchError):
            fetch(f"{server.url}/model", tmp_path, access)
        token.write_text("renewed\n")
        assert fetch(f"{server.url}/model", tmp_path, access) == CONTENT


def test_a_redirect_within_the_server_bears_the_token(tmp_path: Path, token: Path) -> None:
    """The same scheme, host and port is the same server."""
    with serving(wanted="secret", target="/model") as server:
        assert fetch(f"{server.url}/elsewhere", tmp_path, ServerAccess(token)) == CONTENT


def test_a_redirect_to_another_server_does_not(tmp_path: Path, token: Path) -> None:
    """Whoever it points to learns nothing."""
    with serving() as other, serving(target=f"{other.url}/model") as server:
        assert fetch(f"{server.url}/elsewhere", tmp_path, ServerAccess(token)) == CONTENT
    assert (server.tokens, other.tokens) == (["Bearer secret"], [None])


def test_a_token_does_not_come_back_from_another_server(tmp_path: Path, token: Path) -> None:
    """A redirect out and back in is a stranger's wish."""
    with serving(wanted="secret") as server, serving(target=f"{server.url}/model") as other:
        server.target = f"{other.url}/elsewhere"
        with pytest.raises(FetchError):
            fetch(f"{server.url}/elsewhere", tmp_path, ServerAccess(token))
    assert server.tokens == ["Bearer secret", None]


def test_no_token_travels_in_the_clear(token: Path) -> None:
    """Plain http is for loopback, where nobody listens; a name is not taken for it."""
    access = ServerAccess(token)
    bearing = {
        url: access.request(url, {}).get_header("Authorization") is not None
        for url in (
            "http://127.0.0.1:1/m",
            "http://[::1]/m",
            "http://localhost/m",
            "https://pc.lan/m",
            "http://pc.lan/m",
            "http://192.168.1.10/m",
            "http://localhost.evil.example/m",
        )
    }
    assert list(bearing.values()) == [True, True, True, True, False, False, False]


def test_no_proxy_reads_what_is_sent_on_loopback(tmp_path: Path, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the environment names is left out there."""
    with serving() as proxy, serving(wanted="secret") as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert fetch(f"{server.url}/model", tmp_path, ServerAccess(token)) == CONTENT
    assert proxy.tokens == []


def test_a_refusal_says_what_would_be_right(tmp_path: Path, token: Path) -> None:
    """No token, a wrong one, and one that is kept back are three sentences."""
    with serving(wanted="another") as server:
        with pytest.raises(FetchError, match=r"the coordinator wants a token: give models\.token_file"):
            fetch(f"{server.url}/model", tmp_path, ServerAccess())
        with pytest.raises(FetchError, match=rf"the coordinator refuses this token: models\.token_file {token}"):
            fetch(f"{server.url}/model", tmp_path, ServerAccess(token))
    assert "none is sent over plain http" in ServerAccess(token).refusal("http://pc.lan/m")


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two words\n", b"\xff\xfe", b"x" * (model_server.MAX_TOKEN_BYTES + 1)]
)
def test_a_file_that_holds_no_token_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Nothing else is sent as one, least of all a header of somebody's making."""
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ServerAccessError, match="holds no token"):
        ServerAccess(path).request("https://pc.lan/m", {})
    with pytest.raises(ServerAccessError, match="cannot be read: No such file"):
        ServerAccess(tmp_path / "none").request("https://pc.lan/m", {})


def test_the_authority_that_is_given_counts_and_no_other(tmp_path: Path, token: Path) -> None:
    """A server with a certificate of its own authority is trusted by whoever has that, and by nobody else."""
    certificate = write_certificate(tmp_path, "127.0.0.1")
    with serving(wanted="secret", certificate=certificate) as server:
        with pytest.raises(FetchError, match=r"does not hold by the system's authorities \(self-signed"):
            fetch(f"{server.url}/model", tmp_path, ServerAccess(token))
        assert fetch(f"{server.url}/model", tmp_path, ServerAccess(token, certificate[0])) == CONTENT
    assert server.tokens == ["Bearer secret"]


def test_a_certificate_of_another_name_does_not_hold(tmp_path: Path) -> None:
    """The host is checked too."""
    certificate = write_certificate(tmp_path, "pc.lan")
    with (
        serving(certificate=certificate) as server,
        pytest.raises(FetchError, match=r"does not hold .* is not valid for '127\.0\.0\.1'"),
    ):
        fetch(f"{server.url}/model", tmp_path, ServerAccess(None, certificate[0]))


@pytest.mark.parametrize(("content", "sentence"), [(None, "No such file"), ("no PEM", "not PEM")])
def test_an_authority_that_cannot_be_used_is_an_error(tmp_path: Path, content: str | None, sentence: str) -> None:
    """It names the file."""
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ServerAccessError, match=rf"the authority in {path} cannot be used: {sentence}"):
        ServerAccess(None, path).opener("https://pc.lan/m")
