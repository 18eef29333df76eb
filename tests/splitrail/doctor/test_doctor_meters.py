"""What the doctor makes of a machine's energy meters."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName, PlugSettings
from edge_agent.energy.finding import Finding as MeterFinding
from edge_agent.energy.finding import found, lacking
from edge_agent.errors import MeterUnavailableError
from splitrail.doctor.finding import Finding
from splitrail.doctor.meters import meter_findings
from splitrail.doctor.node import plug_finding


def verdicts(findings: Iterable[Finding]) -> list[str]:
    return [finding.verdict for finding in findings]


# --- meters


@dataclass
class FakeMeter:
    """A meter that rises by so many joules at each reading."""

    name: MeterName
    source: EnergySource = "measured"
    scope: EnergyScope = "board"
    resolution_j: float = 0.0
    period_s: float = 0.1
    is_sampled: bool = False
    uncounted_s: float = 0.0
    step_j: float = 6.5
    reads: int = 0
    failure: MeterUnavailableError | None = None

    def read_energy_j(self) -> float:
        if self.failure is not None:
            raise self.failure
        self.reads += 1
        return self.reads * self.step_j


MODEL = found(FakeMeter("modelled", "modelled", step_j=4.0), "the whole machine, by a model")
BLOCKED = lacking(
    "rapl",
    "package",
    "the processor",
    MeterUnavailableError("energy_uj may not be read", fix="add a udev rule", is_there=True),
)
ABSENT = lacking("jetson", "board", "the board", MeterUnavailableError("no INA3221 here"))


def looked_at(*meters: MeterFinding, wanted: MeterName | str = "auto", emulated: bool = False) -> list[Finding]:
    now = iter(float(second) for second in range(1_000))
    return list(
        meter_findings(
            meters,
            wanted,  # type: ignore[arg-type]  # a test names what it likes
            emulated=emulated,
            sleep=lambda seconds: None,
            clock_s=lambda: next(now) / len(meters),
        )
    )


def test_each_meter_shows_what_it_reads_and_covers() -> None:
    """And the one by which inferences are reckoned."""
    (meter, model, primary) = looked_at(found(FakeMeter("hwmon"), "the whole board"), MODEL)
    assert meter == Finding("meter: hwmon", "ok", "6.5 W now, measured, board: the whole board")
    assert model.says.startswith("4 W now, modelled, board: ")
    assert primary.says.startswith("hwmon, measured, board: ")


def test_why_a_meter_is_not_there_is_told_with_the_fix() -> None:
    """One that the machine has and that cannot be read is a note; one that it lacks is no matter."""
    (blocked, absent, _, primary) = looked_at(BLOCKED, ABSENT, MODEL)
    assert blocked == Finding("meter: rapl", "note", "energy_uj may not be read", "add a udev rule")
    assert absent == Finding("meter: jetson", "ok", "not here: no INA3221 here")
    assert primary.verdict == "ok"
    assert primary.says.startswith("modelled, modelled, board: ")


@pytest.mark.parametrize("meter", [BLOCKED, ABSENT])
def test_a_meter_that_the_settings_want_must_be_there(meter: MeterFinding) -> None:
    """Otherwise the agent does not start."""
    findings = looked_at(meter, MODEL, wanted=meter.name)
    assert verdicts(findings) == ["problem", "ok", "problem"]
    assert findings[-1].fix


def test_a_meter_that_fails_now_says_so() -> None:
    """Though it was there a moment ago."""
    failing = FakeMeter(
        "battery", failure=MeterUnavailableError("the battery is charging", fix="unplug it", is_there=True)
    )
    (finding, *_) = looked_at(found(failing, "the whole machine"), MODEL)
    assert finding == Finding("meter: battery", "note", "the battery is charging", "unplug it")


def test_a_slow_meter_is_not_waited_for() -> None:
    """A smart plug may speak every five minutes."""
    plug = FakeMeter("plug", scope="wall", period_s=300.0)
    (finding, *_) = looked_at(found(plug, "all that the plug feeds"), MODEL)
    assert finding == Finding("meter: plug", "ok", "measured, wall: all that the plug feeds")
    assert plug.reads == 0


def test_an_emulated_node_has_the_model_alone() -> None:
    """A meter of this host measures another machine."""
    (*_, primary) = looked_at(found(FakeMeter("hwmon"), "the board"), MODEL, emulated=True)
    assert primary.says.startswith("modelled, ")


def test_what_a_plug_says_is_read() -> None:
    """Nothing in the moment that we listened is only a note."""
    plug = PlugSettings(kind="shelly", topic="pi-plug/status/switch:0")
    spoke = plug_finding(plug, b'{"id":0,"apower":4.7,"aenergy":{"total":11.7}}')
    assert (spoke.verdict, spoke.says) == ("ok", "speaks on pi-plug/status/switch:0, 4.7 W")
    assert plug_finding(plug, None).verdict == "note"
    assert plug_finding(plug, b"nonsense").verdict == "problem"
