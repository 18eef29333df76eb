"""The GPUs of NVIDIA, through their management library (NVML) and its Python binding, which is loaded only here."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.energy.counters import CounterSum
from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.energy.sysfs import Host
from edge_agent.errors import MeterUnavailableError

_COVERS: Final = "the graphics cards with their memory; not the processor, on which models run here"
_PERIOD_S: Final = 0.1  # how often cards renew their figures differs by model; assumed
_EXTRA_FIX: Final = "install its binding: `pip install splitrail[nvidia]`"


Load = Callable[[], ModuleType]
"""Loads the module `pynvml`; MeterUnavailableError where it is not installed."""


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a machine, as the driver knows them since it was loaded."""

    nvml: ModuleType
    handles: Sequence[Any]
    names: tuple[str, ...]

    def counters_mj(self) -> list[int]:
        """Each card's millijoules since the driver was loaded."""
        return self._each(self.nvml.nvmlDeviceGetTotalEnergyConsumption)

    def power_w(self) -> float:
        """Watts of all cards now."""
        return sum(self._each(self.nvml.nvmlDeviceGetPowerUsage)) / 1e3

    def _each(self, ask: Callable[[Any], int]) -> list[int]:
        try:
            return [ask(handle) for handle in self.handles]
        except self.nvml.NVMLError as error:
            reason = f"the driver does not tell the energy of {', '.join(self.names)}: {error}"
            raise MeterUnavailableError(reason, is_there=True) from None


class NvmlMeter:
    """The sum of the counters of all cards; an interval in which the driver was loaded anew is not counted."""

    name: MeterName = "nvml"
    source: EnergySource = "measured"
    scope: EnergyScope = "gpu"
    resolution_j: Final = 0.001  # it counts mJ: NVML API reference, nvmlDeviceGetTotalEnergyConsumption
    period_s: Final = _PERIOD_S
    is_sampled: Final = False

    def __init__(self, cards: Cards, find_cards: Callable[[], Cards], clock_s: Callable[[], float]) -> None:
        """Count from now; `find_cards` is asked again when the driver was loaded anew."""
        self._cards, self._find_cards, self._clock_s = cards, find_cards, clock_s
        counters_mj = cards.counters_mj()
        self._sum_mj = CounterSum(counters_mj, [None] * len(counters_mj), at_s=clock_s())

    @property
    def uncounted_s(self) -> float:
        """Seconds of intervals in which a card's counter began anew."""
        return self._sum_mj.uncounted_s

    def read_energy_j(self) -> float:
        """Joules of all cards since the meter was made."""
        try:
            counters_mj = self._cards.counters_mj()
        except MeterUnavailableError:
            cards = self._find_cards()
            if cards.names != self._cards.names:
                told = ", ".join(cards.names) or "none"
                raise MeterUnavailableError(
                    f"the graphics cards are others than before: {told}", fix="start the agent anew", is_there=True
                ) from None
            self._cards = cards
            counters_mj = cards.counters_mj()
        return self._sum_mj.advance(counters_mj, self._clock_s()) / 1e3


def find_nvml(host: Host, load: Load) -> Finding:
    """All cards together, by their counters, else (before Volta) by their power; cards never nest."""
    try:
        cards = _cards(load)
        meter = _meter(cards, lambda: _cards(load), host)
    except MeterUnavailableError as error:
        return lacking("nvml", "gpu", _COVERS, error)
    return found(meter, f"{_COVERS}: {', '.join(cards.names)}")


def load_nvml() -> ModuleType:
    """The binding of NVML; MeterUnavailableError where it is not installed."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        raise MeterUnavailableError("the Python binding of NVML is not installed", fix=_EXTRA_FIX) from None


def _cards(load: Load) -> Cards:
    nvml = load()
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        names = [nvml.nvmlDeviceGetName(handle) for handle in handles]
    except nvml.NVMLError as error:
        reason = f"NVML finds no driver of NVIDIA ({error})"
        raise MeterUnavailableError(
            reason, fix="see that `nvidia-smi` works, if this machine has such a card"
        ) from None
    if not handles:
        raise MeterUnavailableError("this machine shows no graphics card of NVIDIA")
    return Cards(nvml, handles, tuple(name.decode() if isinstance(name, bytes) else name for name in names))


def _meter(cards: Cards, find_cards: Callable[[], Cards], host: Host) -> EnergyMeter:
    try:
        return NvmlMeter(cards, find_cards, host.clock_s)
    except MeterUnavailableError:
        sensor = MovingSensor(lambda: find_cards().power_w)
        return PowerMeter(
            "nvml",
            "gpu",
            sensor.read_power_w,
            period_s=_PERIOD_S,
            longest_gap_s=host.longest_gap_s,
            clock_s=host.clock_s,
        )
