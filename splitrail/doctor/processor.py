"""The processor of this machine now: its temperature, and what holds it back."""

from collections.abc import Iterator
from typing import Final

from broker.messages import Throttling
from splitrail.doctor.finding import Finding

HOT_C: Final = 80.0
"""A Raspberry Pi slows down from 80 °C on: www.raspberrypi.com/documentation/computers/raspberry-pi.html."""
_FIXES: Final[dict[Throttling, str]] = {
    "under-voltage": "use the power supply that the board's maker names, and a short, thick cable",
    "frequency capped": "cool it, and use a stronger power supply",
    "throttled": "cool it: a heat sink or a fan",
    "soft temperature limit": "cool it: a heat sink or a fan",
}


def temperature_findings(temperature_c: float | None) -> Iterator[Finding]:
    """What its temperature means."""
    if temperature_c is None:
        yield Finding("temperature", "ok", "nothing here shows the processor's")
    elif temperature_c >= HOT_C:
        yield Finding("temperature", "note", f"{temperature_c:.0f} °C, at which many processors slow down", "cool it")
    else:
        yield Finding("temperature", "ok", f"{temperature_c:.0f} °C")


def throttling_findings(throttled: tuple[Throttling, ...] | None) -> Iterator[Finding]:
    """What holds it back means."""
    if throttled is None:
        yield Finding("throttling", "ok", "nothing here shows it")
    elif not throttled:
        yield Finding("throttling", "ok", "nothing holds the processor back now")
    for cause in throttled or ():
        yield Finding("throttling", "problem", f"{cause} now, so inferences take longer than profiled", _FIXES[cause])
