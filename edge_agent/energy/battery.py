"""The batteries of a laptop, which tell what the whole machine draws as long as nothing charges them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.energy.sysfs import Host
from edge_agent.errors import MeterUnavailableError

# Files, units and states: the kernel's Documentation/ABI/testing/sysfs-class-power.
_COVERS: Final = "the whole machine with its screen, as its batteries feel it; only while they discharge"
_PERIOD_S: Final = 5.0  # fuel gauges average over seconds and differ by machine; assumed
_MAINS_FIX: Final = "unplug the charger, or measure at the wall with a smart plug"


def find_battery(host: Host) -> Finding:
    """All batteries of the machine together; those of mice and headsets are none of it."""
    try:
        meter = PowerMeter(
            "battery",
            "board",
            MovingSensor(lambda: _locate(host)).read_power_w,
            period_s=_PERIOD_S,
            longest_gap_s=host.longest_gap_s,
            clock_s=host.clock_s,
        )
    except MeterUnavailableError as error:
        return lacking("battery", "board", _COVERS, error)
    names = ", ".join(battery.name for battery in _batteries(host))
    return found(meter, f"{_COVERS}: {names}")


def _locate(host: Host) -> Callable[[], float]:
    batteries = _batteries(host)
    if not batteries:
        raise MeterUnavailableError(f"{host.root / 'sys/class/power_supply'} shows no battery of this machine")
    return lambda: _power_w(host, batteries)


def _batteries(host: Host) -> list[Path]:
    return [
        supply
        for supply in host.entries("sys/class/power_supply/*")
        if host.line(supply / "type") == "Battery"
        and host.line(supply / "scope") != "Device"
        and host.line(supply / "present") != "0"
    ]


def _power_w(host: Host, batteries: list[Path]) -> float:
    """Watts out of all batteries; MeterUnavailableError unless at least one discharges and none is charged."""
    states = {battery: host.line(battery / "status") or "unknown" for battery in batteries}
    feeding = [battery for battery, state in states.items() if state == "Discharging"]
    if not feeding or "Charging" in states.values():
        told = ", ".join(f"{battery.name} is {state.lower()}" for battery, state in states.items())
        raise MeterUnavailableError(f"{told}, so the machine is fed from elsewhere", fix=_MAINS_FIX, is_there=True)
    power_w = sum(_discharge_w(host, battery) for battery in feeding)
    if power_w == 0.0:  # just after unplugging, until the gauge has measured
        raise MeterUnavailableError("the battery's gauge shows 0 W yet", fix="wait some seconds", is_there=True)
    return power_w


def _discharge_w(host: Host, battery: Path) -> float:
    # Some drivers show discharging currents and powers as negative, as the ABI wants it, some do not.
    if (battery / "power_now").exists():
        return abs(host.number(battery / "power_now")) / 1e6  # µW
    microampere = abs(host.number(battery / "current_now"))
    return microampere * host.number(battery / "voltage_now") / 1e12  # µA and µV
