"""Which meter is a node's primary, and the reason that is given."""

from dataclasses import dataclass

import pytest

from broker.messages import EnergyScope, EnergySource, PowerModel
from edge_agent.configuration import MeterName
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.modelled import ModelledMeter, Traffic
from edge_agent.errors import MeterUnavailableError

MODEL = ModelledMeter(PowerModel(idle_w=1, busy_w=2), lambda: 0.0, lambda: Traffic(0, 0))


@dataclass
class StandIn:
    """A meter that is only looked at."""

    name: MeterName
    scope: EnergyScope
    period_s: float
    source: EnergySource = "measured"
    resolution_j: float = 0.0
    is_sampled: bool = False
    uncounted_s: float = 0.0

    def read_energy_j(self) -> float:
        """Nothing is used."""
        return 0.0


HWMON = StandIn("hwmon", "board", 0.1)
QUICK_PLUG = StandIn("plug", "wall", 1.0)
RAPL = StandIn("rapl", "package", 0.001)
PMIC = StandIn("pi5-pmic", "soc", 1.0)
SLOW_PLUG = StandIn("plug", "wall", 10.0)
NVML = StandIn("nvml", "gpu", 0.1)


def machine(*meters: StandIn) -> tuple[Finding, ...]:
    """The findings of a machine with these meters and the model."""
    return (*(found(meter, "") for meter in meters), found(MODEL, ""))


def without_rapl(reason: str = "it may not be read", fix: str = "add a rule") -> tuple[Finding, ...]:
    """The findings of a machine whose RAPL is blocked."""
    return (Finding("rapl", "measured", "package", "", None, "blocked", reason, fix), found(MODEL, ""))


@pytest.mark.parametrize(
    ("meters", "best"),
    [
        ((RAPL, HWMON, NVML), HWMON),
        ((RAPL, QUICK_PLUG), QUICK_PLUG),
        ((SLOW_PLUG, RAPL), RAPL),
        ((SLOW_PLUG, PMIC), PMIC),
        ((PMIC, RAPL), RAPL),
        ((SLOW_PLUG, NVML), SLOW_PLUG),
        ((QUICK_PLUG, HWMON), QUICK_PLUG),
    ],
)
def test_auto_goes_by_scope_and_quickness(meters: tuple[StandIn, ...], best: StandIn) -> None:
    """The whole machine quickly, then the package, then the chip, then the whole machine slowly; of two, the first."""
    assert best_meter("auto", machine(*meters), emulated=False).meter is best


def test_a_gpu_alone_is_no_primary() -> None:
    """The runtime computes on the processor, which a GPU's meter does not see."""
    assert best_meter("auto", machine(NVML), emulated=False).meter is MODEL
    assert best_meter("nvml", machine(NVML), emulated=False).meter is NVML


def test_the_model_stands_in_and_says_why() -> None:
    """Where a meter is there but blocked, the reason is its own."""
    choice = best_meter("auto", without_rapl(), emulated=False)
    assert choice.meter is MODEL
    assert choice.reason == "the model, because rapl: it may not be read; `splitrail doctor` says what would help"
    assert "shows no meter" in best_meter("auto", machine(), emulated=False).reason


def test_the_settings_go_first() -> None:
    """Who asks for a meter by name gets it, or an error with the fix."""
    assert best_meter("modelled", machine(RAPL), emulated=False).meter is MODEL
    assert best_meter("rapl", machine(HWMON, RAPL), emulated=False).meter is RAPL
    with pytest.raises(MeterUnavailableError, match=r"energy\.meter is rapl, but it may not be read: add a rule, or"):
        best_meter("rapl", without_rapl(), emulated=False)
    with pytest.raises(MeterUnavailableError, match=r"but it may not be read: use `auto`"):
        best_meter("rapl", without_rapl(fix=""), emulated=False)


def test_an_emulated_node_is_modelled() -> None:
    """A meter of the host would show the host's joules under another machine's name."""
    for wanted in ("auto", "modelled"):
        choice = best_meter(wanted, machine(RAPL), emulated=True)
        assert choice.meter is MODEL
        assert "emulated" in choice.reason
    with pytest.raises(MeterUnavailableError, match="emulated"):
        best_meter("rapl", machine(RAPL), emulated=True)
