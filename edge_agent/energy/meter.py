"""What every energy meter offers: a cumulative counter of joules that says where its figure comes from."""

from typing import Protocol

from broker.messages import EnergyScope, EnergySource


class EnergyMeter(Protocol):
    """A counter of energy; the difference of two readings is the energy of the time between them."""

    @property
    def name(self) -> str:
        """The meter's name, such as `rapl`."""

    @property
    def source(self) -> EnergySource:
        """`measured` or `modelled`."""

    @property
    def scope(self) -> EnergyScope:
        """What the figure covers."""

    @property
    def resolution_j(self) -> float:
        """The smallest step of the counter, in joules."""

    def read_energy_j(self) -> float:
        """Joules since the meter was made; it never falls. MeterUnavailableError if it cannot be read any more."""
