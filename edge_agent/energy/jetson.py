"""The INA3221 of a Jetson, whose rail at the module's input has all others behind it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.energy.sysfs import Host
from edge_agent.errors import MeterUnavailableError

# The module's input, and a Jetson Nano's whole input: NVIDIA's forum, threads 200883 and 73608.
_INPUT_RAILS: Final = ("VDD_IN", "POM_5V_IN")
_COVERS: Final = "the module with its memory and regulators, and on a Jetson Nano the carrier board; not a supply unit"
_USUAL_PERIOD_S: Final = 0.1  # where update_interval is not shown; assumed
_SHORTEST_PERIOD_S: Final = 0.05  # each reading is two transfers over a slow bus
_SHUNT_STEP_V: Final = 40e-6  # INA3221 datasheet, shunt voltage register
_LABEL_FORM: Final = re.compile(r"in([123])_label")  # in7 is the sum of shunt voltages: ina3221.rst
_OLD_LABEL_FORM: Final = re.compile(r"rail_name_(\d)")


@dataclass(frozen=True, slots=True)
class Rail:
    """A channel of a chip in `directory`; `channel` is its number in the names of its files."""

    name: str
    directory: Path
    channel: str
    is_hwmon: bool
    """Of the kernel's driver (JetPack 5 and later), else of NVIDIA's own (JetPack 4)."""


def find_jetson(host: Host) -> Finding:
    """The input rail of a Jetson; its other rails lie behind that one and are never summed."""
    try:
        rail = _input_rail(host)
        period_s, power_step_w = _steps(host, rail)
        meter = PowerMeter(
            "jetson",
            "board",
            MovingSensor(lambda: _locate(host)).read_power_w,
            period_s=period_s,
            longest_gap_s=host.longest_gap_s,
            clock_s=host.clock_s,
            power_step_w=power_step_w,
        )
    except MeterUnavailableError as error:
        return lacking("jetson", "board", _COVERS, error)
    return found(meter, f"{_COVERS}: rail {rail.name}")


def _input_rail(host: Host) -> Rail:
    seen = list(_rails(host))
    for name in _INPUT_RAILS:
        for rail in seen:
            if rail.name == name:
                return rail
    if not seen:
        raise MeterUnavailableError(f"{host.root / 'sys'} shows no INA3221, which Jetson boards have")
    # Such as an AGX Xavier: its Design Guide, DG-09840, "Power Monitor". Rails may nest, so they are not summed.
    names = ", ".join(sorted(rail.name for rail in seen))
    reason = f"none of this board's rails ({names}) is its input"
    raise MeterUnavailableError(reason, fix="measure at its supply, with an INA226 or a smart plug", is_there=True)


def _locate(host: Host) -> Callable[[], float]:
    """What reads the watts of the input rail, wherever the drivers show it now."""
    rail = _input_rail(host)
    return lambda: _power_w(host, rail)


def _power_w(host: Host, rail: Rail) -> float:
    directory, channel = rail.directory, rail.channel
    if not rail.is_hwmon:
        return host.number(directory / f"in_power{channel}_input") / 1e3  # mW
    millivolt = host.number(directory / f"in{channel}_input")
    return millivolt * host.number(directory / f"curr{channel}_input") / 1e6  # mV and mA: ina3221.rst


def _rails(host: Host) -> Iterator[Rail]:
    for entry in host.entries("sys/class/hwmon/hwmon*"):
        directory = entry.resolve()  # by its device: numbers are given anew, and to other chips
        if host.line(directory / "name") != "ina3221":
            continue
        for label in sorted(directory.glob("in?_label")):
            match, name = _LABEL_FORM.fullmatch(label.name), host.line(label)
            if match and name:
                yield Rail(name, directory, match[1], is_hwmon=True)
    for label in host.entries("sys/bus/i2c/devices/*/iio:device*/rail_name_?"):
        match, name = _OLD_LABEL_FORM.fullmatch(label.name), host.line(label)
        if match and name:
            yield Rail(name, label.parent.resolve(), match[1], is_hwmon=False)


def _steps(host: Host, rail: Rail) -> tuple[float, float]:
    """Period in seconds and power step in watts of a channel."""
    if not rail.is_hwmon:
        return _USUAL_PERIOD_S, 0.001  # mW
    directory, channel = rail.directory, rail.channel
    interval_ms = host.number_or_none(directory / "update_interval")
    period_s = _USUAL_PERIOD_S if interval_ms is None else max(interval_ms / 1000, _SHORTEST_PERIOD_S)
    shunt_uohm = host.number_or_none(directory / f"shunt{channel}_resistor")
    millivolt = host.number_or_none(directory / f"in{channel}_input")
    if not shunt_uohm or millivolt is None:
        return period_s, 0.0
    return period_s, abs(_SHUNT_STEP_V / (shunt_uohm / 1e6) * millivolt / 1e3)
