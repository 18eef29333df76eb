"""The temperature of this machine's processor, as the kernel shows it on a Raspberry Pi, a Jetson and x86 alike.

Files are `edge_agent.energy.sysfs`'s to read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.energy.sysfs import Host

COLDEST_C: Final = -40.0
HOTTEST_C: Final = 150.0
"""What is beyond is no processor's: a Jetson shows -256 °C of a part that is off."""


@dataclass(frozen=True, slots=True)
class _Sensor:
    """A file of millidegrees and what the kernel calls it: `zone:<type>`, or `<chip>:<label>` of hwmon."""

    name: str
    file: Path


# The first that fits a sensor counts; of several sensors, such as two sockets or clusters, the hottest. A zone's type
# is the driver's choice (docs.kernel.org/driver-api/thermal/sysfs-api.html), as are hwmon's labels
# (docs.kernel.org/hwmon/{coretemp,k10temp}.html).
_PREFERENCE: Final = (
    re.compile(r"zone:x86_pkg_temp"),
    re.compile(r"zone:.*cpu.*", re.IGNORECASE),  # cpu-thermal (Pi, Orin), CPU-therm (Xavier), MCPU-therm (TX2)
    re.compile(r"zone:(bcm2835_thermal|soc[-_]thermal|soc-.*)", re.IGNORECASE),
    re.compile(r"coretemp:Package id \d+"),
    re.compile(r"(k10temp|zenpower):Tdie"),
    re.compile(r"(k10temp|zenpower):Tctl"),
    re.compile(r"(coretemp|k10temp|zenpower|cpu_thermal):.*"),
    re.compile(r"zone:acpitz"),  # somewhere in the case
)


def processor_temperature_c(host: Host) -> float | None:
    """Degrees Celsius, of the hottest of the sensors that tell best; None if no sensor of a processor can be read."""
    sensors = [*_zones(host), *_hwmon(host)]
    for form in _PREFERENCE:
        figures = [_celsius(host, sensor.file) for sensor in sensors if form.fullmatch(sensor.name)]
        sound = [figure for figure in figures if figure is not None]
        if sound:
            return max(sound)
    return None


def _zones(host: Host) -> Iterator[_Sensor]:
    for directory in host.entries("sys/class/thermal/thermal_zone*"):
        kind = host.line(directory / "type")
        if kind:
            yield _Sensor(f"zone:{kind}", directory / "temp")


def _hwmon(host: Host) -> Iterator[_Sensor]:
    for directory in host.entries("sys/class/hwmon/hwmon*"):
        chip = host.line(directory / "name")
        if chip:
            for file in sorted(directory.glob("temp*_input")):
                label = host.line(file.with_name(file.name.replace("_input", "_label"))) or ""
                yield _Sensor(f"{chip}:{label}", file)


def _celsius(host: Host, file: Path) -> float | None:
    millidegrees = host.number_or_none(file)
    if millidegrees is None or not COLDEST_C * 1e3 < millidegrees < HOTTEST_C * 1e3:
        return None
    return millidegrees / 1e3
