"""`splitrail profile`: its figures, and what it refuses in one line."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from edge_agent.energy import calibration_run, discovery
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.meter import EnergyMeter
from models.codec_figures import CodecFigures
from models.graph import read_graph
from splitrail.cli import main


def test_the_figures_are_one_json_object(
    small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A time for each op, and the runtime that they hold for."""
    path = small_model("branchy")
    assert main(["profile", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["op_ms"]) == len(read_graph(path).ops)
    assert figures["threads"] == 1


def test_the_best_number_of_threads_can_be_asked_for(
    small_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As agents choose it: each count that was tried is told with its time."""
    monkeypatch.setattr("edge_agent.profiler.usable_cores", lambda: 2)
    assert main(["profile", str(small_model("branchy")), "--threads", "auto", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [time["threads"] for time in figures["thread_ms"]] in ([1], [1, 2])
    assert main(["profile", str(small_model("branchy")), "--threads", "auto"]) == 0
    assert "thread(s) of 1: " in " ".join(capsys.readouterr().out.split())


def test_codecs_take_a_number_of_threads(
    small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is tried for them."""
    assert main(["profile", str(small_model("branchy")), "--codecs", "--threads", "auto"]) == 2
    assert "--codecs takes a number of --threads" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "2.5", "many", "9999999999999"])
def test_a_wrong_number_of_threads_is_one_line(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what would be right."""
    with pytest.raises(SystemExit) as left:
        main(["profile", "model.tflite", f"--threads={threads}"])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert f"'{threads}' is neither auto nor a whole number from 1 to 256" in printed
    assert printed.count("\n") == 1


def test_a_model_of_text_is_one_line(small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2: its inputs cannot be made up."""
    assert main(["profile", str(small_model("strings"))]) == 2
    assert "is of type string" in capsys.readouterr().err


def test_codecs_are_measured_and_kept_beside_the_model(
    small_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed as JSON is what the coordinator will find."""
    path = tmp_path / "branchy.tflite"
    path.write_bytes(small_model("branchy").read_bytes())
    assert main(["profile", str(path), "--codecs", "--cuts", "0", "2", "--samples", "2", "--json"]) == 0
    printed = msgspec.json.decode(capsys.readouterr().out, type=CodecFigures)
    assert msgspec.json.decode((tmp_path / "branchy.codecs.json").read_bytes(), type=CodecFigures) == printed
    assert {each.k for each in printed.cuts} == {0, 2}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["branchy.codecs.json", "branchy.tflite"]
    assert main(["profile", str(path), "--codecs", "--cuts", "2", "--samples", "2"]) == 0
    assert "int8+zstd" in capsys.readouterr().out
    assert main(["profile", str(path), "--codecs", "--narrowest", "2", "--samples", "2", "--json"]) == 0
    assert len({each.k for each in msgspec.json.decode(capsys.readouterr().out, type=CodecFigures).cuts}) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cuts", "3"], "--cuts says what --codecs measures: give both or neither"),
        (["--images", "a.jpg"], "--images says what --codecs measures: give both or neither"),
        (["--codecs", "--cuts", "2", "--narrowest", "3"], "both say which cuts are measured: give one of them"),
        (["--codecs", "--energy"], "--energy and --codecs measure different things: give one at a time"),
        (["--codecs", "--images", "a.jpg"], "there is no image a.jpg"),
        (["--codecs", "--cuts", "300"], "there is no cut 300 that a codec may be at"),
    ],
)
def test_what_codecs_cannot_be_measured_on_is_one_line(
    options: list[str], message: str, small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and what would be right."""
    assert main(["profile", str(small_model("branchy")), *options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


class LinearMachine:
    """A machine of two cores, as busy as it is told to be, whose meter says 3 W, and 7 W more for all cores busy."""

    name, source, scope = "rapl", "measured", "package"
    resolution_j = uncounted_s = period_s = 0.0
    is_sampled = False

    def __init__(self) -> None:
        self._since_s, self._busy_s, self._threads = time.monotonic(), 0.0, 0

    @contextlib.contextmanager
    def looped(self, path: Path, threads: int) -> Iterator[None]:
        """So many threads run a model that is there."""
        assert path.exists()
        self.busy_s()
        self._threads = threads
        yield
        self.busy_s()
        self._threads = 0

    @property
    def power_w(self) -> float:
        """What it draws now."""
        return 3.0 + 7.0 * min(self._threads, 2) / 2

    def busy_s(self) -> float:
        """Seconds in which both cores were busy."""
        now_s = time.monotonic()
        self._busy_s += (now_s - self._since_s) * min(self._threads, 2) / 2
        self._since_s = now_s
        return self._busy_s

    def read_energy_j(self) -> float:
        """Joules since the machine began."""
        busy_s = self.busy_s()
        return 3.0 * self._since_s + 7.0 * busy_s


@pytest.fixture
def _metered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a machine, measured in short."""
    machine = LinearMachine()

    def discover(*, modelled: EnergyMeter) -> tuple[Finding, ...]:
        return (found(machine, "the package"), found(modelled, "a model"))  # type: ignore[arg-type]  # its names are literals

    command = "splitrail.commands.profile_energy"
    monkeypatch.setattr(f"{command}.discover", discover)
    monkeypatch.setattr(f"{command}.machine_busy_s", machine.busy_s)
    monkeypatch.setattr(f"{command}.model_looped", machine.looped)
    monkeypatch.setattr(f"{command}.usable_cores", lambda: 2)
    monkeypatch.setattr(calibration_run, "LEAST_WINDOW_S", 0.1)
    monkeypatch.setattr(calibration_run, "SETTLE_S", 0.01)


@pytest.mark.usefixtures("_metered")
def test_the_power_model_is_fitted_to_a_meter(
    small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines for agent.yaml, what they cover, and the error before and after."""
    assert main(["profile", str(small_model("branchy")), "--energy"]) == 0
    printed = capsys.readouterr().out
    assert "power:  # fitted to rapl: the processor's package alone, not the board" in printed
    assert "the model's error: " in printed


@pytest.mark.usefixtures("_metered")
def test_the_fit_is_one_json_object(small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A linear machine is found again."""
    assert main(["profile", str(small_model("branchy")), "--energy", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["meter"], figures["scope"]) == ("rapl", "package")
    assert figures["fit"]["idle_w"] == pytest.approx(3.0, abs=0.5)
    assert figures["fit"]["busy_w"] == pytest.approx(10.0, abs=0.5)
    assert figures["after_error"] < figures["before_error"]


@dataclass(frozen=True)
class Plugged:
    """An agent.yaml with a smart plug, and who speaks for the plug."""

    file: Path
    topic: str
    session: Session


@pytest.fixture
def plugged(mosquitto: PrivateMosquitto, site: str, tmp_path: Path) -> Iterator[Plugged]:
    """A node whose plug is on a real broker."""
    topic, file = f"zigbee2mqtt/{site}", tmp_path / "agent.yaml"
    file.write_text(
        f"site: {site}\nnode: pi\ntier: edge\nbroker: {{port: {mosquitto.port}}}\n"
        f"power: {{idle_w: 4.0, busy_w: 8.0}}\n"
        f"energy: {{meter: plug, plug: {{kind: zigbee2mqtt, topic: {topic}}}}}\n",
        encoding="utf-8",
    )
    with Session(mosquitto.settings, site=site, client_id=f"{site}-plug") as session:
        yield Plugged(file, topic, session)


@pytest.mark.usefixtures("_metered")
def test_a_plug_is_calibrated_by_over_its_broker(
    plugged: Plugged,
    small_model: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once it has spoken twice, by the node's own settings."""
    machine, ended = LinearMachine(), threading.Event()
    monkeypatch.setattr("splitrail.commands.profile_energy.discover", discovery.discover)
    monkeypatch.setattr("splitrail.commands.profile_energy.machine_busy_s", machine.busy_s)
    monkeypatch.setattr("splitrail.commands.profile_energy.model_looped", machine.looped)

    def speak() -> None:
        while not ended.wait(0.02):
            payload = json.dumps({"power": machine.power_w, "energy": 1.23}).encode()
            plugged.session.publish_foreign(plugged.topic, payload, retain=False)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        model = str(small_model("branchy"))
        assert main(["profile", model, "--energy", "--json", "--settings", str(plugged.file)]) == 0
    finally:
        ended.set()
        speaker.join()
    figures = json.loads(capsys.readouterr().out)
    assert (figures["meter"], figures["scope"]) == ("plug", "wall")
    assert (figures["before_idle_w"], figures["before_busy_w"]) == (4.0, 8.0)
    assert figures["fit"]["idle_w"] == pytest.approx(3.0, abs=1.0)
    assert figures["fit"]["busy_w"] == pytest.approx(10.0, abs=1.5)


def test_a_plug_that_is_silent_is_one_line(
    plugged: Plugged,
    small_model: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says on which topic nothing came."""
    monkeypatch.setattr("splitrail.commands.profile_energy.STALE_PERIODS", 0.001)
    assert main(["profile", str(small_model("branchy")), "--energy", "--settings", str(plugged.file)]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith(f"splitrail: the smart plug is silent: nothing has come on {plugged.topic}")


def test_without_a_meter_there_is_one_line(
    small_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and where to look."""
    monkeypatch.setattr("splitrail.commands.profile_energy.discover", lambda *, modelled: (found(modelled, "a model"),))
    assert main(["profile", str(small_model("branchy")), "--energy"]) == 2
    printed = capsys.readouterr().err
    assert "nothing to calibrate by" in printed
    assert "`splitrail doctor`" in printed
    assert printed.count("\n") == 1


def test_settings_without_energy_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The ops of a model are no matter of a node's settings."""
    assert main(["profile", "model.tflite", "--settings", "agent.yaml"]) == 2
    assert "--energy" in capsys.readouterr().err
