"""`splitrail agent` and `splitrail infer` as a user starts them."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from eventually import eventually

from broker.messages import NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import STATUS

SPLITRAIL = (sys.executable, "-m", "splitrail")


def splitrail(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run([*SPLITRAIL, *arguments], capture_output=True, text=True, timeout=60, check=False)


def write_settings(tmp_path: Path, port: int, more: str = "") -> Path:
    """An agent's settings for a broker on this port."""
    path = tmp_path / "agent.yaml"
    path.write_text(
        f"site: farewells\nnode: pi\ntier: edge\nbroker: {{port: {port}, start_timeout_s: 2{more}}}\n"
        "cache: cache\ntensors: {listen: 'tcp://127.0.0.1:0'}\nenergy: {meter: modelled}\n",
        encoding="utf-8",
    )
    return path


def test_three_errors_in_the_settings_are_three_lines(tmp_path: Path) -> None:
    """Each with file, line and column; exit code 2 and no traceback."""
    path = tmp_path / "agent.yaml"
    path.write_text("site: home\nnod: pi\ntier: egde\nthreads: many\n", encoding="utf-8")
    ended = splitrail("agent", "--config", str(path))
    assert ended.returncode == 2
    for place in (":2:1:", ":3:7:", ":4:10:"):
        assert f"{path}{place}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """The agent gives up after its start timeout and says where it looked."""
    ended = splitrail("agent", "--config", str(write_settings(tmp_path, 1)))
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("splitrail: 127.0.0.1:1: no MQTT broker listens there")


def test_a_broker_that_refuses_is_one_line(tmp_path: Path) -> None:
    """Wrong credentials are told at once."""
    (tmp_path / "password").write_text("wrong\n", encoding="utf-8")
    accounts = tmp_path / "accounts"
    accounts.write_text("", encoding="utf-8")
    settings = f"allow_anonymous false\npassword_file {accounts}\n"
    with PrivateMosquitto(tmp_path / "mosquitto", extra_configuration=settings) as refusing:
        path = write_settings(tmp_path, refusing.port, ", username: pi, password_file: password")
        ended = splitrail("agent", "--config", str(path))
    assert ended.returncode == 2
    assert "the broker refuses the user 'pi' or its password" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, mosquitto: PrivateMosquitto) -> None:
    """The tensor transport's address is named."""
    path = write_settings(tmp_path, mosquitto.port)
    taken = f"tcp://127.0.0.1:{mosquitto.port}"
    path.write_text(path.read_text(encoding="utf-8").replace("tcp://127.0.0.1:0", taken), encoding="utf-8")
    ended = splitrail("agent", "--config", str(path))
    assert ended.returncode == 2
    assert taken in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_agent_announces_its_hardware_and_says_farewell(tmp_path: Path, mosquitto: PrivateMosquitto) -> None:
    """Born with architecture, cores, memory and runtime; SIGTERM ends it in order."""
    seen: list[NodeStatus] = []
    news = threading.Event()
    with Session(mosquitto.settings, site="farewells", client_id="watcher") as session:
        session.on(STATUS, lambda incoming: (seen.append(incoming.message), news.set()))
        command = [*SPLITRAIL, "agent", "--config", str(write_settings(tmp_path, mosquitto.port))]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
            try:
                assert eventually(lambda: [status for status in seen if status.state == "online"], 60)
                agent.send_signal(signal.SIGTERM)
                _, said = agent.communicate(timeout=60)
            finally:
                agent.kill()
        assert agent.returncode == 0, said
        assert eventually(lambda: seen[-1].state == "offline", 10)
    announced = next(status.announcement for status in seen if status.state == "online")
    assert announced is not None
    hardware = announced.hardware
    assert hardware.cores >= 1
    assert hardware.memory_mb > 0
    assert hardware.runtime in {"ai-edge-litert", "tflite-runtime"}
    assert hardware.accelerators == ()
    assert announced.emulated is None


@pytest.mark.parametrize("image", ["missing.jpg", "text.jpg"])
def test_a_wrong_image_is_found_before_anything_is_sent(tmp_path: Path, image: str) -> None:
    """No broker is needed to say so."""
    (tmp_path / "text.jpg").write_text("not an image", encoding="utf-8")
    ended = splitrail("infer", "photos", str(tmp_path / image), "--broker", "127.0.0.1:1")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert image in ended.stderr


def test_an_unknown_deployment_is_one_line_that_lists_those_that_are(
    photographs: tuple[Path, ...], mosquitto: PrivateMosquitto
) -> None:
    """An empty site asks whether its coordinator runs."""
    address = f"127.0.0.1:{mosquitto.port}"
    ended = splitrail("infer", "nothing", str(photographs[0]), "--broker", address, "--site", "empty")
    assert ended.returncode == 2
    assert "the site 'empty' has no deployment 'nothing'" in ended.stderr
