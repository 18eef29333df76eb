"""RAPL: the energy counters of Intel and AMD processor packages, as Linux' powercap shows them."""

from pathlib import Path
from typing import Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.energy.counters import CounterSum
from edge_agent.energy.finding import Finding, found, lacking
from edge_agent.energy.sysfs import Host, KeptNumber
from edge_agent.errors import MeterUnavailableError

_POWERCAP: Final = "sys/class/powercap"
_COVERS: Final = (
    "the processor packages: cores, caches, graphics and memory controller; not the memory, disks, network or supply"
)

_PERMISSION_FIX: Final = (
    "only root may read it since Linux 5.10; let a udev rule give it to the agent's group (docs/energy.md)"
)
_ABSENCE_FIX: Final = "on a PC, load the driver with `sudo modprobe intel_rapl_msr`; a virtual machine has none"
_MOST_PACKAGE_W: Final = 500.0  # the largest server processors of 2025 are specified at 500 W


def find_rapl(host: Host) -> Finding:
    """All processor packages together."""
    try:
        return found(RaplMeter(host), _COVERS)
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
    resolution_j: Final = 61e-6  # 2**-14 J, assumed, for Linux does not show it; the SDM's default, 2**-16 J, is finer
    period_s: Final = 0.001  # the counters are updated about every millisecond: Intel SDM vol. 3B, RAPL interfaces
    is_sampled: Final = False

    def __init__(self, host: Host) -> None:
        """Count from now; MeterUnavailableError if there is no package or its counter may not be read."""
        self._host = host
        # Those of intel-rapl-mmio:* are the same packages again.
        packages = [path for path in host.entries(f"{_POWERCAP}/intel-rapl:*") if _is_package(host, path)]
        if not packages:
            reason = f"{host.root / _POWERCAP} shows no processor package with an energy counter"
            raise MeterUnavailableError(reason, fix=_ABSENCE_FIX)
        # Without a readable range a wrap cannot be told, but all else can.
        ranges_uj = [host.number_or_none(package / "max_energy_range_uj") for package in packages]
        self._counters = [
            KeptNumber(host, package / "energy_uj", permission_fix=_PERMISSION_FIX) for package in packages
        ]
        smallest_uj = min((range_uj for range_uj in ranges_uj if range_uj is not None), default=None)
        longest_s = None if smallest_uj is None else smallest_uj / 1e6 / _MOST_PACKAGE_W
        self._sum_uj = CounterSum(self._counters_uj(), ranges_uj, at_s=host.clock_s(), longest_s=longest_s)

    @property
    def uncounted_s(self) -> float:
        """Seconds of which a package's counter told nothing."""
        return self._sum_uj.uncounted_s

    def read_energy_j(self) -> float:
        """Joules of all packages since the meter was made."""
        return self._sum_uj.advance(self._counters_uj(), self._host.clock_s()) / 1e6

    def _counters_uj(self) -> list[int]:
        return [counter.read() for counter in self._counters]


def _is_package(host: Host, domain: Path) -> bool:
    # Not "psys", which holds the packages, nor "core" or "dram", which are part of one or lie beside it.
    return (host.line(domain / "name") or "").startswith("package-")
