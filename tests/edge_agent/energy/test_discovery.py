"""One finding for each kind of meter, on whatever machine; and what this very machine says."""

from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from meter_trees import write

from broker.messages import PowerModel
from edge_agent.configuration import MeterName
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.discovery import discover
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.modelled import ModelledMeter, Traffic
from edge_agent.errors import MeterUnavailableError

MODEL = ModelledMeter(PowerModel(idle_w=1, busy_w=2), lambda: 0.0, lambda: Traffic(0, 0))


def no_firmware() -> str:
    """A machine without `vcgencmd`."""
    raise MeterUnavailableError("no vcgencmd")


def no_binding() -> ModuleType:
    """A machine without `pynvml`."""
    raise MeterUnavailableError("no binding", fix="install it")


def findings(root: Path) -> tuple[Finding, ...]:
    """The findings of the machine below `root`, which has neither a Pi's firmware nor NVIDIA's library."""
    return discover(root, modelled=MODEL, run=no_firmware, load=no_binding)


def test_a_bare_machine_has_the_model_and_reasons(tmp_path: Path) -> None:
    """Each kind is told once; what is not there says why, in clauses that a sentence can take in."""
    told = findings(tmp_path)
    assert sorted(finding.name for finding in told) == sorted(get_args(MeterName))
    assert [finding.name for finding in told if finding.meter is not None] == ["modelled"]
    for finding in told:
        assert finding.covers
        assert (finding.presence == "readable") == (finding.meter is not None) == (not finding.reason)
        assert not (finding.reason + finding.fix).endswith(".")
        assert "\n" not in finding.reason + finding.fix
    assert best_meter("auto", told, emulated=False).meter is MODEL


def test_a_laptop_on_battery_reads_rapl_first(tmp_path: Path) -> None:
    """All its meters are read; the quick one is the primary."""
    write(tmp_path / "sys/class/powercap/intel-rapl:0", {"name": "package-0", "energy_uj": 5})
    battery = {"type": "Battery", "status": "Discharging", "power_now": 6_000_000}
    write(tmp_path / "sys/class/power_supply/BAT0", battery)
    told = findings(tmp_path)
    assert {finding.name for finding in told if finding.meter is not None} == {"rapl", "battery", "modelled"}
    assert best_meter("auto", told, emulated=False).meter.name == "rapl"


def test_a_configured_plug_takes_its_place(tmp_path: Path) -> None:
    """The caller, who knows the broker, hands in what it found of the plug."""
    plug = Finding("plug", "measured", "wall", "the wall", None, "blocked", "no reading for 30 s", "see its topic")
    told = discover(tmp_path, modelled=MODEL, plug=plug, run=no_firmware, load=no_binding)
    assert next(finding for finding in told if finding.name == "plug") is plug


def test_this_machine_can_be_asked() -> None:
    """Whatever it has, looking does no harm, and a meter that is found can be read."""
    for finding in discover(modelled=MODEL):
        if finding.meter is not None:
            assert finding.meter.read_energy_j() >= 0.0
            assert finding == found(finding.meter, finding.covers)


@pytest.mark.parametrize("file", ["sys/class/hwmon", "sys/class/powercap", "sys/class/power_supply"])
def test_a_file_where_a_directory_should_be_is_borne(tmp_path: Path, file: str) -> None:
    """A strange /sys ends in findings, not in a traceback."""
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("")
    assert len(findings(tmp_path)) == len(get_args(MeterName))
