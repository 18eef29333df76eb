"""The batteries of a laptop, which tell what the whole machine draws as long as nothing charges them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.energy.sysfs import ReadText, entries, read_integer, read_line
from edge_agent.errors import MeterUnavailableError

# Files, units and states: the kernel's Documentation/ABI/testing/sysfs-class-power.
_COVERS: Final = "the whole machine with its screen, as its batteries feel it; only while they discharge"
_PERIOD_S: Final = 5.0  # fuel gauges average over seconds and differ by machine; assumed
_MAINS_FIX: Final = "unplug the charger, or measure at the wall with a smart plug"


def find_battery(root: Path, *, longest_gap_s: float, read_text: ReadText = Path.read_text) -> Finding:
    """All batteries of the machine together; those of mice and headsets are none of it."""
    try:
        meter = PowerMeter(
            "battery",
            "board",
            MovingSensor(lambda: _locate(root, read_text)).read_power_w,
            period_s=_PERIOD_S,
            longest_gap_s=longest_gap_s,
        )
    except MeterUnavailableError as error:
        return lacking("battery", "board", _COVERS, error)
    names = ", ".join(battery.name for battery in _batteries(root, read_text))
    return found(meter, f"{_COVERS}: {names}")


def _locate(root: Path, read_text: ReadText) -> Callable[[], float]:
    batteries = _batteries(root, read_text)
    if not batteries:
        raise MeterUnavailableError(f"{root / 'sys/class/power_supply'} shows no battery of this machine")
    return lambda: _power_w(batteries, read_text)


def _batteries(root: Path, read_text: ReadText) -> list[Path]:
    return [
        supply
        for supply in entries(root / "sys/class/power_supply", "*")
        if read_line(supply / "type", read_text) == "Battery"
        and read_line(supply / "scope", read_text) != "Device"
        and read_line(supply / "present", read_text) != "0"
    ]


def _power_w(batteries: list[Path], read_text: ReadText) -> float:
    """Watts out of all batteries; MeterUnavailableError unless at least one discharges and none is charged."""
    states = {battery: read_line(battery / "status", read_text) or "unknown" for battery in batteries}
    feeding = [battery for battery, state in states.items() if state == "Discharging"]
    if not feeding or "Charging" in states.values():
        told = ", ".join(f"{battery.name} is {state.lower()}" for battery, state in states.items())
        raise MeterUnavailableError(f"{told}, so the machine is fed from elsewhere", fix=_MAINS_FIX, is_there=True)
    power_w = sum(_discharge_w(battery, read_text) for battery in feeding)
    if power_w == 0.0:  # just after unplugging, until the gauge has measured
        raise MeterUnavailableError("the battery's gauge shows 0 W yet", fix="wait some seconds", is_there=True)
    return power_w


def _discharge_w(battery: Path, read_text: ReadText) -> float:
    # Some drivers show discharging currents and powers as negative, as the ABI wants it, some do not.
    if (battery / "power_now").exists():
        return abs(read_integer(battery / "power_now", read_text)) / 1e6  # µW
    microampere = abs(read_integer(battery / "current_now", read_text))
    return microampere * read_integer(battery / "voltage_now", read_text) / 1e12  # µA and µV
