"""The energy that the cost model reckons for one inference that has run, from its measured times and bytes.

Pure; always modelled. Meters' own readings travel apart, as EnergyReading.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.messages import PowerModel, StageReport, TransferReport


@dataclass(frozen=True, slots=True)
class InferenceEnergy:
    """Joules of one inference: the origin's own, waiting included, and those of all nodes together."""

    origin_energy_j: float
    total_energy_j: float


def inference_energy(
    *,
    origin: str,
    latency_ms: float,
    stages: tuple[StageReport, ...],
    transfers: tuple[TransferReport, ...],
    power: Mapping[str, PowerModel],
) -> InferenceEnergy:
    """Energy by the cost model: the origin pays idle power while it waits, other nodes only what compute adds.

    A node without a known power model counts as zero.
    """
    none = PowerModel(idle_w=0.0, busy_w=0.0)
    compute_s: dict[str, float] = {}
    for stage in stages:
        compute_s[stage.node] = compute_s.get(stage.node, 0.0) + stage.compute_ms / 1e3
    radio_j: dict[str, float] = {}
    for transfer in transfers:
        mb = transfer.size_bytes / 1e6
        radio_j[transfer.src] = radio_j.get(transfer.src, 0.0) + mb * power.get(transfer.src, none).tx_j_per_mb
        radio_j[transfer.dst] = radio_j.get(transfer.dst, 0.0) + mb * power.get(transfer.dst, none).rx_j_per_mb

    at_origin = power.get(origin, none)
    busy_s = compute_s.get(origin, 0.0)
    waiting_s = max(0.0, latency_ms / 1e3 - busy_s)
    origin_j = at_origin.busy_w * busy_s + at_origin.idle_w * waiting_s + radio_j.get(origin, 0.0)
    others_j = sum(
        (power.get(node, none).busy_w - power.get(node, none).idle_w) * compute_s.get(node, 0.0)
        + radio_j.get(node, 0.0)
        for node in (compute_s.keys() | radio_j.keys()) - {origin}
    )
    return InferenceEnergy(origin_j, origin_j + others_j)
