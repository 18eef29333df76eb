"""RAPL: the energy counters of Intel and AMD processor packages, as Linux' powercap shows them."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.energy.counters import CounterSum
from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.sysfs import ReadText, entries, read_integer, read_line
from edge_agent.errors import MeterUnavailableError

_COVERS: Final = (
    "the processor packages: cores, caches, graphics and memory controller; not the memory, disks, network or supply"
)

# Top-level domains only: sub-domains (intel-rapl:0:1) are part of them and intel-rapl-mmio:0 counts package 0 again.
_DOMAIN_FORM: Final = re.compile(r"intel-rapl:\d+")
_PERMISSION_FIX: Final = (
    "only root may read it since Linux 5.10; let a udev rule give it to the agent's group (docs/energy.md)"
)
_ABSENCE_FIX: Final = "on a PC, load the driver with `sudo modprobe intel_rapl_msr`; a virtual machine has none"
_MOST_PACKAGE_W: Final = 500.0  # the largest server processors of 2025 are specified at 500 W


def find_rapl(root: Path, *, read_text: ReadText = Path.read_text) -> Finding:
    """All processor packages together."""
    try:
        return found(RaplMeter(root / "sys/class/powercap", read_text), _COVERS)
    except MeterUnavailableError as error:
        return lacking("rapl", "package", _COVERS, error)


class RaplMeter:
    """The sum of all processor packages; memory beside the package, disks and the power supply are not in it.

    The usual counter of 262 kJ wraps at 500 W after 9 minutes: what lies between two readings further apart than
    that, by the counter's own range, is not counted.
    """

    name: MeterName = "rapl"
    source: EnergySource = "measured"
    scope: EnergyScope = "package"
    resolution_j: Final = 61e-6  # 2**-14 J, the usual energy unit: Intel SDM vol. 3B, MSR_RAPL_POWER_UNIT
    period_s: Final = 0.001  # the counters are updated about every millisecond: Intel SDM vol. 3B, RAPL interfaces
    is_sampled: Final = False

    def __init__(
        self,
        powercap: Path,
        read_text: ReadText = Path.read_text,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count from now; MeterUnavailableError if there is no package or its counter may not be read."""
        self._read_text = read_text
        self._clock_s = clock_s
        self._packages = [path for path in entries(powercap, "intel-rapl:*") if self._is_package(path)]
        if not self._packages:
            reason = f"{powercap} shows no processor package with an energy counter"
            raise MeterUnavailableError(reason, fix=_ABSENCE_FIX)
        ranges_uj = [self._range_uj(package) for package in self._packages]
        smallest_uj = min((range_uj for range_uj in ranges_uj if range_uj is not None), default=None)
        longest_s = None if smallest_uj is None else smallest_uj / 1e6 / _MOST_PACKAGE_W
        self._sum_uj = CounterSum(self._counters_uj(), ranges_uj, at_s=clock_s(), longest_s=longest_s)

    @property
    def uncounted_s(self) -> float:
        """Seconds of which a package's counter told nothing."""
        return self._sum_uj.uncounted_s

    def read_energy_j(self) -> float:
        """Joules of all packages since the meter was made."""
        return self._sum_uj.advance(self._counters_uj(), self._clock_s()) / 1e6

    def _counters_uj(self) -> list[int]:
        return [
            read_integer(package / "energy_uj", self._read_text, permission_fix=_PERMISSION_FIX)
            for package in self._packages
        ]

    def _range_uj(self, package: Path) -> int | None:
        try:
            return read_integer(package / "max_energy_range_uj", self._read_text)
        except MeterUnavailableError:
            return None

    def _is_package(self, domain: Path) -> bool:
        # "psys" is a top-level domain too and holds the packages.
        name = read_line(domain / "name", self._read_text)
        return bool(_DOMAIN_FORM.fullmatch(domain.name) and name and name.startswith("package-"))
