"""One InfluxDB behind HTTP: a real 1.6, the documented forms of 1.8, 2 and 3 in front of it, and servers gone wrong."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from certificates_for_tests import write_certificate
from fronted_influxd import ORG, TOKEN, VERSIONS, FrontedInfluxd
from influxd_fixture import make_database

from broker.mosquitto import free_port
from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxAwayError, InfluxDeniedError, InfluxError, InfluxQueryError
from coordinator.telemetry.influx_answers import Denied, Family, Rejected, Stored, TooLarge, Unavailable
from coordinator.telemetry.influx_credentials import credentials_of
from coordinator.telemetry.influx_server import InfluxServer
from testbed.private_influxd import PrivateInfluxd

pytestmark = pytest.mark.usefixtures("nothing_left")

OURS: tuple[Family, ...] = ("1.8", "2", "3")
NOW_NS = time.time_ns()
LINES = f"energy,node=pi power_w=3.5 {NOW_NS}\nenergy,node=pi power_w=4.5 {NOW_NS + 1}".encode()


@pytest.fixture
def server(influx_settings: InfluxSettings) -> Iterator[InfluxServer]:
    with closing(InfluxServer(influx_settings)) as opened:
        yield opened


@pytest.fixture(params=OURS)
def fronted(request: pytest.FixtureRequest, influxd: PrivateInfluxd) -> Iterator[FrontedInfluxd]:
    with FrontedInfluxd(request.param, influxd.url) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest.fixture
def newer(fronted: FrontedInfluxd, influx_settings: InfluxSettings, token_file: Path) -> Iterator[InfluxServer]:
    settings = msgspec.structs.replace(influx_settings, url=fronted.url, org=ORG, token_file=token_file)
    with closing(InfluxServer(settings)) as opened:
        yield opened


def powers(server: InfluxServer) -> list[object]:
    ((series,),) = server.query("SELECT power_w FROM energy")
    return [row[1] for row in series.values]


class TestInfluxDB16:
    """What a real InfluxDB 1.6.7 does."""

    def test_it_is_known_by_its_version(self, server: InfluxServer) -> None:
        """And does not speak /api/v2/write."""
        identity = server.identify()
        assert (identity.family, identity.writes_by_v2) == ("1", False)
        assert identity.version.startswith("1.6")

    def test_what_is_written_can_be_asked(self, server: InfluxServer) -> None:
        """Times are in ns on both ways; written again, a point is the same point."""
        for _ in range(2):
            assert server.write(LINES) == Stored()
        assert powers(server) == [3.5, 4.5]
        ((series,),) = server.query("SELECT power_w FROM energy ORDER BY time DESC LIMIT 1")
        assert series.values[0][0] == NOW_NS + 1

    def test_a_batch_with_a_bad_line_keeps_the_good_ones(self, server: InfluxServer) -> None:
        """As the bisection of a batch relies on."""
        answer = server.write(LINES + b"\nenergy,node=pi power_w")
        assert isinstance(answer, Rejected)
        assert "unable to parse" in answer.reason
        assert powers(server) == [3.5, 4.5]

    def test_a_database_that_is_not_there_is_named_with_the_way_out(self, influxd: PrivateInfluxd) -> None:
        """Writing and asking both."""
        settings = InfluxSettings(url=influxd.url, database="nowhere")
        with closing(InfluxServer(settings)) as server:
            answer = server.write(LINES)
            assert isinstance(answer, Denied)
            assert 'no such database (database not found: "nowhere"): `splitrail telemetry init`' in answer.reason
            with pytest.raises(InfluxQueryError, match="database not found: nowhere") as caught:
                server.query("SELECT power_w FROM energy")
            assert (caught.value.endpoint, caught.value.reason) == (influxd.url, "database not found: nowhere")

    def test_a_question_that_it_cannot_read_is_an_error_of_one_line(self, server: InfluxServer) -> None:
        """In its own words, with the endpoint."""
        with pytest.raises(InfluxQueryError, match=r"^http://127\.0\.0\.1:\d+: error parsing query: found SELCT"):
            server.query("SELCT")

    def test_users_and_passwords(self, tmp_path: Path) -> None:
        """By HTTP Basic; a wrong one is denied and keeps what waits."""
        with PrivateInfluxd(tmp_path / "locked", "  auth-enabled = true\n") as locked:
            with closing(InfluxServer(locked.settings)) as anonymous:
                anonymous.query("CREATE USER pi WITH PASSWORD 's3cret' WITH ALL PRIVILEGES", timeout_s=30.0)
                assert isinstance(anonymous.write(LINES), Denied)
            password = tmp_path / "password"
            password.write_text("s3cret\n")
            settings = msgspec.structs.replace(locked.settings, username="pi", password_file=password)
            make_database(settings)
            with closing(InfluxServer(settings)) as server:
                assert server.write(LINES) == Stored()
                assert powers(server) == [3.5, 4.5]
            password.write_text("wrong")
            with closing(InfluxServer(settings)) as stranger:
                answer = stranger.write(LINES)
                assert isinstance(answer, Denied)
                assert "refuses who asks (authorization failed): give username and password" in answer.reason
                with pytest.raises(InfluxDeniedError, match="authorization failed"):
                    stranger.query("SHOW DATABASES")


class TestDocumentedForms:
    """1.8, 2.x and 3 Core as their makers publish them, in front of a real 1.6; not the servers themselves."""

    def test_each_is_known_by_its_version(self, newer: InfluxServer, fronted: FrontedInfluxd) -> None:
        """And speaks /api/v2/write."""
        identity = newer.identify()
        assert (identity.family, identity.version) == (fronted.script.family, VERSIONS[fronted.script.family])
        assert identity.writes_by_v2

    def test_what_is_written_can_be_asked(self, newer: InfluxServer, fronted: FrontedInfluxd) -> None:
        """Written with the token at /api/v2/write, asked by InfluxQL with it as a password."""
        assert newer.write(LINES) == Stored()
        assert powers(newer) == [3.5, 4.5]
        (write,) = fronted.writes
        assert (write.path, write.query["bucket"], write.query["precision"]) == ("/api/v2/write", newer.database, "ns")
        assert write.body == LINES

    def test_a_batch_with_a_bad_line_is_rejected(self, newer: InfluxServer) -> None:
        """By 400 or 422, whichever the family says it with."""
        answer = newer.write(LINES + b"\nenergy,node=pi power_w")
        assert isinstance(answer, Rejected)
        assert "unable to parse" in answer.reason
        assert powers(newer) == [3.5, 4.5]

    def test_a_body_that_is_too_large(self, newer: InfluxServer, fronted: FrontedInfluxd) -> None:
        """413 is told apart."""
        fronted.script.largest_body = 20
        assert newer.write(LINES) == TooLarge()

    def test_a_busy_server(self, newer: InfluxServer, fronted: FrontedInfluxd) -> None:
        """It says how long to wait."""
        fronted.script.instead.append((503, {"Retry-After": "3"}, b'{"code":"unavailable","message":"full"}'))
        assert newer.write(LINES) == Unavailable("full", 3.0)
        assert newer.write(LINES) == Stored()

    def test_nothing_but_204_is_stored(self, newer: InfluxServer, fronted: FrontedInfluxd) -> None:
        """Something between may say 200 to everything, such as the sign-in page of a network."""
        fronted.script.instead.append((200, {}, b"<html>"))
        answer = newer.write(LINES)
        assert isinstance(answer, Denied)
        assert "answers 200 as no InfluxDB does" in answer.reason

    def test_a_wrong_token(self, fronted: FrontedInfluxd, influx_settings: InfluxSettings, token_file: Path) -> None:
        """It is denied, with what would help."""
        token_file.write_text("another")
        settings = msgspec.structs.replace(influx_settings, url=fronted.url, org=ORG, token_file=token_file)
        with closing(InfluxServer(settings)) as server:
            answer = server.write(LINES)
            assert isinstance(answer, Denied)
            assert "refuses who asks" in answer.reason
            with pytest.raises(InfluxDeniedError):
                server.query("SHOW DATABASES")

    def test_a_server_may_come_back_as_another_version(
        self, newer: InfluxServer, fronted: FrontedInfluxd, influxd: PrivateInfluxd
    ) -> None:
        """Which it is, is asked again after a failure."""
        assert newer.write(LINES) == Stored()
        fronted.script.instead.append((503, {}, b""))
        assert isinstance(newer.write(LINES), Unavailable)
        assert newer.write(LINES) == Stored()
        assert [asked.path for asked in fronted.script.asked].count("/ping") == 2


def test_influxdb_2_without_an_organisation_is_told_so(influxd: PrivateInfluxd, token_file: Path) -> None:
    """Before anything is sent."""
    with FrontedInfluxd("2", influxd.url) as fronted:
        with closing(InfluxServer(InfluxSettings(url=fronted.url, token_file=token_file))) as server:
            answer = server.write(LINES)
        assert answer == Denied("InfluxDB 2 asks for an organisation: give influxdb.org")
        assert fronted.writes == []


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does with each connection what it is told; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10.0)
                    try:
                        connection.recv(65_536)
                        answer(connection)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked(url: str) -> closing[InfluxServer]:
    return closing(InfluxServer(InfluxSettings(url=url)))


def test_nobody_listening() -> None:
    """The reason says what to do."""
    with closing(InfluxServer(InfluxSettings(url=f"http://127.0.0.1:{free_port()}"))) as server:
        assert server.write(LINES) == Unavailable("no InfluxDB listens there: start it, or correct influxdb.url")
        with pytest.raises(InfluxAwayError, match="no InfluxDB listens there"):
            server.query("SHOW DATABASES")


def test_an_unknown_name() -> None:
    """The reason names what is wrong."""
    with closing(InfluxServer(InfluxSettings(url="http://nowhere.invalid:8086"))) as server:
        answer = server.write(LINES)
        assert isinstance(answer, Unavailable)
        assert "this name is not known" in answer.reason


def test_a_server_that_hangs_is_given_up() -> None:
    """A question ends when its time is over."""
    ended = threading.Event()
    with listening(lambda _: ended.wait(10.0) and None) as url:
        with asked(url) as server, pytest.raises(InfluxAwayError, match="in time"):
            server.query("SHOW DATABASES", timeout_s=0.2)
        ended.set()


def test_a_server_that_dribbles_is_given_up() -> None:
    """Not only the first byte has a time limit."""

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Influxdb-Version: 1.6.7\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1\r\n \r\n")
            time.sleep(0.02)

    with listening(dribble) as url, asked(url) as server, pytest.raises(InfluxAwayError):
        server.query("SHOW DATABASES", timeout_s=0.3)


@pytest.mark.parametrize("head", [b"", b"Content-Length: 100000000000\r\n"])
def test_an_answer_without_end_is_given_up(head: bytes) -> None:
    """However large it says it is, and if it does not say."""

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Influxdb-Version: 1.6.7\r\n" + head + b"\r\n")
        while True:
            connection.sendall(bytes(1_000_000))

    with listening(flood) as url, asked(url) as server, pytest.raises(InfluxAwayError, match="its answer is too long"):
        server.query("SHOW DATABASES", timeout_s=30.0)


def test_a_redirection_is_not_followed(influxd: PrivateInfluxd) -> None:
    """Credentials go to the server that the settings name and to no other."""
    moved = f"HTTP/1.1 301 Moved\r\nLocation: {influxd.url}/ping\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(lambda connection: connection.sendall(moved)) as url, asked(url) as server:
        assert server.write(LINES) == Unavailable("what answers there is no InfluxDB 1, 2 or 3: correct influxdb.url")


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    """Without the authority's file nothing is sent."""
    certificate, key = write_certificate(tmp_path, "localhost", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                raw, _ = listener.accept()
                try:
                    with context.wrap_socket(raw, server_side=True) as connection:
                        connection.recv(65_536)
                        answer(connection)
                except OSError:
                    raw.close()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with closing(InfluxServer(InfluxSettings(url=url))) as stranger:
            refused = stranger.write(LINES)
            assert isinstance(refused, Unavailable)
            assert "its certificate is not trusted here" in refused.reason
        with closing(InfluxServer(InfluxSettings(url=url, ca_file=certificate))) as server:
            assert server.identify().family == "1"
        thread.join()


def test_what_of_the_settings_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    """Each in one sentence, with the endpoint and what would be right."""
    url = "https://influx.local:8086"
    missing = tmp_path / "missing"
    for settings, words in (
        (InfluxSettings(url=url, ca_file=missing), f"influxdb.ca_file {missing} cannot be used"),
        (InfluxSettings(url=url, token_file=missing), f"influxdb.token_file {missing} cannot be read: No such file"),
        (InfluxSettings(url=url, username="pi"), "influxdb.username goes with a password"),
    ):
        with pytest.raises(InfluxError, match=words) as caught:
            InfluxServer(settings)
        assert str(caught.value).startswith(f"{url}: ")
        assert "\n" not in str(caught.value)


def test_an_endpoint_shows_no_secret() -> None:
    """Where somebody has put one into the URL."""
    with closing(InfluxServer(InfluxSettings(url="http://pi:s3cret@influx.local:8086/base/"))) as server:
        assert server.endpoint == "http://influx.local:8086/base"


class TestCredentials:
    """A token, a user with a password, or nobody; from files or the environment."""

    URL = "http://127.0.0.1:8086"

    def test_the_environment_is_enough(self) -> None:
        """For a token, and for the password of a user."""
        assert credentials_of(InfluxSettings(url=self.URL), {"SPLITRAIL_INFLUXDB_TOKEN": "t"}).token == "t"
        user = credentials_of(InfluxSettings(url=self.URL, username="pi"), {"SPLITRAIL_INFLUXDB_PASSWORD": "p"})
        assert (user.basic, user.token) == ("Basic cGk6cA==", "pi:p")

    def test_a_file_comes_before_the_environment(self, token_file: Path) -> None:
        """As the more deliberate of the two."""
        settings = InfluxSettings(url=self.URL, token_file=token_file)
        assert credentials_of(settings, {"SPLITRAIL_INFLUXDB_TOKEN": "t"}).token == TOKEN

    def test_nobody(self) -> None:
        """An InfluxDB without users needs none."""
        nobody = credentials_of(InfluxSettings(url=self.URL), {})
        assert (nobody.basic, nobody.token) == (None, None)

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 5_000, b"a\x00b"])
    def test_a_file_without_a_secret_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """Rather than sent as an empty or broken header."""
        file = tmp_path / "token"
        file.write_bytes(content)
        with pytest.raises(InfluxError, match="must have the secret, as text, in its first line"):
            credentials_of(InfluxSettings(url=self.URL, token_file=file), {})

    def test_a_password_without_a_user(self) -> None:
        """It is of no use."""
        with pytest.raises(InfluxError, match=r"give influxdb\.username"):
            credentials_of(InfluxSettings(url=self.URL), {"SPLITRAIL_INFLUXDB_PASSWORD": "p"})

    def test_a_secret_is_not_shown(self) -> None:
        """In a log, for instance."""
        assert "s3cret" not in repr(
            credentials_of(InfluxSettings(url=self.URL), {"SPLITRAIL_INFLUXDB_TOKEN": "s3cret"})
        )
