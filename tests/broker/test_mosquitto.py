"""The private Mosquitto: starts, ends, restarts, says why it cannot, and never outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from eventually import eventually

from broker import mosquitto as module
from broker.errors import MosquittoError
from broker.mosquitto import PrivateMosquitto, find_mosquitto
from broker.mosquitto_configuration import open_configuration, shipped_configuration
from broker.session import Session


def settings_of(configuration: str) -> dict[str, str]:
    lines = [line for line in configuration.splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition(" ") for line in lines)}


def test_the_shipped_configuration_keeps_what_the_session_counts_on() -> None:
    """No delay, no silent loss by count, a packet bound that fits the largest message; nobody comes in unasked."""
    shipped = settings_of(shipped_configuration())
    assert shipped["set_tcp_nodelay"] == "true"
    assert int(shipped["max_queued_messages"]) > int(shipped["max_queued_bytes"])
    assert int(shipped["max_packet_size"]) == 25_000_000
    assert shipped["allow_anonymous"] == "false"
    assert {"certfile", "keyfile", "password_file", "acl_file"} <= set(shipped)


def test_a_private_configuration_changes_only_who_comes_in_and_where_it_writes(tmp_path: Path) -> None:
    """The demo and the tests run what is shipped, but open, on loopback; and their file says so."""
    shipped = settings_of(shipped_configuration())
    text = open_configuration(shipped_configuration(), 4242, tmp_path, root=False)
    private = settings_of(text)
    changed = {name for name in shipped | private if shipped.get(name) != private.get(name)}
    letting_in = {"listener", "certfile", "keyfile", "allow_anonymous", "password_file", "acl_file", "pid_file"}
    assert changed == {*letting_in, "persistence_location", "log_dest"}
    assert private["listener"] == "4242 127.0.0.1"
    assert "open to everybody on this machine and to nobody else" in text


def test_it_takes_connections_once_it_is_entered_and_ends_after(tmp_path: Path) -> None:
    """Inside the block a session connects; after it the process is gone."""
    with PrivateMosquitto(tmp_path) as own:
        pid = own.pid
        with Session(own.settings, site="site", client_id="client") as session:
            assert session.connected
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert own.pid is None


def test_it_restarts_on_the_same_port(tmp_path: Path) -> None:
    """A restart is another process at the same address."""
    with PrivateMosquitto(tmp_path) as own:
        before = (own.pid, own.port)
        own.restart()
        assert own.pid != before[0]
        assert own.port == before[1]


def test_a_configuration_that_is_wrong_is_said_with_its_place(tmp_path: Path) -> None:
    """MosquittoError carries Mosquitto's own last words, and nothing is left running."""
    own = PrivateMosquitto(tmp_path, extra_configuration="no_such_setting 1\n")
    with pytest.raises(MosquittoError, match=r"no_such_setting.*mosquitto\.conf:\d+"):
        own.start()
    assert own.pid is None


def test_a_port_that_is_taken_is_said(tmp_path: Path, mosquitto: PrivateMosquitto) -> None:
    """A second broker on one port fails with the reason."""
    own = PrivateMosquitto(tmp_path, port=mosquitto.port)
    with pytest.raises(MosquittoError, match="in use"):
        own.start()


def test_without_mosquitto_the_way_to_get_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is found, the error says how to install it."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(MosquittoError, match="apt-get install mosquitto"):
        find_mosquitto()


def test_an_unpacked_copy_brings_its_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the environment it is found last, and run with the libraries that were unpacked with it."""
    program = tmp_path / "mosquitto/usr/sbin/mosquitto"
    library = tmp_path / "mosquitto/usr/lib/x86_64-linux-gnu/libwrap.so.0"
    for file in (program, library):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, _: path == program)
    assert find_mosquitto() == program
    assert module._environment(program)["LD_LIBRARY_PATH"] == str(library.parent)


def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Not even kill -9 of the parent leaves it running; and the terminal's Ctrl-C does not reach it."""
    script = f"""
import sys
from pathlib import Path
from broker.mosquitto import PrivateMosquitto
own = PrivateMosquitto(Path({str(tmp_path)!r}))
own.start()
print(own.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert os.getsid(pid) == pid
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
