"""INA2xx power monitors in a board's supply (INA219, INA226, INA260 and their kin), as Linux' hwmon shows them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.energy.sysfs import Host
from edge_agent.errors import MeterUnavailableError

# Prefixes of the chips: the kernel's Documentation/hwmon/ina2xx.rst, ina238.rst and drivers/hwmon/ina2xx.c.
_CHIPS: Final = frozenset(
    {"ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina232", "ina234", "ina237", "ina238", "ina260"}
    | {"ina780", "sq52206", "sy24655"}
)
# By the shunt, the current's step, and the power's in units of that: drivers/hwmon/ina2xx.c, shunt_div and
# power_lsb_factor.
_DIVISOR_AND_FACTOR: Final = {
    "ina219": (100, 20),
    "ina220": (100, 20),
    "ina226": (400, 25),
    "ina230": (400, 25),
    "ina231": (400, 25),
    "ina232": (400, 32),
    "ina234": (25, 32),
    "ina260": (400, 8),
    "sy24655": (400, 25),
}
_INA260_SHUNT_UOHM: Final = 2_000  # inside the chip: drivers/hwmon/ina2xx.c, INA260_RSHUNT
_DEFAULT_SHUNT_UOHM: Final = 10_000  # what the driver assumes unless told: ina2xx.c, INA2XX_RSHUNT_DEFAULT
_USUAL_PERIOD_S: Final = 0.07  # "worst case is 68.10 ms": ina2xx.c, INA2XX_CONVERSION_RATE
_SHORTEST_PERIOD_S: Final = 0.05  # each reading is a transfer over a slow bus, which costs the node itself power
_LEAST_W: Final = 0.1  # an idle Raspberry Pi Zero draws about 0.4 W; assumed
_COVERS: Final = "what flows through the monitor's shunt, which is taken to be the board's supply"
_ABSENCE_FIX: Final = (
    "wire an INA219 or INA226 into the board's supply and tell the kernel of it and of its shunt (docs/energy.md)"
)


@dataclass(frozen=True, slots=True)
class Monitor:
    """One chip: its prefix, and the device behind it, which keeps its name when hwmonN changes."""

    chip: str
    device: str
    """Such as `1-0040`: bus 1, address 0x40."""
    label: str | None
    """What the device tree calls it."""
    directory: Path
    """Below the device's own directory, so that it is never another chip's."""


def find_hwmon(host: Host) -> Finding:
    """The monitor in the board's supply.

    Of several, which may lie one behind the other and so are never summed, it is the one whose label in the device
    tree is `board`, else the first by bus and address.
    """
    seen = _monitors(host)
    if not seen:
        reason = f"{host.root / 'sys/class/hwmon'} shows no INA2xx power monitor"
        return lacking("hwmon", "board", _COVERS, MeterUnavailableError(reason, fix=_ABSENCE_FIX))
    chosen = min(seen, key=lambda monitor: (monitor.label != "board", monitor.device, monitor.chip))
    try:
        meter = PowerMeter(
            "hwmon",
            "board",
            MovingSensor(lambda: _locate(host, chosen)).read_power_w,
            period_s=_period_s(host, chosen),
            longest_gap_s=host.longest_gap_s,
            clock_s=host.clock_s,
            power_step_w=_power_step_w(host, chosen),
        )
    except MeterUnavailableError as error:
        return lacking("hwmon", "board", _COVERS, error)
    return found(meter, f"{_COVERS}: {_in_words(host, chosen, seen)}")


def _monitors(host: Host) -> list[Monitor]:
    """The INA2xx chips that hwmon shows now."""
    seen = []
    for entry in host.entries("sys/class/hwmon/hwmon*"):
        directory = entry.resolve()  # by its device: numbers are given anew, and to other chips
        chip = host.line(directory / "name")
        if chip is not None and chip.lower() in _CHIPS:
            label = host.line(directory / "label")
            seen.append(Monitor(chip.lower(), (directory / "device").resolve().name, label, directory))
    return seen


def _locate(host: Host, wanted: Monitor) -> Callable[[], float]:
    """What reads the watts of a chip, wherever hwmon shows it now."""
    for monitor in _monitors(host):
        if (monitor.chip, monitor.device) == (wanted.chip, wanted.device):
            return lambda: _power_w(host, monitor.directory)
    reason = f"{host.root / 'sys/class/hwmon'} shows no {wanted.chip} at {wanted.device} any more"
    raise MeterUnavailableError(reason, fix="see whether its wires hold, and what `dmesg` says", is_there=True)


def _power_w(host: Host, directory: Path) -> float:
    if (directory / "power1_input").exists():
        power_w = host.number(directory / "power1_input") / 1e6
    else:
        millivolt = host.number(directory / "in1_input")
        power_w = millivolt * host.number(directory / "curr1_input") / 1e6
    if power_w < _LEAST_W:
        reason = f"{directory} shows {power_w:g} W, which no running board draws"
        raise MeterUnavailableError(
            reason, fix="see that its shunt lies in the supply, the right way round", is_there=True
        )
    return power_w


def _in_words(host: Host, chosen: Monitor, seen: list[Monitor]) -> str:
    words = f"{chosen.chip} at {chosen.device}"
    shunt_uohm = _shunt_uohm(host, chosen)
    if shunt_uohm is not None:
        words += f", shunt {shunt_uohm / 1000:g} mΩ"
        if shunt_uohm == _DEFAULT_SHUNT_UOHM:
            words += ", the driver's default: a wrong shunt scales every watt, and many breakout boards have 100 mΩ"
    others = [f"{monitor.chip} at {monitor.device}" for monitor in seen if monitor is not chosen]
    return f"{words}; not counted: {', '.join(others)}" if others else words


def _shunt_uohm(host: Host, monitor: Monitor) -> int | None:
    if monitor.chip == "ina260":
        return _INA260_SHUNT_UOHM
    return host.number_or_none(monitor.directory / "shunt_resistor")


def _period_s(host: Host, monitor: Monitor) -> float:
    interval_ms = host.number_or_none(monitor.directory / "update_interval")
    return _USUAL_PERIOD_S if interval_ms is None else max(interval_ms / 1000, _SHORTEST_PERIOD_S)


def _power_step_w(host: Host, monitor: Monitor) -> float:
    shunt_uohm, steps = _shunt_uohm(host, monitor), _DIVISOR_AND_FACTOR.get(monitor.chip)
    if steps is None or shunt_uohm is None or shunt_uohm <= 0:
        return 0.0
    divisor, factor = steps
    current_step_a = 1e9 / (divisor * shunt_uohm) / 1e6  # ina2xx.c: current_lsb_uA
    return factor * current_step_a
