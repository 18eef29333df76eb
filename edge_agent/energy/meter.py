"""What every energy meter offers: a cumulative counter of joules that says where its figure comes from."""

from typing import Protocol

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName


class EnergyMeter(Protocol):
    """A counter of energy; the difference of two readings is the energy of the time between them.

    A meter is used by one thread at a time.
    """

    @property
    def name(self) -> MeterName:
        """The meter's kind, which its readings bear; a node has at most one of each."""

    @property
    def source(self) -> EnergySource:
        """`measured` or `modelled`."""

    @property
    def scope(self) -> EnergyScope:
        """What the figure covers."""

    @property
    def resolution_j(self) -> float:
        """The smallest step of the counter, in joules; 0 if it has none or nothing tells it."""

    @property
    def period_s(self) -> float:
        """The shortest interval, in seconds, after which a new reading says something new."""

    @property
    def is_sampled(self) -> bool:
        """Whether joules are reckoned here from watts: then only a meter read every `period_s` is right in between.

        False of a counter that goes on by itself, which may be read just at the two ends of a window.
        """

    @property
    def uncounted_s(self) -> float:
        """Seconds of which the counter knows nothing: gaps too long to fill in, a wrap of unknown range.

        Mean power between two readings is the rise of the joules over the time less the rise of this.
        """

    def read_energy_j(self) -> float:
        """Joules since the meter was made; it never falls.

        MeterUnavailableError, which says what is wrong and the fix, if it cannot be read now; it may be tried again.
        """
