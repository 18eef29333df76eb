"""Every way in which a first connection fails, as a sentence that helps; and how reconnecting spreads out."""

import base64
import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

from broker.connection import Connection, reconnect_delay_s
from broker.errors import ConnectionFailedError
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.sign_in import BrokerSettings
from broker.topics import LEADER

# MQTT 5: success, no properties; a SUBACK has the packet's identifier in its midst, and grants QoS 1.
CONNACK = b"\x20\x03\x00\x00\x00"
SUBACK_HEAD, SUBACK_TAIL = b"\x90\x04", b"\x00\x01"


def reason_of_failure(settings: BrokerSettings) -> str:
    """Why a session with these settings cannot start."""
    with pytest.raises(ConnectionFailedError) as caught:
        Session(settings, site="site", client_id="client").start()
    assert caught.value.endpoint == settings.endpoint
    return caught.value.reason


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port where something accepts connections and gives this answer to what it is sent; None hangs up at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopping = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            clients = []
            while not stopping.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                if answer is None:
                    client.close()
                else:
                    client.recv(4096)
                    client.sendall(answer)
                    clients.append(client)
            for client in clients:
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stopping.set()
            thread.join()


def test_what_is_said_at_qos_0_while_the_broker_is_away_is_refused(tmp_path: Path) -> None:
    """Nobody keeps it; and closing does not wait for it."""
    with PrivateMosquitto(tmp_path) as mosquitto:
        connection = Connection(
            mosquitto.settings,
            client_id="client",
            will=None,
            on_connected=lambda: None,
            on_message=lambda _message: None,
        )
        connection.start()
        try:
            assert connection.publish("topic", b"said", qos=0, retain=False, expiry_s=5)
            mosquitto.kill()
            assert eventually(lambda: not connection.connected)
            assert not connection.publish("topic", b"said", qos=0, retain=False)
            assert connection.publish("topic", b"kept", qos=1, retain=False)
        finally:
            connection.close()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_nothing_listens_there(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is not there: one line while it goes on trying, then the reason and what to do."""
    with caplog.at_level(logging.WARNING, "splitrail.broker"):
        reason = reason_of_failure(BrokerSettings(port=closed_port(), start_timeout_s=0.5))
    assert "no MQTT broker listens there: start Mosquitto" in reason
    assert len(caplog.records) == 1
    assert "trying again" in caplog.text


@pytest.mark.parametrize("host", ["no.such.host.invalid", "label." + 70 * "x", "two..dots"])
def test_the_name_is_unknown(host: str) -> None:
    """A host name that nobody knows, or that can be none, is said to be unknown."""
    assert "name is not known" in reason_of_failure(BrokerSettings(host=host, start_timeout_s=0.3))


def test_a_listener_that_says_nothing_is_no_broker() -> None:
    """Something that takes the connection and stays silent does not hold the start for ever."""
    with listening(b"") as port:
        assert "does not answer as an MQTT broker" in reason_of_failure(BrokerSettings(port=port, start_timeout_s=0.5))


def test_a_listener_that_hangs_up_is_no_broker() -> None:
    """Something that closes the connection at once is suspected to be no broker."""
    with listening(None) as port:
        assert "hangs up" in reason_of_failure(BrokerSettings(port=port, start_timeout_s=0.5))


def test_an_answer_that_is_not_mqtt_is_survived() -> None:
    """A web server's answer ends in a sentence too."""
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "MQTT broker" in reason_of_failure(BrokerSettings(port=port, start_timeout_s=0.5))


def test_an_old_broker_without_mqtt_5_is_named() -> None:
    """A broker that refuses protocol version 5 fails at once, with the version that does not."""
    with listening(b"\x20\x02\x00\x01") as port:
        assert "Mosquitto 1.6 or later" in reason_of_failure(BrokerSettings(port=port, start_timeout_s=0))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PrivateMosquitto]:
    """A broker that admits only `pi` with the password `secret`."""
    salt = b"twelve bytes"
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, 101)
    passwords = tmp_path / "passwords"
    passwords.write_text(f"pi:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n")
    with PrivateMosquitto(tmp_path, extra_configuration=f"allow_anonymous false\npassword_file {passwords}\n") as own:
        yield own


def test_the_broker_admits_nobody_without_a_name(guarded: PrivateMosquitto) -> None:
    """Anonymous clients are refused at once, even where the start would wait for ever."""
    reason = reason_of_failure(BrokerSettings(port=guarded.port, start_timeout_s=0))
    assert reason == (
        "the broker admits no anonymous clients: set broker.username and broker.password_file "
        "(`splitrail site` makes both for each member)"
    )


def test_the_broker_refuses_a_wrong_password(guarded: PrivateMosquitto, tmp_path: Path) -> None:
    """Wrong credentials fail at once and say which settings to correct."""
    password_file = tmp_path / "password"
    password_file.write_text("wrong\n")
    settings = BrokerSettings(port=guarded.port, username="pi", password_file=password_file, start_timeout_s=0)
    assert "refuses the user 'pi' or its password" in reason_of_failure(settings)
    password_file.write_text("secret\n")
    with Session(settings, site="site", client_id="client") as session:
        assert session.connected


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\n"])
def test_a_password_file_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or unreadable password file is found before anything is sent."""
    password_file = tmp_path / "password"
    if content is not None:
        password_file.write_bytes(content)
    assert str(password_file) in reason_of_failure(BrokerSettings(username="pi", password_file=password_file))


def test_a_password_without_a_name_is_refused(tmp_path: Path) -> None:
    """A password file alone is a mistake in the settings."""
    assert "broker.username is not" in reason_of_failure(BrokerSettings(password_file=tmp_path / "password"))


def test_a_broker_that_comes_late_is_found(tmp_path: Path) -> None:
    """The start waits for a broker that is started after it."""
    late = PrivateMosquitto(tmp_path)
    session = Session(late.settings, site="site", client_id="client")
    starting = threading.Thread(target=session.start)
    starting.start()
    with late:
        starting.join()
        assert session.connected
        session.close()


def test_a_start_is_over_when_the_broker_has_taken_the_subscriptions() -> None:
    """Not before: what others say next, once and to nobody in particular, would be missed."""
    started = threading.Event()
    came_too_soon: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(CONNACK)
                subscribe = client.recv(4096)
                came_too_soon.append(started.wait(0.3))
                client.sendall(SUBACK_HEAD + subscribe[2:4] + SUBACK_TAIL)
                client.recv(4096)

        broker = threading.Thread(target=serve)
        broker.start()
        session = Session(BrokerSettings(port=server.getsockname()[1]), site="site", client_id="client")
        session.on(LEADER, lambda _incoming: None)
        session.start()
        started.set()
        session.close()
        broker.join()
    assert came_too_soon == [False]


@given(away_s=st.floats(0, 1e6), longest_s=st.floats(0.1, 100), draw=st.floats(0, 1))
def test_waiting_is_bounded_and_drawn_from_nothing_to_the_bound(away_s: float, longest_s: float, draw: float) -> None:
    """Full jitter: never beyond the longest wait, nor much beyond the outage, and any draw scales the whole of it."""
    bound = reconnect_delay_s(away_s, longest_s, lambda: 1.0)
    assert 0 < bound <= min(longest_s, max(0.5, away_s / 2.0))
    assert reconnect_delay_s(away_s, longest_s, lambda: draw) == draw * bound
    assert reconnect_delay_s(away_s + 1.0, longest_s, lambda: 1.0) >= bound
