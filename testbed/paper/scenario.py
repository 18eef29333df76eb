"""Under what a run of the experiment takes place: everything but who decides."""

from dataclasses import dataclass
from typing import Final

from edge_agent.probes import LinkSettings
from testbed.contention import Contention, fog_contention
from testbed.traces import Trace

PROBING: Final = LinkSettings(probe_interval_s=1.0, max_probe_bytes_per_minute=4_000_000)
"""More often than by default: the traces' rates change from second to second, and no one pays for these bytes."""
LEAST_REQUESTS: Final = 3
"""A run goes on past its duration until it has sent as many."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A model on the testbed's three machines, while the Pi's WiFi follows a trace and others use the fog node's CPU.

    The links are `testbed.machines.link_shapes(wifi)`; trace and contention begin with the first request.
    """

    model: str
    wifi: Trace
    fog_contention: Contention
    duration_s: float
    repetition: int


def scenario_of(model: str, wifi: Trace, repetition: int, longest_s: float) -> Scenario:
    """The experiment's scenario of a model over a trace: once over it, but for `longest_s` at the most."""
    duration_s = min(longest_s, wifi.duration_s)
    return Scenario(
        model=model,
        wifi=wifi,
        fog_contention=fog_contention(duration_s),
        duration_s=duration_s,
        repetition=repetition,
    )
