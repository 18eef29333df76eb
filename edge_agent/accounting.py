"""What one inference that has run cost: by the cost model, and as the nodes of its stages reckon it.

Pure. Meters' own readings travel apart, as EnergyReading.
"""

import math
from collections.abc import Mapping

from broker.messages import ComputeEnergy, NodeEnergy, PowerModel, StageReport, TransferReport

UNKNOWN = PowerModel(idle_w=0.0, busy_w=0.0)


def inference_energy(
    *,
    origin: str,
    latency_ms: float,
    stages: tuple[StageReport, ...],
    transfers: tuple[TransferReport, ...],
    power: Mapping[str, PowerModel],
) -> tuple[NodeEnergy, ...]:
    """Joules of each node that took part, by the cost model from measured times and bytes; the origin first.

    The origin pays idle power while it waits, other nodes only what compute adds to theirs. A node whose power
    model is not known counts as zero.
    """
    others = {stage.node for stage in stages} | {end for hop in transfers for end in (hop.src, hop.dst)}
    return tuple(
        _node_energy(
            node,
            is_origin=node == origin,
            latency_ms=latency_ms,
            stages=stages,
            transfers=transfers,
            power=power.get(node, UNKNOWN),
        )
        for node in (origin, *sorted(others - {origin}))
    )


def compute_energy(stages: tuple[StageReport, ...]) -> ComputeEnergy | None:
    """The sum of what the stages' nodes say of them; None where one says nothing, or there is none.

    Spreads add as those of independent figures do. Where sources or scopes differ, the sum is called `mixed`.
    """
    energies = [stage.energy for stage in stages if stage.energy is not None]
    if not energies or len(energies) < len(stages):
        return None
    sources, scopes = {energy.source for energy in energies}, {energy.scope for energy in energies}
    return ComputeEnergy(
        energy_j=sum(energy.energy_j for energy in energies),
        energy_j_std=math.hypot(*(energy.energy_j_std for energy in energies)),
        source=sources.pop() if len(sources) == 1 else "mixed",
        scope=scopes.pop() if len(scopes) == 1 else "mixed",
    )


def _node_energy(
    node: str,
    *,
    is_origin: bool,
    latency_ms: float,
    stages: tuple[StageReport, ...],
    transfers: tuple[TransferReport, ...],
    power: PowerModel,
) -> NodeEnergy:
    compute_ms = sum(stage.compute_ms for stage in stages if stage.node == node)
    sent_mb = sum(hop.size_bytes for hop in transfers if hop.src == node) / 1e6
    received_mb = sum(hop.size_bytes for hop in transfers if hop.dst == node) / 1e6
    waiting_ms = max(0.0, latency_ms - compute_ms) if is_origin else 0.0
    compute_w = power.busy_w if is_origin else power.busy_w - power.idle_w
    return NodeEnergy(
        node=node,
        compute_j=compute_w * compute_ms / 1e3,
        waiting_j=power.idle_w * waiting_ms / 1e3,
        radio_j=power.tx_j_per_mb * sent_mb + power.rx_j_per_mb * received_mb,
    )
