"""RAPL: the energy counters of Intel and AMD processor packages, as Linux' powercap shows them."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.errors import MeterUnavailableError

POWERCAP: Final = Path("/sys/class/powercap")

# Top-level domains only: sub-domains (intel-rapl:0:1) are part of them and intel-rapl-mmio:0 counts package 0 again.
_DOMAIN_FORM: Final = re.compile(r"intel-rapl:\d+")
_PERMISSION_FIX: Final = (
    "only root may read it since Linux 5.10; let a udev rule give it to the agent's group (docs/energy.md)"
)
COVERS: Final = "the processor packages: cores, caches, graphics and memory controller; not memory, disks or supply"


class RaplMeter:
    """The sum of all processor packages; memory beside the package, disks and the power supply are not in it."""

    name: MeterName = "rapl"
    source: EnergySource = "measured"
    scope: EnergyScope = "package"
    resolution_j: Final = 61e-6  # 2**-14 J, the usual energy unit: Intel SDM vol. 3B, MSR_RAPL_POWER_UNIT
    period_s: Final = 0.001  # the counters are updated about every millisecond: Intel SDM vol. 3B, RAPL interfaces
    is_sampled: Final = False

    def __init__(self, powercap: Path = POWERCAP, read_text: Callable[[Path], str] = Path.read_text) -> None:
        """Count from now; MeterUnavailableError if there is no package or its counter may not be read."""
        self._read_text = read_text
        self._packages = _packages(powercap, read_text)
        if not self._packages:
            raise MeterUnavailableError(f"{powercap} shows no processor package with a RAPL energy counter")
        self._ranges_uj = [self._range_uj(package) for package in self._packages]
        self._last_uj = [self._counter_uj(package) for package in self._packages]
        self._energy_uj = 0
        self._last_s = time.monotonic()
        self.uncounted_s = 0.0

    def read_energy_j(self) -> float:
        """Joules of all packages since the meter was made."""
        counters_uj = [self._counter_uj(package) for package in self._packages]
        rises_uj = list(map(_rise_uj, self._last_uj, counters_uj, self._ranges_uj))
        now_s = time.monotonic()
        passed_s, self._last_s, self._last_uj = now_s - self._last_s, now_s, counters_uj
        known_uj = [rise_uj for rise_uj in rises_uj if rise_uj is not None]
        if len(known_uj) < len(rises_uj):
            self.uncounted_s += passed_s  # of this interval one package tells nothing, so that the sum tells nothing
        else:
            self._energy_uj += sum(known_uj)
        return self._energy_uj / 1e6

    def _counter_uj(self, package: Path) -> int:
        path = package / "energy_uj"
        try:
            return int(self._read_text(path))
        except PermissionError:
            raise MeterUnavailableError(f"{path} may not be read", fix=_PERMISSION_FIX, is_there=True) from None
        except (OSError, ValueError) as error:
            raise MeterUnavailableError(f"{path} cannot be read: {error}", is_there=True) from None

    def _range_uj(self, package: Path) -> int | None:
        try:
            return int(self._read_text(package / "max_energy_range_uj"))
        except (OSError, ValueError):
            return None


def _rise_uj(last_uj: int, now_uj: int, range_uj: int | None) -> int | None:
    """What a counter rose by, wrapping at most once; None after a wrap of unknown range."""
    if now_uj >= last_uj:
        return now_uj - last_uj
    return None if range_uj is None else now_uj - last_uj + range_uj


def _packages(powercap: Path, read_text: Callable[[Path], str]) -> list[Path]:
    try:
        domains = sorted(path for path in powercap.iterdir() if _DOMAIN_FORM.fullmatch(path.name))
    except OSError:
        return []
    return [domain for domain in domains if _is_package(domain, read_text)]


def _is_package(domain: Path, read_text: Callable[[Path], str]) -> bool:
    # "psys" is a top-level domain too and holds the packages.
    try:
        return read_text(domain / "name").startswith("package-")
    except OSError:
        return False
