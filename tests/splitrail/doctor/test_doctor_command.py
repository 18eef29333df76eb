"""`splitrail doctor` as a user calls it: what is looked at, what is printed, and the exit code."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import coordinating
from rich.console import Console

from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings
from coordinator.service import Coordinator
from splitrail.cli import main
from splitrail.commands.doctor import drawn, summary
from splitrail.doctor.finding import Finding


@pytest.fixture(autouse=True)
def quick_meters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of power is not what these tests are about."""
    monkeypatch.setattr("splitrail.doctor.meters.WINDOW_S", 0.1)


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """The exit code, and by subject what is not ok, each as verdict and words."""
    code = main(["doctor", "--json", *options])
    printed = capsys.readouterr()
    assert printed.err == ""
    told: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(printed.out)["findings"]:
        told.setdefault(finding["subject"], []).append((finding["verdict"], finding["says"]))
    return code, told


def test_a_machine_is_looked_at_without_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it is; nothing of a site is asked for."""
    code, told = doctor(capsys)
    assert {"python", "packages: agent", "runtime", "clock", "temperature", "throttling"} <= set(told)
    assert "meter: modelled" in told
    assert "meters: primary" in told
    assert not {"broker", "coordinator", "settings"} & set(told)
    problems = [words for findings in told.values() for verdict, words in findings if verdict == "problem"]
    assert code == (1 if problems else 0)


def test_settings_that_are_not_there_are_bad_usage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As a directory is."""
    assert main(["doctor", "--config", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err.endswith("No such file or directory; give the settings file to look at\n")
    assert main(["doctor", "--config", str(tmp_path)]) == 2
    assert main(["doctor", "--json", "--config", str(tmp_path / "none.yaml")]) == 2


def test_everything_wrong_in_settings_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With its place; what needs no settings is looked at all the same."""
    config = tmp_path / "agent.yaml"
    config.write_text("site: home\nnode: pi\nteir: edge\nthreads: many\n")
    code, told = doctor(capsys, "--config", str(config))
    assert code == 1
    assert [verdict for verdict, _ in told["settings"]] == ["problem", "problem"]
    assert "agent.yaml:3:1: teir: unknown key; did you mean 'tier'?" in told["settings"][0][1]
    assert "meter: modelled" in told
    assert "broker" not in told


@pytest.fixture
def coordinator(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path, small_model: Callable[[str], Path]
) -> Iterator[Coordinator]:
    """A coordinator that leads a site."""
    settings = CoordinatorSettings(
        site=site,
        broker=mosquitto.settings,
        store=tmp_path / "telemetry.sqlite",
        cache=tmp_path / "models",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=small_model("branchy"), origin="pi"),),
    )
    with coordinating(settings) as running:
        yield running


def test_a_node_of_a_site_that_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mosquitto: PrivateMosquitto, site: str, coordinator: Coordinator
) -> None:
    """The broker and, by what it keeps, the coordinator are found; the node itself is not up yet."""
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"site: {site}\nnode: pi\ntier: edge\ncache: cache\nthreads: 1\n"
        f"broker:\n  port: {mosquitto.settings.port}\n"
        "tensors:\n  listen: tcp://127.0.0.1:0\n"
    )
    assert eventually(lambda: coordinator.status().leadership.state == "leads")  # type: ignore[union-attr]  # it says
    code, told = doctor(capsys, "--config", str(config))
    assert ("ok", f"answers for the site {site}") in told["coordinator"]
    assert told["node pi"] == [("note", "the coordinator does not see it")]
    assert {verdict for verdict, _ in told["broker"]} == {"ok"}
    assert any("agrees with the coordinator's" in says for _, says in told["clock"])
    assert not [words for findings in told.values() for verdict, words in findings if verdict == "problem"]
    assert code == 0
    assert not (tmp_path / "cache").exists()


def test_a_node_s_smart_plug_is_listened_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mosquitto: PrivateMosquitto, site: str
) -> None:
    """On the same broker, as the agent would; a plug is slow, so it is no primary meter by itself."""
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"site: {site}\nnode: pi\ntier: edge\ncache: cache\nbroker:\n  port: {mosquitto.settings.port}\n"
        f"tensors:\n  listen: tcp://127.0.0.1:0\nenergy:\n  plug:\n    kind: zigbee2mqtt\n    topic: {site}/plug\n"
    )
    _, told = doctor(capsys, "--config", str(config))
    ((verdict, says),) = told["plug"]
    assert verdict == "note"
    assert says.startswith(f"nothing came on {site}/plug")
    with Session(mosquitto.settings, site=site, client_id=f"{site}-plug") as plug:
        plug.publish_foreign(f"{site}/plug", b'{"power":4.5,"energy":0.12}', retain=True)
        assert eventually(lambda: doctor(capsys, "--config", str(config))[1]["plug"][0][0] == "ok")
    _, told = doctor(capsys, "--config", str(config))
    assert told["plug"] == [("ok", f"speaks on {site}/plug, 4.5 W")]
    assert told["meter: plug"][0][1].startswith("measured, wall: ")


def test_a_coordinator_beside_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mosquitto: PrivateMosquitto, site: str, coordinator: Coordinator
) -> None:
    """Its store and lead are left alone while it runs."""
    config = tmp_path / "coordinator.yaml"
    port = coordinator.url.rpartition(":")[2]
    config.write_text(
        f"site: {site}\nstore: telemetry.sqlite\ncache: models\nbroker:\n  port: {mosquitto.settings.port}\n"
        f"http:\n  port: {port}\ndeployments:\n  - name: photos\n    model: none.tflite\n    origin: pi\n"
    )
    assert eventually(lambda: coordinator.status().leadership.state == "leads")  # type: ignore[union-attr]  # as above
    term = coordinator.status().leadership.term  # type: ignore[union-attr]  # as above
    assert eventually(lambda: coordinator.unreadiness() is None)
    code, told = doctor(capsys, "--config", str(config))
    assert told["coordinator"] == [("ok", f"it runs at {coordinator.url} and is ready")]
    assert told["model of photos"] == [("problem", f"{tmp_path / 'none.tflite'} is not there")]
    assert {verdict for verdict, _ in told["broker: access"]} == {"ok"}
    assert code == 1
    leadership = coordinator.status().leadership
    assert leadership is not None
    assert (leadership.state, leadership.term) == ("leads", term)


def test_a_client_whose_broker_is_away(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each finding is one line, and the others are made too."""
    config = tmp_path / "client.yaml"
    config.write_text("broker:\n  port: 1\ncoordinator: http://127.0.0.1:1\n")
    code, told = doctor(capsys, "--config", str(config))
    assert code == 1
    assert told["broker"] == [("problem", "127.0.0.1:1: no MQTT broker listens there")]
    ((verdict, says),) = told["coordinator"]
    assert verdict == "problem"
    assert "no coordinator answers at http://127.0.0.1:1" in says
    assert "\n" not in says


def test_it_runs_where_packages_are_missing() -> None:
    """Each missing one is told with its extra, and nothing ends in a traceback."""
    script = (
        "import sys\n"
        "for name in ('paho', 'yaml', 'numpy', 'psutil', 'cryptography', 'starlette', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "from splitrail.cli import main\n"
        "sys.exit(main(['doctor', *sys.argv[1:]]))\n"
    )
    for options in ([], ["--config", str(Path(__file__).parents[3] / "docs/coordinator.yaml")]):
        command = [sys.executable, "-c", script, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)
        assert "is missing" in done.stdout


def test_findings_are_drawn_with_their_fixes() -> None:
    """And counted; what comes from elsewhere cannot steer the terminal."""
    findings = (
        Finding("python", "ok", "here"),
        Finding("broker", "problem", "not \x1b[2J there", "start it"),
        Finding("clock", "note", "off"),
    )
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(drawn(findings))
    text = capture.get()
    assert "not ?[2J there" in text
    assert "→ start it" in text
    assert summary(findings) == "1 problem, 1 note"
    assert summary(findings[:1]) == "nothing is wrong"
    assert summary((*findings, findings[1])) == "2 problems, 1 note"
