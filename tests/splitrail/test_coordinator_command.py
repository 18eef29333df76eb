"""`splitrail coordinator` as a process: what it prints and how it ends."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import FakeAgent
from made_site import birth_message, declared, folded, offline, plan_message, profile_message, ready_message, received

from broker.mosquitto import PrivateMosquitto
from splitrail.cli import main
from splitrail.commands.coordinator import announcements


@contextmanager
def running(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "splitrail", "coordinator", "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def written(directory: Path, port: int, site: str, model: Path) -> Path:
    config = directory / "coordinator.yaml"
    config.write_text(
        f"site: {site}\nbroker: {{port: {port}, start_timeout_s: 5}}\nhttp: {{port: 0}}\n"
        f"deployments: [{{name: photos, model: {model}, origin: pi}}]\n"
    )
    return config


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_tells_what_happens_and_stops_cleanly(
    ending: signal.Signals, mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> None:
    """A line for each important event, and exit code 0 after SIGTERM or Ctrl-C."""
    config, log = written(tmp_path, mosquitto.port, site, zoo_model("mobilenetv2")), tmp_path / "log"
    with running(config, log) as process:
        with FakeAgent(mosquitto.settings, site, "pi") as pi:
            assert eventually(lambda: pi.notices)
            pi.profile(pi.notices[0].model)
            assert eventually(lambda: pi.plans)
            assert eventually(lambda: "first plan" in log.read_text())
        assert eventually(lambda: "pi is down" in log.read_text())
        process.send_signal(ending)
        assert process.wait(20) == 0
    text = log.read_text()
    for line in ("serving models and the status at http://127.0.0.1:", "pi is up: edge, made up", "photos: plan 1"):
        assert line in text
    assert "Traceback" not in text
    assert text.endswith("stopped\n")


def test_a_broker_that_is_not_there_is_exit_code_2(
    tmp_path: Path, zoo_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens on the broker's port: the command says where it looked."""
    config = written(tmp_path, 1, "lab", zoo_model("mobilenetv2"))
    config.write_text(config.read_text().replace("start_timeout_s: 5", "start_timeout_s: 0.2"))
    assert main(["coordinator", "--config", str(config)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("splitrail: 127.0.0.1:1: no MQTT broker listens there")


def test_a_model_that_is_not_there_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that cannot be read is named."""
    config = written(tmp_path, 1, "lab", tmp_path / "missing.tflite")
    assert main(["coordinator", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert "missing.tflite" in error
    assert error.count("\n") == 1


def test_nothing_new_is_nothing_to_tell() -> None:
    """The same state twice gives no line."""
    state = folded([declared(), *received(birth_message("pi"), profile_message("pi"), plan_message(1, ("pi", 0, 4)))])
    assert announcements(state, state) == []


def test_changes_are_told_in_a_line_each() -> None:
    """A death, a refused node and a refusal are told with their reasons."""
    before = folded([declared(), *received(birth_message("pi"), birth_message("pc"), plan_message(1, ("pi", 0, 4)))])
    after = folded(
        received(
            ready_message("pi", 1, ready=False, reason="disk full"),
            offline("pi"),
            birth_message("pc", "s2", protocol=9),
        ),
        before,
    )
    assert announcements(before, after) == [
        "pi is down",
        "pc is refused: it runs splitrail 0.3 (protocol 9), this coordinator runs 0.1.0 and speaks protocol 3: "
        "upgrade splitrail on the coordinator",
        "photos: pi could not take its part: disk full",
    ]
