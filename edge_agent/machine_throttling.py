"""What holds this machine's processor back now: a Raspberry Pi's firmware tells it, and x86's kernel counts it.

Elsewhere nothing is known, which is not the same as nothing holding it back.
"""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable
from typing import Final

from broker.messages import Throttling
from edge_agent.energy.sysfs import Host
from edge_agent.hardware import board_model

# Bits 0 to 3 say what is so now; 16 to 19 what was since the start, or since somebody asked:
# www.raspberrypi.com/documentation/computers/os.html#get_throttled
_CAUSES: Final[tuple[Throttling, ...]] = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
_FIRMWARE_FILE: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""Hexadecimal digits without `0x`: drivers/firmware/raspberrypi.c of the Raspberry Pi's kernel."""
_COMMAND: Final = ("vcgencmd", "get_throttled")
_ANSWER_FORM: Final = re.compile(r"throttled=0x([0-9a-fA-F]{1,8})")
_TIMEOUT_S: Final = 2.0
_COUNTS: Final = "sys/devices/system/cpu/cpu*/thermal_throttle/{}_throttle_count"
"""Since the start, of each core and its package: docs.kernel.org/admin-guide/thermal/intel_thermal_throttle.html."""
RECENT_S: Final = 10.0
"""x86 is throttled for as long after its counters have risen, so that a state flickers less."""

Throttled = tuple[Throttling, ...]


def throttled_by(bits: int) -> Throttled:
    """What a Raspberry Pi's `get_throttled` says of now."""
    return tuple(cause for number, cause in enumerate(_CAUSES) if bits >> number & 1)


def ask_firmware() -> str:
    """What `vcgencmd get_throttled` prints; "" if it cannot be asked."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(
            _COMMAND, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        ).stdout
    return ""


class ThrottlingWatch:
    """Looks at one machine; on x86 only what happens from now on counts. For one thread."""

    def __init__(
        self,
        host: Host,
        *,
        ask: Callable[[], str] = ask_firmware,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._ask = ask
        self._clock_s = clock_s
        self._is_raspberry_pi = (board_model(host.root) or "").startswith("Raspberry Pi")
        self._counters = [file for kind in ("core", "package") for file in host.entries(_COUNTS.format(kind))]
        self._count = self._throttle_count()
        self._rose_s = float("-inf")

    def now(self) -> Throttled | None:
        """What holds the processor back, () if nothing does; None where nothing tells."""
        if self._is_raspberry_pi:
            return self._by_firmware()
        count = self._throttle_count()
        if count is None:
            return None
        if self._count is not None and count > self._count:
            self._rose_s = self._clock_s()
        self._count = count
        return ("throttled",) if self._clock_s() - self._rose_s < RECENT_S else ()

    def _by_firmware(self) -> Throttled | None:
        digits = self._host.line(self._host.root / _FIRMWARE_FILE)
        if digits is None:
            answer = _ANSWER_FORM.fullmatch(self._ask().strip())
            digits = answer[1] if answer else ""
        return throttled_by(int(digits, 16)) if re.fullmatch(r"[0-9a-fA-F]{1,8}", digits) else None

    def _throttle_count(self) -> int | None:
        """How often any core or package was throttled; None if the kernel does not count."""
        counts = [self._host.number_or_none(file) for file in self._counters]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None
