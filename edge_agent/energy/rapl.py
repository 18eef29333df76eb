"""RAPL: the energy counters of Intel and AMD processor packages, as Linux' powercap shows them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.messages import EnergyScope, EnergySource
from edge_agent.errors import MeterUnavailableError

POWERCAP: Final = Path("/sys/class/powercap")

# Top-level domains only: sub-domains (intel-rapl:0:1) are part of them and intel-rapl-mmio:0 counts package 0 again.
_DOMAIN_FORM: Final = re.compile(r"intel-rapl:\d+")
_PERMISSION_FIX: Final = (
    "only root may read it since Linux 5.10; run the agent as root, or let a udev rule give the file to its group"
)


class RaplMeter:
    """The sum of all processor packages; memory beside the package, disks and the power supply are not in it."""

    name: Final = "rapl"
    source: EnergySource = "measured"
    scope: EnergyScope = "package"
    resolution_j: Final = 61e-6  # 2**-14 J, the usual energy unit: Intel SDM vol. 3B, MSR_RAPL_POWER_UNIT

    def __init__(self, powercap: Path = POWERCAP, read_text: Callable[[Path], str] = Path.read_text) -> None:
        """Count from now; MeterUnavailableError if there is no package or its counter may not be read."""
        self._read_text = read_text
        self._packages = _packages(powercap, read_text)
        if not self._packages:
            raise MeterUnavailableError(f"{powercap} shows no processor package with a RAPL energy counter")
        self._ranges_uj = [self._range_uj(package) for package in self._packages]
        self._last_uj = [self._counter_uj(package) for package in self._packages]
        self._energy_uj = 0

    def read_energy_j(self) -> float:
        """Joules of all packages since the meter was made."""
        for index, package in enumerate(self._packages):
            counter_uj, last_uj, range_uj = self._counter_uj(package), self._last_uj[index], self._ranges_uj[index]
            self._last_uj[index] = counter_uj
            if counter_uj >= last_uj:
                self._energy_uj += counter_uj - last_uj
            elif range_uj is not None:
                self._energy_uj += counter_uj - last_uj + range_uj
            # A wrap of unknown range tells nothing of this interval; it is dropped.
        return self._energy_uj / 1e6

    def _counter_uj(self, package: Path) -> int:
        path = package / "energy_uj"
        try:
            return int(self._read_text(path))
        except PermissionError:
            raise MeterUnavailableError(f"{path} may not be read: {_PERMISSION_FIX}") from None
        except (OSError, ValueError) as error:
            raise MeterUnavailableError(f"{path} cannot be read: {error}") from None

    def _range_uj(self, package: Path) -> int | None:
        try:
            return int(self._read_text(package / "max_energy_range_uj"))
        except (OSError, ValueError):
            return None


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
