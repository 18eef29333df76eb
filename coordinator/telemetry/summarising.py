"""The summary of a deployment's newest inferences, whichever store the rows come from."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.messages import EnergyScope, EnergySource
from coordinator.telemetry.store import InferenceSummary
from splitrail.percentile import percentile

MAX_SUMMARISED: Final = 20_000
"""So many inferences of a deployment, the newest, are in its summary."""


class SummarisedInference(NamedTuple):
    """What a summary asks of one inference: ms and J, and where its energies come from."""

    latency_ms: float
    origin_energy_j: float
    total_energy_j: float
    energy_source: EnergySource
    energy_scope: EnergyScope
    has_failed: bool


def summary_of(newest_first: Sequence[SummarisedInference]) -> InferenceSummary:
    """The summary of these inferences; the scope is that of the newest one that succeeded."""
    succeeded = [each for each in newest_first if not each.has_failed]
    latencies_ms = [each.latency_ms for each in succeeded]
    count = len(succeeded)
    return InferenceSummary(
        count=len(newest_first),
        errors=len(newest_first) - count,
        latency_p50_ms=percentile(latencies_ms, 50),
        latency_p95_ms=percentile(latencies_ms, 95),
        origin_energy_j=sum(each.origin_energy_j for each in succeeded) / count if count else None,
        total_energy_j=sum(each.total_energy_j for each in succeeded) / count if count else None,
        energy_source=max((each.energy_source for each in succeeded), default=None),  # "modelled" sorts last
        energy_scope=succeeded[0].energy_scope if count else None,
    )


NOTHING: Final = summary_of(())
"""The summary where there were no inferences."""
