"""NVIDIA's cards behind a stand-in for the module `pynvml`, whose names and units are the real one's."""

from pathlib import Path
from types import ModuleType

import pytest
from meter_trees import Clock, host

from edge_agent.energy.finding import Finding
from edge_agent.energy.nvml import find_nvml, load_nvml
from edge_agent.errors import MeterUnavailableError


class NVMLError(Exception):
    """As in `pynvml`."""


class Cards:
    """The machine's cards, by name; None is a figure that the driver does not tell."""

    def __init__(self, *names: str | bytes) -> None:
        self.names = names
        self.energy_mj: dict[int, int | None] = dict.fromkeys(range(len(names)), 7_000_000)
        self.power_mw: dict[int, int | None] = dict.fromkeys(range(len(names)), 30_000)
        self.is_driver_loaded = True

    def load(self) -> ModuleType:
        """The module `pynvml`, before this machine."""
        module = ModuleType("pynvml")
        module.NVMLError = NVMLError
        module.nvmlInit = self.check
        module.nvmlDeviceGetCount = lambda: len(self.names)
        module.nvmlDeviceGetHandleByIndex = lambda index: index
        module.nvmlDeviceGetName = lambda handle: self.names[handle]
        module.nvmlDeviceGetTotalEnergyConsumption = lambda handle: self.told(self.energy_mj[handle])
        module.nvmlDeviceGetPowerUsage = lambda handle: self.told(self.power_mw[handle])
        return module

    def check(self) -> None:
        """NVML fails as long as the driver is not loaded."""
        if not self.is_driver_loaded:
            raise NVMLError("Driver Not Loaded")

    def told(self, figure: int | None) -> int:
        """A figure that the driver tells."""
        self.check()
        if figure is None:
            raise NVMLError("Not Supported")
        return figure


def find(cards: Cards, clock: Clock) -> Finding:
    """What is found of these cards."""
    return find_nvml(host(Path("/nowhere"), clock), cards.load)


def test_all_cards_are_summed_by_their_counters() -> None:
    """Cards do not nest; millijoules since the driver was loaded become joules since the meter was made."""
    clock = Clock()
    cards = Cards("RTX A2000", b"Tesla V100")
    finding = find(cards, clock)
    assert finding.meter is not None
    assert (finding.name, finding.source, finding.scope) == ("nvml", "measured", "gpu")
    assert finding.covers.endswith("RTX A2000, Tesla V100")
    assert not finding.meter.is_sampled
    cards.energy_mj = {0: 7_001_000, 1: 7_002_500}
    clock.now_s += 1
    assert finding.meter.read_energy_j() == pytest.approx(3.5)


def test_older_cards_are_counted_by_their_power() -> None:
    """Where one has no counter, milliwatts are sampled: 2 cards of 30 W for 2 s."""
    clock = Clock()
    cards = Cards("GTX 1060", "GTX 1060")
    cards.energy_mj[1] = None
    meter = find(cards, clock).meter
    assert meter is not None
    assert meter.is_sampled
    clock.now_s += 2
    assert meter.read_energy_j() == pytest.approx(120.0)


def test_a_driver_that_is_loaded_anew() -> None:
    """Meanwhile it is unavailable; afterwards its counters begin anew, and that interval is not counted."""
    clock = Clock()
    cards = Cards("RTX A2000")
    meter = find(cards, clock).meter
    assert meter is not None
    cards.is_driver_loaded = False
    with pytest.raises(MeterUnavailableError, match="Driver Not Loaded"):
        meter.read_energy_j()
    cards.is_driver_loaded = True
    cards.energy_mj = {0: 10}
    clock.now_s += 3
    assert meter.read_energy_j() == 0.0
    assert meter.uncounted_s == pytest.approx(3.0)
    cards.energy_mj = {0: 1_010}
    clock.now_s += 1
    assert meter.read_energy_j() == pytest.approx(1.0)


def test_other_cards_than_before_are_not_mixed() -> None:
    """A card that fell off the bus makes the sum another one."""
    cards = Cards("RTX A2000", "RTX A2000")
    meter = find(cards, Clock()).meter
    assert meter is not None
    cards.names = ("RTX A2000",)
    cards.energy_mj[1] = None
    with pytest.raises(MeterUnavailableError, match="others than before: RTX A2000: start the agent anew"):
        meter.read_energy_j()


def test_why_there_is_none() -> None:
    """No driver, no card, and a card that tells neither counter nor power are told apart."""
    without_driver = Cards()
    without_driver.is_driver_loaded = False
    assert "Driver Not Loaded" in find(without_driver, Clock()).reason
    assert find(Cards(), Clock()).reason == "this machine shows no graphics card of NVIDIA"
    silent = Cards("Quadro K620")
    silent.energy_mj, silent.power_mw = {0: None}, {0: None}
    finding = find(silent, Clock())
    assert finding.presence == "blocked"
    assert "Quadro K620: Not Supported" in finding.reason


def test_the_binding_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lacks it learns its name."""
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(MeterUnavailableError, match=r"pip install splitrail\[nvidia\]"):
        load_nvml()
